"""eot-bench's data set, as whoever has downloaded it finds it: rows of parquet in, turns out.

https://huggingface.co/datasets/livekit/eot-bench-data, Apache-2.0. Nothing of it is in this
repository.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from nearvoice.audio import PCM, to_int16

from .data import MissingDataError, Segment

REPOSITORY = "livekit/eot-bench-data"
REMEDY = (
    "download it with `hf download livekit/eot-bench-data --repo-type dataset --local-dir FOLDER` "
    "and name it with --eot FOLDER; its place in the cache of huggingface_hub does, too"
)
COLUMNS = ("id", "language", "audio", "silence_spans", "words")
"""That a row must have; ``messages`` it may have."""
SPLIT = "validation"
"""What is read, where a folder has several splits."""
_AT_ONCE = 16
"""Rows: each has its sound."""


class Sound(NamedTuple):
    """A recording of one channel."""

    pcm: PCM
    """int16[n]."""
    rate: int
    """Samples a second."""


class Word(NamedTuple):
    """A word of the reference, and the second in which it ends."""

    text: str
    end: float


class Turn(NamedTuple):
    """One complete turn of a user."""

    id: str
    language: str
    silences: tuple[Segment, ...]
    """Within the turn, and the last after it."""
    words: tuple[Word, ...]
    messages: tuple[Mapping[str, str], ...]
    """Said before."""
    sound: Callable[[], Sound]
    """Decodes it."""


def turns(path: Path, first: int = 0, last: int | None = None) -> Iterator[Turn]:
    """Yield the turns of a file from the first to before the last.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: The file is not of this data set.
    """
    table = parquet_library().ParquetFile(path)
    if lost := set(COLUMNS) - set(table.schema_arrow.names):
        raise ValueError(f"{path.name} is not of eot-bench: no column {', '.join(lost)}")
    batches = table.iter_batches(batch_size=_AT_ONCE)
    rows = (batch.slice(at, 1) for batch in batches for at in range(batch.num_rows))
    for row in islice(rows, first, last):
        yield _turn(row.to_pylist()[0])


def count(path: Path) -> int:
    """Return how many turns a file has."""
    rows: int = parquet_library().ParquetFile(path).metadata.num_rows
    return rows


def files(folder: Path | None) -> list[Path]:
    """Return the parquet files of the split, in a folder or in the Hub's cache.

    Args:
        folder: With the files, or a repository's in the cache; None for where the cache has it.

    Raises:
        MissingDataError: There is none.
    """
    named = folder or _in_cache()
    if named is None or not named.is_dir():
        nowhere = "no folder of eot-bench is named, and the cache of huggingface_hub has none"
        raise MissingDataError(f"{f'there is no {named}' if named else nowhere}: {REMEDY}")
    found = sorted(_snapshot(named).rglob("*.parquet"))
    found = [path for path in found if SPLIT in path.name] or found
    if not found:
        raise MissingDataError(f"no parquet file in {named}: {REMEDY}")
    return found


def _in_cache() -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(REPOSITORY, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def parquet_library() -> Any:  # noqa: ANN401 - it has no types
    """Return pyarrow's ``parquet``.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            "eot-bench needs pyarrow: pip install 'livekit-plugins-nearvoice[bench]'"
        ) from error


def _snapshot(folder: Path) -> Path:
    """Return where the files of a folder of the Hub's cache are; any other as it is."""
    snapshots, newest = folder / "snapshots", folder / "refs" / "main"
    if not snapshots.is_dir():
        return folder
    if newest.is_file():
        return snapshots / newest.read_text("utf-8").strip()
    return max(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, default=folder)


def _turn(row: Mapping[str, Any]) -> Turn:
    return Turn(
        str(row["id"]),
        str(row["language"]).lower(),
        tuple(Segment(float(s["start"]), float(s["end"])) for s in _list(row["silence_spans"])),
        tuple(Word(str(word["word"]), float(word["end"])) for word in _list(row["words"])),
        tuple(_list(row.get("messages"))),
        lambda: _sound(row["audio"]),
    )


def _list(value: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a part of a row
    """Return a list of records, also where they were stored as a record of lists."""
    if isinstance(value, Mapping):
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return list(value or ())


def _sound(audio: Mapping[str, Any]) -> Sound:
    if audio.get("array") is not None:
        return Sound(to_int16(np.asarray(audio["array"], np.float32)), int(audio["sampling_rate"]))
    with av.open(io.BytesIO(audio["bytes"]), "r") as container:
        rate = container.streams.audio[0].rate
        to_mono = av.AudioResampler(format="s16", layout="mono", rate=rate)
        decoded = [*container.decode(audio=0), None]
        parts = [out.to_ndarray()[0] for frame in decoded for out in to_mono.resample(frame)]
    return Sound(np.concatenate(parts).astype(np.int16), rate)
