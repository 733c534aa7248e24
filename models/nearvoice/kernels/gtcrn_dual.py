"""The recurrent layers of GTCRN, along frequency and over time; part of :mod:`.gtcrn`.

They keep a row of channels for each frequency, as their states are remembered.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..gtcrn_weights import CHANNELS, F32, FREQUENCIES, HALF
from . import lanes
from .gtcrn_layout import AREA, DUAL, LEAD, PITCH, SCRATCH, STATES, Registers, contiguous, places
from .lanes import Product, product
from .silero import OPTIONS

_ZERO, _ONE, _EPSILON = np.float32(0), np.float32(1), np.float32(1e-8)
_AREA = np.float32(AREA)


@njit(**OPTIONS)
def turn_back(s: F32, x: int, y: int) -> None:
    """Turn rows of frequencies into rows of channels."""
    for f in range(FREQUENCIES):
        for c in range(CHANNELS):
            s[y + f * CHANNELS + c] = s[x + c * PITCH + LEAD + f]


@njit(**OPTIONS)
def turn(s: F32, x: int, y: int) -> None:
    """Turn rows of channels into rows of frequencies, with zeros at both ends."""
    for c in range(CHANNELS):
        to = y + c * PITCH
        s[to + LEAD - 1] = _ZERO
        for f in range(FREQUENCIES):
            s[to + LEAD + f] = s[x + f * CHANNELS + c]
        for f in range(FREQUENCIES, PITCH - LEAD):
            s[to + LEAD + f] = _ZERO


def duals(registers: Registers) -> Any:  # noqa: ANN401
    """Return ``think(s, w, memory)`` for numba code: from the map at ``given`` to the same."""
    at, d = SCRATCH, places("dual0.")
    vector, pair = registers.vector, registers.pair
    gates = product(Product(3, 24, pair, CHANNELS, 48, contiguous(8, 24)))
    mix = product(Product(3, CHANNELS, vector, CHANNELS, CHANNELS, contiguous(8, 16), 8, 128))
    along, over = lanes.along(FREQUENCIES), lanes.over(2 * FREQUENCIES, HALF)

    @njit(**OPTIONS)
    def join(
        s: F32, w: F32, m: int, bias: int, factor: int, offset: int, x: int, x_in: F32
    ) -> None:
        """Mix channels, normalise, and add the result to what came in."""
        for f in range(0, FREQUENCIES, 3):
            row = f * CHANNELS
            mix(w, m, x_in, x + row, w, bias, w, 0, s, at.layer + row, 2)
        total = _ZERO
        for i in range(AREA):
            total += s[at.layer + i]
        mean, total = total / _AREA, _ZERO
        for i in range(AREA):
            total += (s[at.layer + i] - mean) * (s[at.layer + i] - mean)
        steady = _ONE / math.sqrt(total / _AREA + _EPSILON)
        for i in range(AREA):
            s[at.flat + i] += (s[at.layer + i] - mean) * steady * w[factor + i] + w[offset + i]

    @njit(**OPTIONS)
    def dual(s: F32, w: F32, memory: F32, base: int, hidden: int) -> None:
        """Run the recurrent layers along frequency and over time."""
        for g in range(2):
            m, bias = base + d.along + g * 192, base + d.along_bias + g * 24
            for f in range(0, FREQUENCIES, 3):
                x, y = at.flat + f * CHANNELS + g * HALF, at.below + f * 48 + g * 24
                gates(w, m, s, x, w, bias, w, 0, s, y, 1)
        along(
            s,
            at.below,
            w,
            base + d.recurrent,
            w,
            base + d.recurrent_bias,
            s,
            at.passed,
            s,
            at.passed,
            0,
        )
        join(
            s,
            w,
            base + d.along_layer,
            base + d.along_layer_bias,
            base + d.along_scale,
            base + d.along_shift,
            at.passed,
            s,
        )
        for g in range(2):
            m, bias = base + d.over + g * 192, base + d.over_bias + g * 24
            at_past, bias_past = base + d.past + g * 192, base + d.past_bias + g * 24
            for f in range(0, FREQUENCIES, 3):
                x, y = f * CHANNELS + g * HALF, f * 48 + g * 24
                gates(w, m, s, at.flat + x, w, bias, w, 0, s, at.below + y, 1)
                h = hidden + x
                gates(w, at_past, memory, h, w, bias_past, w, 0, s, at.beside + y, 1)
        over(s, at.below, s, at.beside, memory, hidden, memory, hidden, memory, hidden, 0)
        join(
            s,
            w,
            base + d.over_layer,
            base + d.over_layer_bias,
            base + d.over_scale,
            base + d.over_shift,
            hidden,
            memory,
        )

    @njit(**OPTIONS)
    def think(s: F32, w: F32, memory: F32) -> None:
        """Run all recurrent layers between the third block and the fourth."""
        turn_back(s, at.given, at.flat)
        for i in range(AREA):
            s[at.kept + i] = s[at.flat + i]
        for i in range(2):
            dual(s, w, memory, i * DUAL, STATES + i * AREA)
        for i in range(AREA):
            s[at.flat + i] += s[at.kept + i]
        turn(s, at.flat, at.given)

    return think
