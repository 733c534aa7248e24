"""What is heard in a sound: speech probabilities, and when speech is said to start and end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice.audio import Samples
from nearvoice.silero import SileroVAD
from nearvoice.speech import Boundary, SpeechDetector, SpeechOptions

from .data import Segment

WINDOW = 0.032
"""Seconds of a window of Silero VAD, at both rates."""
Probabilities = npt.NDArray[np.floating]
"""P(speech) of each window of a stream, floating[windows]."""


def windows(sound: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return a sound in windows of ``size`` samples: [n // size, size], the rest dropped."""
    return sound[: len(sound) // size * size].reshape(-1, size)


def probabilities(model: SileroVAD, samples: Samples) -> npt.NDArray[np.float64]:
    """Return P(speech) of each window of a new stream, float64[n // window]."""
    cut = windows(np.ascontiguousarray(samples), model.window)
    state, said = model.initial_state(), np.empty(len(cut))
    for i, window in enumerate(cut):
        said[i], state = model.step(window, state)
    return said


def detect(
    said: Probabilities, window_seconds: float, options: SpeechOptions | None = None
) -> list[Segment]:
    """Return what :class:`SpeechDetector` decides; a decision falls at the end of its window."""
    detector = SpeechDetector(window_seconds, options or SpeechOptions())
    changes: list[tuple[Boundary, float]] = []
    for probability in said.tolist():
        if change := detector.step(probability).change:
            changes.append((change.boundary, detector.timestamp))
    return paired(changes)


def paired(changes: Iterable[tuple[Boundary, float]]) -> list[Segment]:
    """Return segments from starts and ends in seconds; an END that never came is infinity."""
    segments: list[Segment] = []
    for boundary, seconds in changes:
        if boundary is Boundary.START:
            segments.append(Segment(seconds, np.inf))
        else:
            segments[-1] = segments[-1]._replace(end=seconds)
    return segments
