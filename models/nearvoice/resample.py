"""Streams of sound from one sample rate to another; the same samples however they are cut."""

from __future__ import annotations

import functools
import math
from typing import Literal, NamedTuple, Protocol

import numpy as np
import soxr

from .audio import Samples
from .kernels import fused, image

KERNELS = ("auto", "numba", "numpy", "soxr")

_ZERO_CROSSINGS = 24
"""Taps of the filter to each side of its middle, at the lower of the two rates."""
_KAISER_BETA = 8.0
_PASSED = 0.92
"""Where the filter is down to half, as a part of the lower rate's bandwidth."""
_VECTOR = 16
"""Taps of a phase are a multiple of it: zeros are faster than an odd end."""
_LARGEST = 1 << 16
"""Taps of all phases, at most; rates without a common factor of some size are left to soxr."""
_MOST_PHASES = 8
"""That numpy goes through one by one; with 160 of them, as from 44.1 to 16 kHz, soxr is faster."""


class Polyphase(NamedTuple):
    """A low-pass filter for one pair of rates, split into the phases of its output."""

    taps: Samples
    """float32[up, length]; those of a phase are in the order of the samples they meet."""
    up: int
    down: int
    middle: int
    """Index of the filter's middle, on the grid of ``source * up`` Hz."""


class Filter(Protocol):
    """The loop over the output: :func:`filtered`, or its compiled twin."""

    def __call__(self, x: Samples, design: Polyphase, phase: int, count: int) -> Samples:
        """Return float32[count]."""


class Resampler:
    """Mono float32 stream from ``source`` Hz to ``target`` Hz; equal rates pass through untouched.

    Output is in time with the input: sample 0 of both are the same moment. Output comes when the
    filter has heard what it needs, :attr:`delay` later.

    It is a short filter for speech models: 24 taps a side, so that 1.5 ms are enough from 24 or 48
    to 16 kHz; half at 0.92 of the bandwidth, what would alias at least 80 dB down. "soxr" is
    libsoxr's "MQ" recipe, which works in blocks: from 24 or 48 to 16 kHz it holds back up to 38 ms,
    21 on average. All in float32, as libsoxr's int16 path dithers, and then no two runs agree.

    Args:
        source: Rate of the input, in Hz.
        target: Rate of the output, in Hz.
        kernel: What runs the filter: "numba" (compiled) or "numpy"; "auto" is "numba" where it has
            been compiled. Rates without a common factor of some size are left to soxr (44100 and
            16001 Hz with "numba", 44100 and 16000 Hz with "numpy"), as all are with "soxr".

    Raises:
        ValueError: A rate is not positive, or there is no such kernel.
        nearvoice.kernels.image.ImageError: ``kernel="numba"`` has not been compiled here.
    """

    def __init__(
        self, source: int, target: int, kernel: Literal["auto", "numba", "numpy", "soxr"] = "auto"
    ) -> None:
        if source <= 0 or target <= 0:
            raise ValueError(f"sample rates must be positive, got {source} and {target} Hz")
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        self.source = source
        self.target = target
        self._stream = _stream(source, target, kernel)

    @property
    def delay(self) -> float:
        """Longest stretch of input, in seconds, that has been pushed and not come out yet.

        Exact with the filter, an upper bound with soxr.
        """
        return self._stream.delay

    def push(self, samples: Samples) -> Samples:
        """Take float32[n], return the float32[m] that are ready, possibly none.

        Raises:
            ValueError: The samples have another dtype or shape.
        """
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise ValueError(f"samples are float32[n], got {samples.dtype}{list(samples.shape)}")
        return self._stream.push(samples)


class _Stream(Protocol):
    @property
    def delay(self) -> float: ...

    def push(self, samples: Samples) -> Samples: ...


def _stream(source: int, target: int, kernel: str) -> _Stream:
    if source == target:
        return _Same()
    if kernel == "soxr":
        return _Soxr(source, target)
    run = filtered if kernel == "numpy" else _compiled(kernel)
    phases = target // math.gcd(source, target)
    design = polyphase(source, target) if run is not filtered or phases <= _MOST_PHASES else None
    return _Soxr(source, target) if design is None else PolyphaseStream(source, target, design, run)


def _compiled(kernel: str) -> Filter:
    try:
        return fused.polyphase(image.find())
    except image.ImageError:
        if kernel == "numba":
            raise
        return filtered


class _Same:
    delay = 0.0

    def push(self, samples: Samples) -> Samples:
        return samples


class _Soxr:
    def __init__(self, source: int, target: int) -> None:
        self._stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="MQ")
        self.delay = _SOXR_DELAY / min(source, target)

    def push(self, samples: Samples) -> Samples:
        resampled: Samples = self._stream.resample_chunk(samples)
        return resampled


_SOXR_DELAY = 1110
"""Samples, at the lower rate, that the "MQ" recipe holds back at most: the longest measured of 80
pairs of rates from 8 to 192 kHz. From 24 or 48 to 16 kHz they are 604."""


class PolyphaseStream:
    """One stream through a polyphase filter."""

    def __init__(self, source: int, target: int, design: Polyphase, run: Filter) -> None:
        self.delay = design.middle / (source * design.up)
        self._design = design
        self._run = run
        self._past = np.zeros(design.taps.shape[1] - 1, np.float32)
        self._phase = design.middle
        """Of the next output sample, on the grid of ``source * up`` Hz, from the next input."""

    def push(self, samples: Samples) -> Samples:
        """Take float32[n], return the float32[m] that are ready, possibly none."""
        up, down = self._design.up, self._design.down
        x = np.concatenate((self._past, samples))
        count = max(0, -((self._phase - len(samples) * up) // down))
        output = self._run(x, self._design, self._phase, count)
        self._phase += count * down - len(samples) * up
        self._past = x[len(x) - len(self._past) :]
        return output


@functools.lru_cache(maxsize=32)
def polyphase(source: int, target: int) -> Polyphase | None:
    """Return the filter from ``source`` to ``target`` Hz; None when it would be too large.

    A sinc in a Kaiser window, of beta 8.
    """
    common = math.gcd(source, target)
    up, down = target // common, source // common
    middle = _ZERO_CROSSINGS * max(up, down)
    length = -(-(2 * middle + 1) // up)
    length += -length % _VECTOR
    if up * length > _LARGEST:
        return None
    ideal = np.sinc(np.arange(-middle, middle + 1) * (_PASSED / max(up, down)))
    impulse = ideal * np.kaiser(2 * middle + 1, _KAISER_BETA)
    impulse *= up / impulse.sum()
    grid = np.zeros(up * length)
    grid[: len(impulse)] = impulse
    taps = np.ascontiguousarray(grid.reshape(length, up).T[:, ::-1], np.float32)
    return Polyphase(taps, up, down, middle)


def filtered(x: Samples, design: Polyphase, phase: int, count: int) -> Samples:
    """Return ``count`` samples of output: the clear twin of the compiled filter.

    Args:
        x: float32, from ``length - 1`` samples before the moment that phases count from.
        design: The filter.
        phase: Of the first output, on the grid of ``source * up`` Hz.
        count: Output samples; ``x`` must reach as far as they need.
    """
    length, step = design.taps.shape[1], x.itemsize
    output = np.empty(count, np.float32)
    for first in range(min(design.up, count)):  # all outputs of one phase at a time
        at, p = divmod(phase + first * design.down, design.up)
        outputs = len(range(first, count, design.up))
        strides = design.down * step, step
        windows = np.ndarray((outputs, length), np.float32, x, at * step, strides)
        output[first :: design.up] = np.einsum("ij,j->i", windows, design.taps[p])
    return output
