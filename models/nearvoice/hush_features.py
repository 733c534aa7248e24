"""What stands around Hush's network: features out of a spectrum, and the spectrum it enhances.

Everything a stream remembers between two hops is one flat float32 array; :func:`split` names its
parts. The features are those of libdf (Rikorose/DeepFilterNet, MIT or Apache-2.0), on which Hush
was trained.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
C64 = npt.NDArray[np.complex64]

BINS = 161
"""Of a spectrum: 50 Hz apart, of windows of 20 ms."""
BANDS = 32
"""Of the ERB scale."""
LOW = 64
"""Bins that are filtered one by one; the others are amplified by bands."""
ORDER = 5
"""Hops that the filter of a low bin sees: this one and four before it."""
SEEN = 3
"""Hops of features that the network's first layers see: this one and two before it."""
HIDDEN = 256
"""Size of a GRU."""
GRUS = 5

WIDTHS = np.array((2,) * 20 + (3, 6, 7, 7, 8, 8, 10, 12, 12, 14, 16, 18))
"""Bins of each band: equal steps of the ERB scale of Glasberg and Moore, but two bins at least."""
KEPT = float(np.exp(-0.01))
"""What of the running means is left after a hop: they forget in one second."""
POWER_FLOOR = 1e-10
"""Added to the mean power of a band before its logarithm is taken."""
MEAN_FLOOR = 1e-10
"""Least running mean of a bin's magnitude, 70 dB below the last bit of 16: so that it does not fade
into denormal numbers, which are slow, and then to nothing, by which nothing can be divided."""
ERB_SCALE = 40.0
"""Decibels above the running mean that make a feature of 1."""

_SHAPES = {
    "hidden": (GRUS, HIDDEN),
    "erb_mean": (BANDS,),
    "magnitude": (LOW,),
    "erb": (SEEN - 1, BANDS),
    "low": (SEEN - 1, 2 * LOW),
    "spectra": (ORDER - 1, 2 * LOW),
}
_ENDS = np.cumsum([np.prod(shape) for shape in _SHAPES.values()])
STARTS = dict(zip(_SHAPES, (0, *map(int, _ENDS)), strict=False))
"""Index of every part in the memory."""
MEMORY = int(_ENDS[-1])
"""Length of what a stream remembers."""


class Parts(NamedTuple):
    """The parts of a memory, as views into it."""

    hidden: F32
    """Of the GRUs, float32[5, 256]: encoder, band gains, then three for the filter."""
    erb_mean: F32
    """Running mean of every band in decibels, float32[32]."""
    magnitude: F32
    """Running mean of every low bin's magnitude, float32[64]."""
    erb: F32
    """Features of the bands two hops ago and one hop ago, float32[2, 32]."""
    low: C64
    """Features of the low bins in the same two hops, complex64[2, 64]."""
    spectra: C64
    """The low bins of the four hops before, oldest first, complex64[4, 64]."""


def split(memory: F32) -> Parts:
    """Return the parts of float32[MEMORY]; to write to them is to write to it.

    Raises:
        ValueError: It is not a contiguous float32[MEMORY].
    """
    check_memory(memory)
    hidden, mean, magnitude, erb, low, spectra = (
        memory[STARTS[name] :][: np.prod(shape)].reshape(shape) for name, shape in _SHAPES.items()
    )
    complex64 = np.complex64
    return Parts(hidden, mean, magnitude, erb, low.view(complex64), spectra.view(complex64))


def check_memory(memory: F32) -> None:
    """Raise ValueError for what is not a contiguous float32[MEMORY]."""
    if memory.shape != (MEMORY,) or memory.dtype != np.float32 or not memory.flags.c_contiguous:
        raise ValueError(
            f"a memory of Hush is a contiguous float32[{MEMORY}], "
            f"got {memory.dtype}{list(memory.shape)}"
        )


def check_spectrum(spectrum: C64) -> None:
    """Raise ValueError for what is not complex64[161]."""
    if spectrum.shape != (BINS,) or spectrum.dtype != np.complex64:
        raise ValueError(
            f"a spectrum of Hush is complex64[{BINS}], got {spectrum.dtype}{list(spectrum.shape)}"
        )


def initial_memory() -> F32:
    """Return what a stream remembers that has heard nothing, float32[MEMORY].

    The running means start where libdf starts them.
    """
    memory = np.zeros(MEMORY, np.float32)
    parts = split(memory)
    parts.erb_mean[:] = np.linspace(-60, -90, BANDS)
    parts.magnitude[:] = np.linspace(1e-3, 1e-4, LOW)
    return memory


_STARTS = np.cumsum(WIDTHS) - WIDTHS
_KEPT, _NEW = np.float32(KEPT), np.float32(1) - np.float32(KEPT)
_FLOAT_WIDTHS = WIDTHS.astype(np.float32)
_HIGH_BAND = int(np.searchsorted(np.cumsum(WIDTHS), LOW, "right"))
"""The band that the first of the other bins is in."""
_HIGH_WIDTHS = np.append(np.cumsum(WIDTHS)[_HIGH_BAND] - LOW, WIDTHS[_HIGH_BAND + 1 :])


def features(spectrum: C64, parts: Parts) -> tuple[F32, C64]:
    """Return features of the last three hops, oldest first, and remember the newest.

    Args:
        spectrum: complex64[161].
        parts: Of the memory; running means and features are moved on by one hop.

    Returns:
        float32[3, 32], how far each band is above its running mean, and complex64[3, 64], every
        low bin over the root of the running mean of its magnitude.

    Raises:
        ValueError: The spectrum is none of Hush.
    """
    check_spectrum(spectrum)
    power = spectrum.real**2 + spectrum.imag**2
    powers = np.add.reduceat(power, _STARTS) / _FLOAT_WIDTHS
    bands: F32 = 10 * np.log10(powers + np.float32(POWER_FLOOR))
    _move(parts.erb_mean, bands)
    magnitudes: F32 = np.abs(spectrum[:LOW])
    _move(parts.magnitude, magnitudes)
    np.maximum(parts.magnitude, np.float32(MEAN_FLOOR), out=parts.magnitude)
    erb, low = np.empty((SEEN, BANDS), np.float32), np.empty((SEEN, LOW), np.complex64)
    erb[:-1], low[:-1] = parts.erb, parts.low
    erb[-1] = (bands - parts.erb_mean) / np.float32(ERB_SCALE)
    low[-1] = spectrum[:LOW] / np.sqrt(parts.magnitude)
    parts.erb[:], parts.low[:] = erb[1:], low[1:]
    return erb, low


def _move(mean: F32, new: F32) -> None:
    mean *= _KEPT
    mean += new * _NEW


def enhance(spectrum: C64, gains: F32, filters: F32, parts: Parts) -> C64:
    """Return the enhanced spectrum, complex64[161], and remember the low bins of this one.

    Args:
        spectrum: complex64[161].
        gains: Of the bands, float32[32].
        filters: Of the low bins, float32[64, 10]: real and imaginary part for each of five hops,
            oldest first.
        parts: Of the memory; the spectra are moved on by one hop.
    """
    seen = np.concatenate((parts.spectra, spectrum[None, :LOW]))
    parts.spectra[:] = seen[1:]
    enhanced = np.empty(BINS, np.complex64)
    np.sum(filters.view(np.complex64).T * seen, axis=0, out=enhanced[:LOW])
    enhanced[LOW:] = spectrum[LOW:] * np.repeat(gains[_HIGH_BAND:], _HIGH_WIDTHS)
    return enhanced
