"""The voice activity detector that noise suppression listens to: sound of any rate and level in.

It hears the sound as it came, each window brought to the same level, so that a quiet caller is
heard as surely as a loud one. Its weights and kernel are those of the process; a stream of its own
costs some ten microseconds for 10 ms.
"""

from __future__ import annotations

import math

import numpy as np

from .audio import Framer, Samples
from .resample import Resampler
from .silero import SileroVAD

_TARGET = -26.0
"""Level the loudest of the recent windows is brought to, in dB of full scale."""
_MOST = 36.0
"""Bound of that gain, in dB; sound is only made louder."""
_FALL = 10.0
"""Decibels a second by which what was loud is forgotten."""
_SILENCE = -60.0
"""Level at the start."""


class Listener:
    """Probability of speech in one stream.

    Args:
        rate: Of the sound, in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._vad = SileroVAD(8_000 if rate == 8_000 else 16_000)
        self._resampler = Resampler(rate, self._vad.sample_rate)
        self._framer = Framer(self._vad.window)
        self._state = self._vad.initial_state()
        self._fall = _FALL * self._vad.window / self._vad.sample_rate
        self._loudest = _SILENCE
        self.probability = 0.0
        """That the newest window of 32 ms is speech."""

    def push(self, samples: Samples) -> float:
        """Hear float32[n], finite; return :attr:`probability`."""
        for window in self._framer.push(self._resampler.push(samples)):
            self._loudest = max(decibels(window), self._loudest - self._fall)
            gain = min(max(_TARGET - self._loudest, 0.0), _MOST)
            if gain:
                window *= np.float32(10 ** (gain / 20))
            self.probability, self._state = self._vad.step(window, self._state)
        return self.probability


def decibels(samples: Samples) -> float:
    """Return the mean square of float32[n] in dB of full scale, -120 at least."""
    return 10 * math.log10(float(samples @ samples) / len(samples) + 1e-12)
