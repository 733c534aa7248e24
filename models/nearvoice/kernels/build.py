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


class BuildError(OSError):
    """Kernels could not be compiled; the message says why."""


def missing() -> list[str]:
    """Return the levels this processor can run whose images are not there, best first."""
    return [level for level in image.levels() if not image.path(level).exists()]


def build(level: str) -> Path:
    """Compile the kernels for a level unless they are there; returns the image.

    Takes some seconds of another process; this one waits without holding anything.

    Raises:
        BuildError: They did not compile, did not equal their twins, or could not be written.
    """
    path = image.path(level)
    if not path.exists():  # a folder that holds it may be read-only
        with _alone():
            if not path.exists():
                _compile(level, path)
                _remove_others(level, path)
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
        with filelock.FileLock(image.folder() / ".lock", timeout=TIMEOUT):
            yield
    except filelock.Timeout as error:
        raise BuildError(f"another process holds {image.folder()}") from error
    except BuildError:
        raise
    except OSError as error:
        raise BuildError(f"{image.folder()} cannot be written: {error}") from error


def _compile(level: str, path: Path) -> None:
    command = [sys.executable, "-m", "nearvoice.kernels.compile", level, str(path)]
    # numba would compile for this very processor; the level is what the image promises
    settings = {"NUMBA_CPU_NAME": processor_name(level), "NUMBA_CPU_FEATURES": ""}
    environment = {**os.environ, **settings, "NUMBA_DISABLE_JIT": "0"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"kernels for {level} were not compiled: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BuildError(f"kernels for {level} were not compiled: {lines[-1]}")


def _remove_others(level: str, path: Path) -> None:
    """Remove the images of the same level that older versions left."""
    for other in path.parent.glob(f"{level}-*.image"):
        if other != path and other.stem.removeprefix(f"{level}-").isalnum():
            other.unlink(missing_ok=True)
