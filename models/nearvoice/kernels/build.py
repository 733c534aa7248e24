"""Fills the cache with images: compiles what is missing, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import image

TIMEOUT = 600.0
"""Seconds that compiling for one level, or waiting for another process that does, may take."""


_ROOT = Path(__file__).parents[2]
"""The folder that nearvoice is in."""


class BuildError(OSError):
    """Kernels could not be compiled; the message says why."""


def missing() -> list[str]:
    """Return the levels this processor can run whose images are not there or not sound."""
    return [level for level in image.levels() if not _is_sound(level)]


def _is_sound(level: str) -> bool:
    try:
        return image.load(image.path(level)).level == level
    except image.ImageError:
        return False


def build(level: str) -> Path:
    """Compile the kernels for a level unless they are there and sound; returns the image.

    Takes some seconds of another process; this one waits without holding anything.

    Raises:
        BuildError: They did not compile, did not equal their twins, or could not be written.
    """
    path = image.path(level)
    if not _is_sound(level):  # a folder that holds it may be read-only
        with _alone():
            if not _is_sound(level):
                _compile(level, path)
    return path


def processor_name(level: str) -> str:
    """Return what LLVM calls a processor that can do what the level says, and no more."""
    return "generic" if level == "aarch64" else level.removesuffix("-256")


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the folder of the images, so that two processes do not both compile."""
    import filelock

    try:
        image.folder().mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(image.folder() / ".lock", timeout=TIMEOUT, poll_interval=0.5):
            yield
    except filelock.Timeout as error:
        raise BuildError(f"another process holds {image.folder()}") from error
    except BuildError:
        raise
    except OSError as error:
        raise BuildError(f"{image.folder()} cannot be written: {error}") from error


def _compile(level: str, path: Path) -> None:
    command = [sys.executable, "-m", "nearvoice.kernels.compile", level, str(path.absolute())]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    # numba would compile for this very processor; the level is what the image promises
    environment |= {"NUMBA_CPU_NAME": processor_name(level), "NUMBA_CPU_FEATURES": ""}
    try:
        done = subprocess.run(
            command,
            cwd=_ROOT,  # which comes first on the path of modules: no file of the user's is there
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"kernels for {level} were not compiled: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BuildError(f"kernels for {level} were not compiled: {lines[-1]}")
