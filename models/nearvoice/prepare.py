"""All that is done before an agent starts: model files fetched, kernels compiled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.filesize import decimal

from . import files, networks
from .kernels import build, image
from .progress import Lines
from .silero import FILE

_SERVED = {FILE, *(name for model in networks.MODELS.values() for name in model.files)}
"""Model files whose networks are among the kernels."""


def prepare(names: Iterable[str] | None = None, *, to: Path | None = None, report: Lines) -> None:
    """Fetch the model files that are missing; without names or a folder also compile the kernels.

    Kernels that do not compile are said, and no error: numpy and onnxruntime do without.

    Raises:
        UnknownFileError: No model file has one of these names.
        DownloadError: A file could not be fetched; the others were.
    """
    files.download(names, to=to, report=report)
    if names is None and to is None and _SERVED & files.manifest().keys():
        _compile(report)


def _compile(report: Lines) -> None:
    if (reason := image.unsupported()) is not None:
        report.say(f"kernels           not compiled: {reason}")
    absent, names = build.missing(), ""
    for level in image.levels():
        try:
            path = build.build(level)
            names = ", ".join(image.load(path).functions)
        except (build.BuildError, image.ImageError) as error:
            report.say(f"kernels           {error}; numpy and onnxruntime do their work", "red")
            return
        state = "compiled" if level in absent else "present"
        report.say(f"{'kernels':16}  {decimal(path.stat().st_size):>9}  {state} for {level}  ok")
    if names:
        report.say(f"{'':27}  {names}")  # the same for every level
