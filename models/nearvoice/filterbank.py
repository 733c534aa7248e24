"""Analysis and synthesis around a network: a frame to the bins it hears, what it leaves to a frame.

Between both stands what noise suppression does to bins besides the network: a gain before and back
after it, some of the sound as it came, and bins above the network's own, which follow its highest.
:class:`NumpyFilterbank` is the clear twin of the compiled :class:`.kernels.fused.Filterbank`.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from .audio import Samples
from .spectrum import Spectrum, Transform

_LEAST = 1e-12
"""Amplitude of silence, so that it can be divided by."""


class Powers(NamedTuple):
    """Of the bins that the network hears: the sum of their squares."""

    heard: float
    """What it heard."""
    left: float
    """What it left of that."""


class Filterbank(Protocol):
    """Of one stream: :meth:`synthesise` belongs to the frame that was analysed last."""

    def analyse(self, frame: Samples, gain: float) -> Spectrum:
        """Take float32[size]; return what the network hears, complex64[bins], until the next one.

        Args:
            frame: Of the sound.
            gain: What the network hears it louder by, a factor above 0.
        """

    def synthesise(self, enhanced: Spectrum, gain: float, dry: float) -> tuple[Samples, Powers]:
        """Take what the network made of it, complex64[bins]; return float32[size] to overlap-add.

        Args:
            enhanced: May be changed.
            gain: As it was before the network; it is undone.
            dry: How much of the sound as it came is in the output, in [0, 1].
        """


class NumpyFilterbank:
    """A filterbank as array arithmetic.

    Args:
        transform: At the rate of the sound.
        bins: Of the network; those that the transform lacks are zero.
        shown: How many bins of the transform the network hears.
    """

    def __init__(self, transform: Transform, bins: int, shown: int) -> None:
        self._transform = transform
        self._shown = shown
        self._top = top(shown)
        self._heard: Spectrum = np.zeros(bins, np.complex64)
        self._spectrum: Spectrum = np.zeros(transform.hop + 1, np.complex64)

    def analyse(self, frame: Samples, gain: float) -> Spectrum:
        """Return what the network hears, see :class:`Filterbank`."""
        self._spectrum = self._transform.forward(frame)
        shown = self._shown
        np.multiply(self._spectrum[:shown], np.float32(gain), out=self._heard[:shown])
        return self._heard

    def synthesise(self, enhanced: Spectrum, gain: float, dry: float) -> tuple[Samples, Powers]:
        """Return the frame that comes out, see :class:`Filterbank`."""
        spectrum, shown = self._spectrum, self._shown
        left = enhanced[:shown]
        powers = Powers(_power(self._heard[:shown]), _power(left))
        left /= np.float32(gain)
        if shown < len(spectrum):
            above = _amplitude(left[self._top]) / (_amplitude(spectrum[self._top]) + _LEAST)
            spectrum[shown:] *= np.float32(dry + (1 - dry) * min(1.0, above))
        if dry:
            left *= np.float32(1 - dry)
            left += np.float32(dry) * spectrum[:shown]
        spectrum[:shown] = left
        return self._transform.backward(spectrum), powers


def top(shown: int) -> slice:
    """Return the bins, the highest quarter that the network hears, which those above follow."""
    return slice(shown * 3 // 4, shown)


def _power(spectrum: Spectrum) -> float:
    return float(np.vdot(spectrum, spectrum).real)


def _amplitude(spectrum: Spectrum) -> float:
    return math.sqrt(_power(spectrum))
