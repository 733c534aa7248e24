"""The data sets of the benchmarks, fetched and built: ``python -m benchmarks data``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from . import call_build, data, noise_build
from .data import MissingDataError
from .sources import Source, place

TEN = Source(
    "TEN-framework/ten-vad",
    "dddbeb16e6a4b4e9fa3bc4bf87f30fc26a19e963",
    "TEN VAD test set, of LibriSpeech, GigaSpeech and DNS Challenge",
    "Apache-2.0 with additional conditions; for measuring only",
    tuple(
        f"testset/testset-audio-{number:02d}.{kind}"
        for number in range(1, 31)
        for kind in ("scv", "wav")
    ),
    "18fbc50af86b37a0aba1a209c3272044983a17e16fe2ab7338025caaa111749f",
)
AMI = Source(
    "pyannote/pyannote-audio",
    "b749285c5cdd4636b2edc7f766f1352c8dde9369",
    "excerpts of the AMI meeting corpus",
    "CC BY 4.0",
    tuple(
        f"tests/data/{name}"
        for name in (
            "debug.development.rttm",
            "debug.test.rttm",
            "debug.train.rttm",
            "dev00.wav",
            "dev01.wav",
            "empty.wav",
            "trñ00.wav",
            *(f"trn{number:02d}.wav" for number in range(1, 10)),
            "tst00.wav",
            "tst01.wav",
        )
    ),
    "c747720907b9355f978bf62ab40067ff5ab6bf05d2890304077ad3c9823fec3c",
)


class Dataset(NamedTuple):
    """A set of the data folder."""

    folder: str
    """Inside it."""
    done: str
    """A file that is there when the set is."""
    build: Callable[[Path, Path], object]
    """Makes it: data folder, folder of what is fetched."""


def _placed(name: str, source: Source) -> Callable[[Path, Path], object]:
    return lambda folder, sources: place(source, sources, folder / data.SOURCES[name].folder)


def _turn(folder: Path, sources: Path) -> None:
    from scripts.turn_data import build, chosen
    from scripts.turn_repositories import MissingSourceError

    try:
        build(folder / "turn", chosen(None, False), sources / "turn", None)
    except MissingSourceError as error:
        raise MissingDataError(str(error)) from error


SETS = {
    "ten": Dataset("ten", "testset-audio-30.wav", _placed("ten", TEN)),
    "ami": Dataset("pyannote", "tst01.wav", _placed("ami", AMI)),
    "noise": Dataset("noise", "manifest.json", noise_build.build),
    "call": Dataset("call", "manifest.json", call_build.build),
    "turn": Dataset("turn", "manifest.json", _turn),
}
"""Name -> how to get it."""


def fetch(names: Collection[str], folder: Path, sources: Path) -> dict[str, str]:
    """Build the sets that are not in the data folder; return name -> why it could not be had.

    Args:
        names: Of :data:`SETS`.
        folder: The data folder; made if need be.
        sources: Folder of what is fetched, or was put there.
    """
    failed = {}
    for name in names:
        wanted = SETS[name]
        if (folder / wanted.folder / wanted.done).exists():
            continue
        print(f"data: {name}", file=sys.stderr)
        try:
            wanted.build(folder, sources)
        except (
            OSError,
            ImportError,
        ) as error:  # a missing set, or a folder that can't be written to
            failed[name] = str(error)
    return failed
