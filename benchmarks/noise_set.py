"""The noise set: speech in noise beside the clean speech, clean speech alone, noise alone.

A folder ``noise`` inside the data folder, with a ``manifest.json`` that lists the items;
``python -m benchmarks.noise_build DATA`` makes one from public sources.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearvoice.audio import PCM, to_int16

from .data import MissingDataError, decode, digest

FOLDER = "noise"
"""Inside the data folder."""
MANIFEST = "manifest.json"
TALKER = "talker"
"""The noise that is one other voice: no suppressor of noise alone should touch it."""
LOUD = -35
"""dB of full scale of the louder one of each two items without speech."""


@dataclass(frozen=True)
class Item:
    """One recording of the set, and what is known of it."""

    name: str
    kind: str
    """"mix" (speech in noise), "clean" (speech) or "noise" (no speech)."""
    noise: str | None
    """Which noise; None for clean speech."""
    snr: int | None
    """dB of active speech above the noise, of a mix."""
    level: int | None
    """dB of full scale, of noise alone."""
    noisy_path: Path
    clean_path: Path | None
    """The speech in it; None for noise alone."""
    words: str | None = None
    """What is said, where the sources came with a transcript."""
    utterance: str | None = None
    """Which recording of speech is in it; several items may have the same."""

    @property
    def noisy(self) -> PCM:
        """What a system hears, int16[n] at 16 kHz."""
        return read(self.noisy_path)

    @property
    def clean(self) -> PCM:
        """The speech alone, int16[n] at 16 kHz, in time with ``noisy``; of noise, silence."""
        return read(self.clean_path) if self.clean_path else self.noisy * 0


@functools.lru_cache(maxsize=400)
def read(path: Path) -> PCM:
    """Return a recording as int16[n] at 16 kHz, not to be changed."""
    pcm = to_int16(decode(path))
    pcm.flags.writeable = False
    return pcm


def items(folder: Path) -> list[Item]:
    """Return the items of the set in the data folder ``folder``, as its manifest has them.

    Raises:
        MissingDataError: It is not there.
    """
    path = _manifest(folder)
    return [_item(path.parent, row) for row in json.loads(path.read_text("utf-8"))]


def _manifest(folder: Path) -> Path:
    path = folder / FOLDER / MANIFEST
    if not path.is_file():
        raise MissingDataError(f"no {path}. Make it: python -m benchmarks data noise")
    return path


def _item(folder: Path, row: dict[str, Any]) -> Item:
    return Item(
        name=row["id"],
        kind=row["kind"],
        noise=row["noise"],
        snr=row["snr"],
        level=row.get("level_db"),
        noisy_path=folder / row["noisy"],
        clean_path=folder / row["clean"] if row["clean"] else None,
        words=row.get("words"),
        utterance=row.get("speech_file"),
    )


def chosen(folder: Path, few: bool) -> list[Item]:
    """Return the items of a run: all, or those of a quick one.

    Raises:
        MissingDataError: The set is not there.
    """
    return quick(items(folder)) if few else items(folder)


def quick(listed: Sequence[Item]) -> list[Item]:
    """Return a part of a set: a mix of each noise, at 0 and 10 dB in turn, 2 clean, 2 of noise."""
    mixes = [item for item in listed if item.kind == "mix"]
    noises = dict.fromkeys(item.noise for item in mixes)
    part = [
        next(item for item in mixes if (item.noise, item.snr) == (noise, 10 * (number % 2)))
        for number, noise in enumerate(noises)
    ]
    for kind in ("clean", "noise"):
        part += [item for item in listed if item.kind == kind][:2]
    return part


def describe(folder: Path, listed: Sequence[Item]) -> dict[str, Any]:
    """Say which sounds figures are made with, ready for JSON."""
    kinds = [item.kind for item in listed]
    return {
        "source": f"{FOLDER}/{MANIFEST}",
        "sha256": digest([_manifest(folder)]),
        "items": {kind: kinds.count(kind) for kind in ("mix", "clean", "noise")},
    }
