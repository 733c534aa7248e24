"""What stands around Hush's network, for its kernel: twins of ``nearvoice.hush_features``.

Needs numba, so only :mod:`.hush` imports it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..hush_features import (
    BANDS,
    BINS,
    ERB_SCALE,
    KEPT,
    LOW,
    MEAN_FLOOR,
    ORDER,
    POWER_FLOOR,
    STARTS,
)
from . import silero
from .hush_layout import FLOATS

OPTIONS: dict[str, Any] = {
    **silero.OPTIONS,
    "no_cpython_wrapper": True,  # nobody calls the parts from Python: a third less to compile
    "no_cfunc_wrapper": True,
}
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_KEPT, _NEW = np.float32(KEPT), np.float32(1) - np.float32(KEPT)
_POWER_FLOOR, _MEAN_FLOOR = np.float32(POWER_FLOOR), np.float32(MEAN_FLOOR)
_TO_FEATURE = np.float32(1 / ERB_SCALE)
_LN_2, _DECIBELS = np.float32(math.log(2)), np.float32(10 / math.log(10))
_C3, _C5, _C7, _C9 = (np.float32(1 / n) for n in (3, 5, 7, 9))
_ROOT_HALF = np.int32(np.float32(math.sqrt(0.5)).view(np.int32))
"""The bits of the root of one half."""
_MANTISSA = np.int32(0x7FFFFF)
_AT_MEAN, _AT_MAGNITUDE = STARTS["erb_mean"], STARTS["magnitude"]
_AT_ERB, _AT_LOW, _AT_SPECTRA = STARTS["erb"], STARTS["low"], STARTS["spectra"]
_ENDS = FLOATS["ends"]


@njit(**OPTIONS)
def decibels(power: Any) -> Any:  # noqa: ANN401
    """Return ten times the decimal logarithm of a normal positive number; of NaN, NaN.

    The power is m times 2 to the e, with m from root one half to root two; log m is a series in
    (m - 1) / (m + 1), at most 0.172, whose first term left out is below 1e-9.
    """
    bits = np.int32(np.float32(power).view(np.int32) - _ROOT_HALF)
    exponent = np.float32(bits >> 23)
    m = np.int32((bits & _MANTISSA) + _ROOT_HALF).view(np.float32)
    t = (m - _ONE) / (m + _ONE)
    u = t * t
    series = (((_C9 * u + _C7) * u + _C5) * u + _C3) * u + _ONE
    return (exponent * _LN_2 + _TWO * t * series) * _DECIBELS + power * _ZERO


def hearing(power: int, erb: int, low: int) -> Any:  # noqa: ANN401
    """Return the twin of ``features``, (spectrum, scratch, memory, weights).

    Args:
        power: Where scratch is free for the power of every bin.
        erb: Where to write features of bands, [34, 3]: hops side by side, rows of zeros around.
        low: Where to write those of low bins, [66, 3, 2].
    """

    @njit(**OPTIONS)
    def hear(x: Any, s: Any, memory: Any, w: Any) -> None:  # noqa: ANN401
        """Write the features of three hops to scratch, and move the memory on."""
        for k in range(BINS):
            s[power + k] = x[2 * k] * x[2 * k] + x[2 * k + 1] * x[2 * k + 1]
        start = 0
        for b in range(BANDS):
            end = int(w[_ENDS + b])
            total = _ZERO
            for k in range(start, end):
                total += s[power + k]
            level = decibels(total / np.float32(end - start) + _POWER_FLOOR)
            mean = memory[_AT_MEAN + b] * _KEPT + level * _NEW
            memory[_AT_MEAN + b] = mean
            to, new = erb + 3 * (b + 1), (level - mean) * _TO_FEATURE
            s[to], s[to + 1] = memory[_AT_ERB + b], memory[_AT_ERB + BANDS + b]
            s[to + 2] = new
            memory[_AT_ERB + b] = s[to + 1]
            memory[_AT_ERB + BANDS + b] = new
            start = end
        for k in range(LOW):
            mean = memory[_AT_MAGNITUDE + k] * _KEPT + math.sqrt(s[power + k]) * _NEW
            mean = max(mean, _MEAN_FLOOR)
            memory[_AT_MAGNITUDE + k] = mean
            s[power + k] = _ONE / math.sqrt(mean)
        for i in range(2 * LOW):
            to, new = low + 6 * (i // 2 + 1) + i % 2, x[i] * s[power + i // 2]
            s[to], s[to + 2] = memory[_AT_LOW + i], memory[_AT_LOW + 2 * LOW + i]
            s[to + 4] = new
            memory[_AT_LOW + i] = s[to + 2]
            memory[_AT_LOW + 2 * LOW + i] = new

    return hear


def enhancing(gains: int, taps: int) -> Any:  # noqa: ANN401
    """Return the twin of ``enhance``, (spectrum, enhanced, scratch, memory, weights).

    Args:
        gains: Where the gains of the bands are in scratch.
        taps: Where the filters are, [64, 10].
    """

    @njit(**OPTIONS)
    def enhance(x: Any, y: Any, s: Any, memory: Any, w: Any) -> None:  # noqa: ANN401
        """Write the enhanced spectrum, and remember this one."""
        for k in range(LOW):
            real, imaginary = _ZERO, _ZERO
            for i in range(ORDER):
                at, tap = _AT_SPECTRA + 2 * LOW * i + 2 * k, taps + 2 * ORDER * k + 2 * i
                if i < ORDER - 1:
                    re, im = memory[at], memory[at + 1]
                else:
                    re, im = x[2 * k], x[2 * k + 1]
                if i > 0:
                    memory[at - 2 * LOW], memory[at - 2 * LOW + 1] = re, im
                real += s[tap] * re - s[tap + 1] * im
                imaginary += s[tap] * im + s[tap + 1] * re
            y[2 * k], y[2 * k + 1] = real, imaginary
        start = 0
        for b in range(BANDS):
            end = int(w[_ENDS + b])
            for i in range(max(2 * LOW, 2 * start), 2 * end):
                y[i] = x[i] * s[gains + b]
            start = end

    return enhance
