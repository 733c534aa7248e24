"""All that is done before an agent starts: model files fetched and checked, kernels compiled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.filesize import decimal

from . import files, networks, turn, turn_livekit
from .download import Outcome
from .kernels import build, image
from .progress import Lines, line
from .silero import FILE
from .turn_bundle import BundleError, MissingPartError

_SERVED = {FILE, *(name for model in networks.MODELS.values() for name in model.files)}
"""Model files whose networks are among the kernels."""

LIVEKIT_ELSEWHERE = (
    "LiveKit's turn detectors do not go into a folder of --to: run `nearvoice download-files "
    "--livekit`, copy the folder that it names, the cache of huggingface_hub, to the other "
    "machine, and set HF_HUB_CACHE to it and HF_HUB_OFFLINE=1 there"
)


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


def prepare_livekit(report: Lines) -> None:
    """Show the licence of LiveKit's turn detectors, and fetch what the Hub's cache lacks of them.

    ``report`` is closed by now: huggingface_hub has bars of its own.

    Raises:
        DownloadError: One of them could not be fetched; the other was.
    """
    from huggingface_hub import constants

    report.say(turn_livekit.TERMS)
    failed = []
    for flavour, revision in turn_livekit.REVISIONS.items():
        try:
            fetched = turn_livekit.fetch(flavour)
        except (OSError, BundleError) as error:
            failed.append(f"{turn_livekit.REPOSITORY} {revision}: {error}")
            continue
        source = f"hf {turn_livekit.REPOSITORY}@{revision}"
        for file in fetched:
            report.say(line(Outcome(file.name, file.bytes, source)))
    if failed:
        remedy = "run `nearvoice download-files --livekit` again when this is mended"
        raise files.DownloadError("\n".join([*failed, f"{remedy}; what arrived is kept"]))
    report.say(f"LiveKit's turn detectors are in {constants.HF_HUB_CACHE}")


def verify_turn() -> files.Check:
    """Hash the turn detector that comes with nearvoice; nothing is changed."""
    name = "turn detector"
    try:
        turn.locate("nearvoice")
    except MissingPartError as error:
        return files.Check(name, turn.WEIGHTS, "missing", str(error))
    except BundleError as error:
        return files.Check(name, turn.WEIGHTS, "corrupt", str(error))
    return files.Check(name, turn.WEIGHTS, "ok")


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
