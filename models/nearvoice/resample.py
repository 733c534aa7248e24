"""Streams of sound from one sample rate to another; the same samples however they are cut."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
import soxr

from .audio import Samples
from .kernels import fused, image
from .polyphase import Filter, Polyphase, filtered, polyphase

KERNELS = ("auto", "numba", "numpy", "soxr")

_MOST_PHASES = 8
"""That numpy goes through one by one; with 160 of them, as from 44.1 to 16 kHz, soxr is faster."""


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
