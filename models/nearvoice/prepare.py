"""All that is done before an agent starts: model files fetched, kernels compiled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.filesize import decimal

from . import files
from .kernels import build, image
from .progress import Lines
from .silero import FILE


def prepare(names: Iterable[str] | None = None, *, to: Path | None = None, report: Lines) -> None:
    """Fetch the model files that are missing; without names or a folder also compile the kernels.

    Kernels that do not compile are said, and no error: the numpy kernels do without.

    Raises:
        UnknownFileError: No model file has one of these names.
        DownloadError: A file could not be fetched; the others were.
    """
    files.download(names, to=to, report=report)
    if names is None and to is None and FILE in files.manifest():
        _compile(report)


def _compile(report: Lines) -> None:
    if (reason := image.unsupported()) is not None:
        report.say(f"kernels           not compiled: {reason}")
    absent = build.missing()
    for level in image.levels():
        try:
            path = build.build(level)
        except build.BuildError as error:
            report.say(f"kernels           {error}; numpy does their work", "red")
            return
        state = "compiled" if level in absent else "present"
        report.say(f"{'kernels':16}  {decimal(path.stat().st_size):>9}  {state} for {level}  ok")
