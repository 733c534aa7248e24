"""The low-pass filter between two sample rates: its taps, and what is done with them.

:func:`filtered` is the clear twin of the compiled filter in :mod:`.kernels.fir`.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, Protocol

import numpy as np

from .audio import Samples

_ZERO_CROSSINGS = 24
"""Taps of the filter to each side of its middle, at the lower of the two rates."""
_KAISER_BETA = 8.0
_PASSED = 0.92
"""Where the filter is down to half, as a part of the lower rate's bandwidth."""
_VECTOR = 16
"""Taps of a phase are a multiple of it: zeros are faster than an odd end."""
_LARGEST = 1 << 16
"""Taps of all phases, at most; rates without a common factor of some size are left to soxr."""


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
