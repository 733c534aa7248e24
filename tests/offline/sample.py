"""The real telephone call of the demo and the tests: audio, who speaks when, what they say.

30 s, 16 kHz mono, two speakers, with a timed transcript (``.stm``) and speaker turns (``.rttm``);
downloaded with the model files, never committed.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nearvoice import files
from tests.offline.models import Line
from tests.offline.session import Samples, resample

STT_DELAY = 0.2
"""Seconds after the end of a line at which a fast STT calls its transcript final."""


@dataclass(frozen=True)
class Turn:
    """Someone speaks from ``start`` to ``end`` seconds."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True)
class Recording:
    """A recorded call and what is known about it."""

    name: str
    samples: Samples
    """int16, mono."""
    rate: int
    lines: list[Line] = field(default_factory=list)
    """What an STT would hear; empty if nobody wrote it down."""
    turns: list[Turn] = field(default_factory=list)
    """Who speaks when; empty if nobody marked it."""

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return len(self.samples) / self.rate

    def speakers(self) -> dict[str, list[tuple[float, float]]]:
        """Return the labelled speech of each speaker, as (start, end)."""
        found: dict[str, list[tuple[float, float]]] = {}
        for turn in self.turns:
            found.setdefault(turn.speaker, []).append((turn.start, turn.end))
        return found

    def cut(self, start: float, end: float) -> Samples:
        """Return the samples between two seconds."""
        return self.samples[round(start * self.rate) : round(end * self.rate)]


def load() -> Recording:
    """Return the sample call from the cache.

    Raises:
        FileNotFoundError: It has not been downloaded; the message says how.
    """
    with wave.open(str(files.path("sample.wav"))) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
        rate = recording.getframerate()
    lines = read_stm(files.path("sample.stm"))
    turns = read_rttm(files.path("sample.rttm"))
    return Recording("a real telephone call", samples, rate, lines, turns)


def word() -> Samples:
    """Return 0.5 s of silence and one word, from 0.58 to 1.0 s; at the recording's rate."""
    return load().cut(6.2, 7.3)


def hello(rate: int) -> Samples:
    """Return 3 s of the call: one word from 0.58 to 1.0 s, after and before silence."""
    recording = load()
    silence = np.zeros(recording.rate * 2, np.int16)
    return resample(np.concatenate([word(), silence]), recording.rate, rate)


def read_stm(path: Path) -> list[Line]:
    """Return the lines of an ``.stm`` transcript, each final ``STT_DELAY`` after its end."""
    lines = []
    for row in path.read_text(encoding="utf-8").splitlines():
        _, _, _, _, end, text = row.split(maxsplit=5)
        lines.append(Line(round(float(end) + STT_DELAY, 3), text))
    return lines


def read_rttm(path: Path) -> list[Turn]:
    """Return the speaker turns of an ``.rttm`` file."""
    turns = []
    for row in path.read_text(encoding="utf-8").splitlines():
        fields = row.split()
        start, duration = float(fields[3]), float(fields[4])
        turns.append(Turn(start, round(start + duration, 3), fields[7]))
    return turns
