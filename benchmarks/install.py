"""Installs what ours is compared with: ``python -m benchmarks.install``.

Each by itself where all at once fails, so that one peer which cannot be had costs no other: it
becomes a row that says so.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from .progress import track

PROJECT = "livekit-plugins-nearvoice"
EXTRA = "peers"
APART = Path("out/peers")
"""Folder of those which want other versions of our packages, or would be found by LiveKit's
``download-files``: it must be in PYTHONPATH."""
ALONE = (
    ("pipecat-ai==1.14.0", "loguru", "loudness", "wait_for2"),
    ("pyrnnoise==0.4.5",),
    ("livekit-plugins-denoise==0.1.1",),
)
"""Installed there, without what they depend on."""


def main() -> None:
    """Install, and say what could not be."""
    missing = [text for text in listed() if not installed(Requirement(text))]
    failed = [] if not missing or _pip(missing) else _each([[text] for text in missing])
    apart = [names for names in ALONE if not _apart(names[0])]
    failed += _each([["--no-deps", "--target", str(APART), *names] for names in apart])
    for arguments, why in failed:
        print(f"cannot install {' '.join(arguments)}: {why}", file=sys.stderr)


def listed() -> list[str]:
    """Return the requirements of the extra that apply here, without their markers."""
    wanted = (Requirement(text) for text in requires(PROJECT) or [])
    return [
        f"{one.name}{one.specifier}"
        for one in wanted
        if one.marker and one.marker.evaluate({"extra": EXTRA}) and not _always(one)
    ]


def installed(requirement: Requirement) -> bool:
    """Return whether a requirement is met."""
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


def _always(requirement: Requirement) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": ""})


def _apart(requirement: str) -> bool:
    name, _, number = requirement.partition("==")
    return (APART / f"{name.replace('-', '_')}-{number}.dist-info").exists()


def _each(commands: Sequence[Sequence[str]]) -> list[tuple[Sequence[str], str]]:
    """Return the arguments that failed, and why."""
    failed = []
    for arguments in track(commands, "installing") if commands else ():
        if why := _why(arguments):
            failed.append((arguments, why))
    return failed


def _pip(arguments: Sequence[str]) -> bool:
    return not _why(arguments)


def _why(arguments: Sequence[str]) -> str | None:
    """Run pip install; return its last error, or None."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or done.stderr.splitlines() or ["pip failed"])[-1]


if __name__ == "__main__":
    main()
