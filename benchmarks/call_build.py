"""Makes the calls of the task ``call`` from public speech: ``python -m benchmarks data call``.

A call is ten or fewer utterances of one reader of LibriSpeech. Each is a turn. Where a comma or
less stands in it, a pause of 0.3 to 2 s is put in, which is no end; ``call_set.json`` has the words
of the pieces and the seconds of the cuts. After a turn the caller waits for the agent, or, after
every third, begins again while it speaks. The same samples each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from nearvoice.audio import Samples, to_int16

from . import sounds
from .data import RATE, MissingDataError, decode, digest
from .noise_build import at_level, write_flac
from .noise_sources import SPEECH
from .sources import obtain

FOLDER, MANIFEST = "call", "manifest.json"
WORDS = Path(__file__).parent / "call_set.json"
"""Utterance -> its pieces: words, and the second at which a pause follows; none after the last."""
HOLDS = (0.3, 2.0)
"""Seconds of a pause within a turn."""
WAIT, IMPATIENT = 6.5, 3.0
"""Seconds after a turn until the next, and after every third."""
LEAD = 1.0
"""Seconds before the first turn."""
LEVEL = -26.0
"""Active speech, in dB of full scale."""
FADE = 80
"""Samples over which a piece comes and goes."""
SEED = 7


def build(folder: Path, sources: Path) -> int:
    """Write the calls into ``call`` of the data folder; return how many there are.

    Args:
        folder: The data folder.
        sources: Has, or gets, the utterances, see :func:`benchmarks.sources.obtain`.

    Raises:
        MissingDataError: The utterances cannot be had.
    """
    paths = {path.stem: path for path in obtain(SPEECH, sources)}
    pieces = json.loads(WORDS.read_text("utf-8"))
    into = folder / FOLDER
    into.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for chapter, names in groupby(pieces, lambda name: name.rpartition("-")[0]):
        speech = [(decode(paths[name]), pieces[name]) for name in names]
        samples, turns = call(speech, seed=SEED + len(rows))
        path = into / f"{chapter}.flac"
        write_flac(path, to_int16(samples))
        rows.append({"name": chapter, "sha256": digest([path]), "turns": turns})
    about = {"source": SPEECH.via, "origin": SPEECH.origin, "licence": SPEECH.licence}
    text = json.dumps({**about, "calls": rows}, indent=1)
    (into / MANIFEST).write_text(text + "\n", "utf-8")
    return len(rows)


def call(
    speech: list[tuple[Samples, list[list[Any]]]], seed: int
) -> tuple[Samples, list[list[dict[str, Any]]]]:
    """Return a call, float32[n] at 16 kHz, and its turns.

    Args:
        speech: Of each turn, float32 at 16 kHz, and its pieces as in ``call_set.json``.
        seed: Of the pauses.

    Returns:
        A turn is its pieces: "text", and "start" and "end" in seconds of the call.
    """
    chance = np.random.default_rng(seed)
    parts, turns, at = [np.zeros(round(LEAD * RATE), np.float32)], [], LEAD
    for number, (samples, pieces) in enumerate(speech):
        turn: list[dict[str, Any]] = []
        for (text, _), piece in zip(pieces, _cut(at_level(samples, LEVEL), pieces), strict=True):
            first = not turn
            pause = 0.0 if first else float(chance.uniform(*HOLDS))
            parts += [np.zeros(round(pause * RATE), np.float32), piece]
            at += round(pause * RATE) / RATE
            turn.append({"text": text, "start": at, "end": at + len(piece) / RATE})
            at += len(piece) / RATE
        wait = IMPATIENT if number % 3 == 2 else WAIT
        parts.append(np.zeros(round(wait * RATE), np.float32))
        at += round(wait * RATE) / RATE
        turns.append(turn)
    whole = np.concatenate(parts)
    return whole + sounds.room_tone(len(whole) / RATE + 1.0, seed)[: len(whole)], turns


def _cut(samples: Samples, pieces: list[list[Any]]) -> Iterator[Samples]:
    """Yield the pieces, without the silence before and after what is said in each."""
    ends = [len(samples) if at is None else round(at * RATE) for _, at in pieces]
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    for start, end in zip([0, *ends], ends, strict=False):
        piece = _spoken(samples[start:end]).copy()
        piece[:FADE] *= ramp
        piece[-FADE:] *= ramp[::-1]
        yield piece


def _spoken(samples: Samples) -> Samples:
    """Return samples from the first to the last frame of 10 ms that is within 35 dB of the loudest.

    30 ms more are left on both sides.
    """
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    (loud,) = np.nonzero(powers > powers.max() * 10**-3.5)
    return samples[max(0, loud[0] - 3) * 160 : (loud[-1] + 4) * 160]


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of the calls in a data folder.

    Raises:
        MissingDataError: They are not there.
    """
    path = folder / FOLDER / MANIFEST
    if not path.is_file():
        raise MissingDataError(f"no {path}. Make it: python -m benchmarks data call")
    about: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return about
