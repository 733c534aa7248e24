"""GTCRN in one call: the numba twin of ``nearvoice.gtcrn.numpy_network``.

Needs numba, so only :mod:`.compile` imports it. Scratch is on the stack, so that threads and
streams share nothing but the weights; nobody clears it, so what is read is written first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from ..gtcrn import BINS, MEMORY
from ..gtcrn_weights import CHANNELS, F32, FREQUENCIES, HALF, PLAIN
from . import lanes
from .gtcrn_block import blocks
from .gtcrn_dual import duals, turn, turn_back
from .gtcrn_layout import BANDS, FLOATS, SCRATCH, Registers, contiguous, places
from .lanes import Product, product
from .silero import OPTIONS, tanh

_ZERO, _TINY = np.float32(0), np.float32(1e-12)
_HIGH = BINS - PLAIN
"""Bins that are gathered in bands."""


def network(level: str) -> Any:  # noqa: ANN401
    """Compile the network for numba's processor.

    Args:
        level: Its instruction set, which says how large its registers are and how many.

    Returns:
        A numba cfunc ``(spectrum, out, memory, weights) -> 0`` on pointers to float32: 257 complex
        numbers, as many, the memory of :mod:`nearvoice.gtcrn` (changed in place), and the array of
        :mod:`.gtcrn_layout`.
    """
    registers, at = Registers.of(level), SCRATCH
    scratch, size = lanes.room(at.size), at.size
    hear, speak = _ends()
    shrink, grow = _narrow(registers), _wide(registers)
    block, think = blocks(registers), duals(registers)
    floats = types.CPointer(types.float32)

    @cfunc(types.float32(floats, floats, floats, floats), **OPTIONS)
    def gtcrn(x_at: Any, out_at: Any, memory_at: Any, w_at: Any) -> Any:  # noqa: ANN401
        s = carray(scratch(), (size,))
        x, out = carray(x_at, (2 * BINS,)), carray(out_at, (2 * BINS,))
        memory, w = carray(memory_at, (MEMORY,)), carray(w_at, (FLOATS,))
        hear(x, s, w)
        shrink(s, w)
        turn(s, at.halved, at.outputs)
        for i in range(6):
            if i == 3:
                think(s, w, memory)
            block(s, w, memory, i)
        for i in range(CHANNELS):
            s[at.below + i] = _ZERO
            s[at.below + (FREQUENCIES + 1) * CHANNELS + i] = _ZERO
        turn_back(s, at.given, at.below + CHANNELS)
        grow(s, w, at.below + CHANNELS)
        speak(x, out, s, w)
        return _ZERO

    return gtcrn


def _ends() -> tuple[Any, Any]:
    """Return ``hear(spectrum, s, w)``, which makes features, and ``speak(spectrum, out, s, w)``."""
    at, p = SCRATCH, places("")
    gather = product(Product(1, 4, 4, 0, 0, [(0, 0)], 1, 4))

    @njit(**OPTIONS)
    def hear(x: F32, s: F32, w: F32) -> None:
        """Put magnitude, real and imaginary part of all bands in rows of three."""
        for i in range(at.features):
            s[i] = _ZERO
        for i in range(at.features + 3 * (PLAIN + BANDS), at.high):
            s[i] = _ZERO
        for k in range(PLAIN):
            real, imaginary = x[2 * k], x[2 * k + 1]
            s[at.features + 3 * k] = math.sqrt(real * real + imaginary * imaginary + _TINY)
            s[at.features + 3 * k + 1] = real
            s[at.features + 3 * k + 2] = imaginary
        for k in range(_HIGH):
            real, imaginary = x[2 * PLAIN + 2 * k], x[2 * PLAIN + 2 * k + 1]
            s[at.high + 4 * k] = math.sqrt(real * real + imaginary * imaginary + _TINY)
            s[at.high + 4 * k + 1] = real
            s[at.high + 4 * k + 2] = imaginary
            s[at.high + 4 * k + 3] = _ZERO
        for b in range(BANDS):
            begin, count = int(w[p.gather_from + b]), int(w[p.gather_count + b])
            to = at.features + 3 * (PLAIN + b)
            m = p.gather + b * _HIGH + begin
            gather(s, at.high + 4 * begin, w, m, w, 0, w, 0, s, to, count)

    @njit(**OPTIONS)
    def speak(x: F32, out: F32, s: F32, w: F32) -> None:
        """Multiply the spectrum by the mask."""
        for k in range(PLAIN):
            real, imaginary = s[at.mask + 2 * k], s[at.mask + 2 * k + 1]
            out[2 * k] = x[2 * k] * real - x[2 * k + 1] * imaginary
            out[2 * k + 1] = x[2 * k + 1] * real + x[2 * k] * imaginary
        for k in range(_HIGH):
            band = at.mask + 2 * (PLAIN + int(w[p.spread_band + k]))
            a, b = w[p.spread + k], w[p.spread + _HIGH + k]
            real = a * s[band] + b * s[band + 2]
            imaginary = a * s[band + 1] + b * s[band + 3]
            i = 2 * (PLAIN + k)
            out[i] = x[i] * real - x[i + 1] * imaginary
            out[i + 1] = x[i + 1] * real + x[i] * imaginary

    return hear, speak


def _narrow(registers: Registers) -> Any:  # noqa: ANN401
    """Return ``shrink(s, w)``, the strided convolutions."""
    at, p = SCRATCH, places("")
    vector, pair = registers.vector, registers.pair
    rows = registers.fitting((13, 5), CHANNELS)
    taps = contiguous(3, CHANNELS)
    down_0 = product(Product(rows, CHANNELS, vector, 6, CHANNELS, taps, 3, 48, bends=True))
    edge = product(Product(1, CHANNELS, vector, 6, CHANNELS, taps, 3, 48, bends=True))
    down_1 = product(
        Product(11, HALF, pair, 2 * CHANNELS, CHANNELS, contiguous(8, HALF), 16, 64, bends=True)
    )

    @njit(**OPTIONS)
    def shrink(s: F32, w: F32) -> None:
        """Run the strided convolutions; the taps at the ends differ, as they see less."""
        for i in range(2 * CHANNELS):
            s[at.wide + i] = _ZERO
            s[at.wide + (PLAIN + 2) * CHANNELS + i] = _ZERO
        to, x = at.wide + 2 * CHANNELS, at.features - 9
        for f in range(0, PLAIN, rows):
            y = to + f * CHANNELS
            down_0(w, p.down_0, s, x + 6 * f, w, p.down_0_bias, w, p.down_0_slope, s, y, 7)
        y, end = to + (PLAIN - 1) * CHANNELS, x + 6 * (PLAIN - 1)
        edge(w, p.down_0 + 336, s, x, w, p.down_0_bias, w, p.down_0_slope, s, to, 7)
        edge(w, p.down_0 + 672, s, end, w, p.down_0_bias, w, p.down_0_slope, s, y, 7)
        for g in range(0, CHANNELS, HALF):
            m, bias = p.down_1 + g * 40, p.down_1_bias + g
            for f in range(0, FREQUENCIES, 11):
                x, y = at.wide + 2 * f * CHANNELS + g, at.halved + f * CHANNELS + g
                down_1(w, m, s, x, w, bias, w, p.down_1_slope, s, y, 5)

    return shrink


def _wide(registers: Registers) -> Any:  # noqa: ANN401
    """Return ``grow(s, w, x)``, the transposed convolutions, from rows of channels at x."""
    at, p = SCRATCH, places("")
    pair, taps = registers.pair, contiguous(8, HALF)
    up_even, up_odd = (
        product(Product(rows, HALF, pair, CHANNELS, 2 * CHANNELS, taps, 16, 64, bends=True))
        for rows in (11, 8)
    )
    up_1 = product(Product(13, 4, 4, CHANNELS, 4, contiguous(8, 4), 8, 32))

    @njit(**OPTIONS)
    def grow(s: F32, w: F32, x: int) -> None:
        """Run the transposed convolutions, from rows of channels to the mask."""
        to = at.wide + 2 * CHANNELS
        for g in range(0, CHANNELS, HALF):
            bias = p.up_0_bias + g
            for f in range(0, FREQUENCIES, 11):
                m, y = x + (f - 1) * CHANNELS + g, at.passed + 2 * f * CHANNELS + g
                up_even(w, p.up_0_even + g * 24, s, m, w, bias, w, p.up_0_slope, s, y, 3)
            for f in range(0, FREQUENCIES - 1, 8):
                m, y = x + f * CHANNELS + g, at.passed + (2 * f + 1) * CHANNELS + g
                up_odd(w, p.up_0_odd + g * 16, s, m, w, bias, w, p.up_0_slope, s, y, 2)
        for i in range(PLAIN * CHANNELS):
            s[to + i] += s[at.passed + i]
        for f in range(0, PLAIN, 13):
            m = to + (f - 1) * CHANNELS
            up_1(w, p.up_1, s, m, w, p.up_1_bias, w, 0, s, at.mask + 4 * f, 6)
        for i in range(2 * (PLAIN + BANDS)):
            s[at.mask + i] = tanh(s[at.mask + i])

    return grow
