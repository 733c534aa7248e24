"""Labelled speech: float32 at 16 kHz that int16 can hold, and where somebody speaks in it.

Nothing of it is in this repository: the sets are read from a folder, see :data:`SOURCES`.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

from nearvoice import files
from nearvoice.audio import Samples, to_float32

RATE = 16_000
HOP = 160
"""Samples of a frame of the label grid: 10 ms."""
FRAME_SECONDS = HOP / RATE
VARIABLE = "NEARVOICE_DATA"
"""Environment variable with the data folder."""

REMEDY = f"run python -m benchmarks data, or name another with --data or {VARIABLE}"

Labels = npt.NDArray[np.bool_]


class MissingDataError(FileNotFoundError):
    """A labelled set is not where it was looked for; the message says where to get it."""


class Segment(NamedTuple):
    """A stretch of time, in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class Clip:
    """A recording and where somebody speaks in it."""

    name: str
    samples: Samples
    """float32[n] at 16 kHz, full scale 1.0, each a value of :func:`nearvoice.audio.to_float32`."""
    labels: Labels
    """bool[n // 160]: whether the middle of each frame of 10 ms is speech."""


class _Source(NamedTuple):
    folder: str
    url: str
    files: str


SOURCES = {
    "ten": _Source(
        "ten",
        "https://github.com/TEN-framework/ten-vad (testset/)",
        "testset-audio-01.wav and .scv, …",
    ),
    "ami": _Source(
        "pyannote",
        "https://github.com/pyannote/pyannote-audio (tests/data/)",
        "trn01.wav, …, debug.train.rttm, …",
    ),
}
"""Set -> its folder inside the data folder, where the public gets it, and what lies in it."""


# ---- labelled sets ----------------------------------------------------------------------------


def data_folder(path: Path | str | None = None) -> Path:
    """Return the data folder, see :func:`place`.

    Raises:
        MissingDataError: There is no such folder.
    """
    chosen = place(path)
    if not chosen.is_dir():
        raise MissingDataError(f"there is no data folder {chosen}: {REMEDY}")
    return chosen


def place(path: Path | str | None = None) -> Path:
    """Return where the data folder is, or would be.

    It is ``path``, else what NEARVOICE_DATA says, else ``benchmarks`` in the cache folder.
    """
    chosen = path or os.environ.get(VARIABLE)
    return Path(chosen) if chosen else files.cache_dir() / "benchmarks"


def ten(folder: Path) -> list[Clip]:
    """Return the TEN-VAD test set: 30 clips, 262 s, 75 % speech. For measuring only.

    Raises:
        MissingDataError: The set is not in the data folder ``folder``.
    """
    return [
        _clip(path.stem, decode(path), _scv(path.with_suffix(".scv")))
        for path in dataset_files(folder, "ten")
        if path.suffix == ".wav"
    ]


def ami(folder: Path, split: str | None = None) -> list[Clip]:
    """Return excerpts of AMI meetings: 14 of 30 s, quiet and far; speech is where anyone speaks.

    Args:
        folder: The data folder.
        split: "train" (10 clips), "development" (2), "test" (2), or None for all.

    Raises:
        MissingDataError: The set, or the split, is not there.
    """
    paths = dataset_files(folder, "ami")
    sounds = {_plain(path.stem): path for path in paths if path.suffix == ".wav"}
    tables = [path for path in paths if path.match(f"*.{split or '*'}.rttm")]
    if not tables:
        raise MissingDataError(f"no debug.{split}.rttm. {_remedy('ami')}")
    spoken: dict[str, list[Segment]] = {}
    for table in tables:
        for line in table.read_text("utf-8").splitlines():
            _, name, _, start, duration, *_ = line.split()
            turn = Segment(float(start), float(start) + float(duration))
            spoken.setdefault(_plain(name), []).append(turn)
    if lost := spoken.keys() - sounds.keys():
        raise MissingDataError(f"no sound for {', '.join(sorted(lost))}. {_remedy('ami')}")
    return [_clip(name, decode(sounds[name]), spoken[name]) for name in sorted(spoken)]


def dataset_files(folder: Path, name: str) -> list[Path]:
    """Return the files of the set ``name`` of :data:`SOURCES`, sorted by plain name.

    Raises:
        MissingDataError: There are none.
    """
    inside = folder / SOURCES[name].folder
    kinds = (".wav", ".scv") if name == "ten" else (".wav", ".rttm")
    paths = sorted(
        (path for path in inside.glob("*") if path.suffix in kinds),
        key=lambda path: _plain(path.name),
    )
    if not any(path.suffix == ".wav" for path in paths):
        raise MissingDataError(f"no set {name!r} in {inside}. {_remedy(name)}")
    return paths


def digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the bytes of all files, one after the other, in hexadecimal."""
    state = hashlib.sha256()
    for path in paths:
        state.update(path.read_bytes())
    return state.hexdigest()


def decode(path: Path) -> Samples:
    """Return any audio file as mono at 16 kHz: float32[n], with 16 bits behind it."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        decoded = list(container.decode(audio=0))
    heard = [out.to_ndarray()[0] for frame in [*decoded, None] for out in resampler.resample(frame)]
    return to_float32(np.concatenate(heard).astype(np.int16))


def _clip(name: str, samples: Samples, spoken: Sequence[Segment]) -> Clip:
    middles = (np.arange(len(samples) // HOP) + 0.5) * FRAME_SECONDS
    labels = np.zeros(len(middles), bool)
    for start, end in spoken:
        labels |= (start <= middles) & (middles < end)
    return Clip(name, samples, labels)


def _scv(path: Path) -> list[Segment]:
    cells = path.read_text("utf-8").strip().split(",")[1:]
    rows = [cells[i : i + 3] for i in range(0, len(cells) - 2, 3)]
    return [Segment(float(start), float(end)) for start, end, label in rows if label == "1"]


def _plain(name: str) -> str:
    """Drop accents: a clip is spelt trñ00 in one place and trn00 in the other."""
    parts = unicodedata.normalize("NFKD", name)
    return "".join(part for part in parts if not unicodedata.combining(part))


def _remedy(name: str) -> str:
    source = SOURCES[name]
    return (
        f"Run python -m benchmarks data {name}, or get {source.url} and put its files "
        f"({source.files}) into {source.folder}/ of the data folder"
    )
