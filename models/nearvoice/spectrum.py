"""Short-time Fourier transform whose bins are those of a network, whatever the sample rate is.

A window of the same duration has bins at the same frequencies at every rate, so a network made for
16 kHz hears 8, 24 or 48 kHz without a resampler: at lower rates its upper bins are silent, and at
higher ones the bins above its own are left to the caller.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .audio import Samples

Spectrum = npt.NDArray[np.complex64]


class Shape(NamedTuple):
    """What a network was trained on: its window, which hops by half, and its bins."""

    duration: float
    """Of the window, in seconds."""
    bins: int
    """That the network hears, from 0 Hz on, ``1 / duration`` apart."""
    window: Literal["hann", "vorbis"]
    """Square root of the periodic Hann window, or the Vorbis window, before and after."""
    size: int
    """Of the window of the network's own rate, in samples."""
    unit: float
    """What the transform of that window is multiplied with."""


class Transform:
    """The transform at one sample rate; immutable.

    Args:
        shape: Of the network.
        rate: Sample rate, in Hz; :func:`fits` must hold.
    """

    def __init__(self, shape: Shape, rate: int) -> None:
        self.size = samples(shape, rate)
        """Samples of a window."""
        self.hop = self.size // 2
        window = _WINDOWS[shape.window](self.size)
        self.to_network: Samples = window * np.float32(shape.size / self.size * shape.unit)
        """What a frame is multiplied with before the transform, float32[size]."""
        self.from_network: Samples = window * np.float32(self.size / shape.size / shape.unit)
        """What it is multiplied with after the one back."""
        self.power: Samples = window * window
        """What a frame is multiplied with when nothing happens to its spectrum, float32[size]; two
        frames that overlap by half add to one."""

    def forward(self, frame: Samples) -> Spectrum:
        """Take float32[size]; return complex64[hop + 1], as loud as the network expects."""
        return np.fft.rfft(frame * self.to_network).astype(np.complex64, copy=False)

    def backward(self, spectrum: Spectrum) -> Samples:
        """Take what :meth:`forward` returned, changed; return float32[size] to overlap and add."""
        frame: Samples = np.fft.irfft(spectrum, self.size).astype(np.float32, copy=False)
        frame *= self.from_network
        return frame


def samples(shape: Shape, rate: int) -> int:
    """Return the samples of a window at ``rate`` Hz, to the nearest."""
    return round(shape.duration * rate)


def fits(shape: Shape, rate: int) -> bool:
    """Return whether a hop is a whole number of samples at ``rate`` Hz."""
    size = samples(shape, rate)
    return size % 2 == 0 and size > 0 and abs(size - shape.duration * rate) < 1e-6


def _root_of_hann(size: int) -> Samples:
    return np.sin(np.pi * np.arange(size) / size).astype(np.float32)


def _vorbis(size: int) -> Samples:
    rising = np.sin(np.pi * (np.arange(size) + 0.5) / size)
    return np.sin(np.pi / 2 * rising**2).astype(np.float32)


_WINDOWS = {"hann": _root_of_hann, "vorbis": _vorbis}
