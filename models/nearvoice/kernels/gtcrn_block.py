"""The six blocks of GTCRN, which look back in time; part of :mod:`.gtcrn`.

A block keeps a row of frequencies for each channel, as past frames are remembered. Rows have room
for the registers to run over, and zeros at both ends, for convolutions to read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..gtcrn_weights import CHANNELS, F32, FREQUENCIES, HALF
from . import lanes
from .gtcrn_layout import BLOCK, LEAD, MAP, PAST, PITCH, SCRATCH, Registers, contiguous, places
from .lanes import Product, product
from .silero import OPTIONS, tanh

_ZERO, _HALF = np.float32(0), np.float32(0.5)


def blocks(registers: Registers) -> Any:  # noqa: ANN401
    """Return ``block(s, w, memory, i)`` for numba code, on scratch, weights and memory.

    It takes the map at ``outputs + min(i, 3) MAP``, and leaves its own at the next, or at
    the same from the fourth block on.
    """
    at, b, ends = SCRATCH, places("block0."), places("")
    vector, pair, across = registers.vector, registers.pair, registers.across
    rows = registers.fitting((4, 2), across)
    first = product(
        Product(rows, across, vector, 24, PITCH, [(0, 0), (1, 1), (2, 2)], 3, PITCH, "row", True)
    )
    depth_taps = [(3 * t + f, t * MAP + f) for t in range(3) for f in range(3)]
    depthwise = product(Product(1, across, vector, 0, PITCH, depth_taps, 0, 0, "row", True))
    last_taps = contiguous(4, PITCH)
    last_layer = product(
        Product(rows, across, vector, CHANNELS, PITCH, last_taps, 4, 4 * PITCH, "row")
    )
    single = product(Product(1, 48, pair, 0, 0, contiguous(8, 48), 8, 8 * 48))
    weigh = product(Product(1, HALF, pair, 0, 0, contiguous(8, HALF), 8, 64))
    scale = product(Product(1, across, vector, 0, PITCH, [(0, 0)], start="all"))
    attend = lanes.over(1, CHANNELS, slow=True)
    row, few = lanes.move(across), lanes.move(pair)

    @njit(**OPTIONS)
    def look_back(s: F32, w: F32, base: F32, memory: F32, past: int, apart: int) -> None:
        """Convolve each channel with its past, and let the memory go on by a frame."""
        newest = (2 * apart - 1) * FREQUENCIES
        for c in range(CHANNELS):
            y, old = at.frames + c * PITCH + LEAD, past + c * PAST
            middle = old + apart * FREQUENCIES
            row(memory, old, s, y, s, y, s, y, s, y, 1)
            row(memory, middle, s, y + MAP, s, y + MAP, s, y, s, y, 1)
            for t in range(3):
                s[y + t * MAP - 1] = _ZERO
                s[y + t * MAP + FREQUENCIES] = _ZERO
                s[y + t * MAP + across] = _ZERO
            count = (newest + pair - 1) // pair
            m = old + FREQUENCIES
            few(memory, m, memory, old, s, y, s, y, s, y, count)
            m, now = old + newest, y + 2 * MAP
            few(s, now, memory, m, s, y, s, y, s, y, FREQUENCIES // pair)
            memory[m + FREQUENCIES - 1] = s[now + FREQUENCIES - 1]
            m, x = base + b.depth + 9 * c, y - 1
            bias, slope, to = (
                base + b.depth_bias + c,
                base + b.depth_slope,
                at.deep + c * PITCH + LEAD,
            )
            depthwise(s, x, w, m, w, bias, w, slope, s, to, 1)

    @njit(**OPTIONS)
    def listen(s: F32, w: F32, base: F32, memory: F32, state: int) -> None:
        """Find the gain of each of eight channels from their energies."""
        for c in range(HALF):
            total, x = _ZERO, at.last + c * PITCH + LEAD
            for f in range(FREQUENCIES):
                total += s[x + f] * s[x + f]
            s[at.energy + c] = total / np.float32(FREQUENCIES)
        m, bias = base + b.inward, base + b.inward_bias
        single(w, m, s, at.energy, w, bias, w, 0, s, at.inward, 1)
        m, bias = base + b.recurrent, base + b.recurrent_bias
        single(w, m, memory, state, w, bias, w, 0, s, at.recurrent, 2)
        attend(s, at.inward, s, at.recurrent, memory, state, memory, state, memory, state, 0)
        m, bias = base + b.gain, base + b.gain_bias
        weigh(w, m, memory, state, w, bias, w, 0, s, at.gain, 2)
        for c in range(HALF):
            s[at.gain + c] = tanh(s[at.gain + c] * _HALF) * _HALF + _HALF

    @njit(**OPTIONS)
    def block(s: F32, w: F32, memory: F32, i: int) -> None:
        """Run one of the six blocks; to what the last three give, add what the first got."""
        base, depth = i * BLOCK, min(i, 5 - i)
        x, y = at.outputs + min(i, 3) * MAP, at.outputs + min(i + 1, 3) * MAP
        added = at.outputs + (5 - i) * MAP
        place, apart = depth * (depth + 1), depth * depth + 1  # 0, 2, 6 and 1, 2, 5
        for o in range(0, CHANNELS, rows):
            m, bias = base + b.first + o * 24, base + b.first_bias + o
            to = at.frames + 2 * MAP + o * PITCH + LEAD
            first(s, x + LEAD - 1, w, m, w, bias, w, base + b.first_slope, s, to, 8)
        past = (i // 3) * CHANNELS * PAST + place * FREQUENCIES
        look_back(s, w, base, memory, past, apart)
        for o in range(0, HALF, rows):
            m, bias, to = (
                base + b.last + o * CHANNELS,
                base + b.last_bias + o,
                at.last + o * PITCH + LEAD,
            )
            last_layer(s, at.deep + LEAD, w, m, w, bias, w, 0, s, to, 4)
        listen(s, w, base, memory, 2 * CHANNELS * PAST + i * CHANNELS)
        for c in range(HALF):
            even, odd = y + 2 * c * PITCH + LEAD, y + (2 * c + 1) * PITCH + LEAD
            z, other = at.last + c * PITCH + LEAD, x + (HALF + c) * PITCH + LEAD
            if i < 3:
                scale(s, z, s, at.gain + c, w, 0, w, 0, s, even, 1)
                scale(s, other, w, ends.ones, w, 0, w, 0, s, odd, 1)
            else:
                to = added - y
                scale(s, z, s, at.gain + c, s, even + to, w, 0, s, even, 1)
                scale(s, other, w, ends.ones, s, odd + to, w, 0, s, odd, 1)
            for o in (even, odd):
                s[o - 1] = _ZERO
                s[o + FREQUENCIES] = _ZERO
                s[o + across] = _ZERO

    return block
