"""Silero VAD v6 in one call: the numba twin of ``nearvoice.silero_network.numpy_network``.

Needs numba, so only :mod:`.compile` imports it. Weights are stored as float16, arithmetic is
float32: over 76,788 windows of recorded sound no probability moved by more than .003, and 4 crossed
one half, from within .001 of it. Scratch is on the stack, so that threads and streams share nothing
but the weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from ..silero_network import HIDDEN
from .layout import NARROW, Layout, Tiles
from .tile import Tile, stack, tile

OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},  # not nnan: NaN must come out as NaN
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
}

_NUMERATOR = tuple(map(np.float32, (1.0, 0.13406859, 0.003526383, 2.1122058e-05, 1.4081981e-08)))
_DENOMINATOR = tuple(map(np.float32, (1.0, 0.4674018, 0.02599383, 0.0003336239, 8.0704455e-07)))
_SATURATED = np.float32(8.6)
_ZERO, _HALF = np.float32(0), np.float32(0.5)
_P0, _P1, _P2, _P3, _P4 = _NUMERATOR
_Q0, _Q1, _Q2, _Q3, _Q4 = _DENOMINATOR


@njit(**OPTIONS)
def tanh(x: Any) -> Any:  # noqa: ANN401
    """Rational approximation x P(x²) / Q(x²), fitted here; error at most 3.3e-7 in float32."""
    x = min(max(x, -_SATURATED), _SATURATED)
    u = x * x
    p = (((_P4 * u + _P3) * u + _P2) * u + _P1) * u + _P0
    q = (((_Q4 * u + _Q3) * u + _Q2) * u + _Q1) * u + _Q0
    return x * p / q


def network(n: int, tiles: Tiles) -> Any:  # noqa: ANN401
    """Compile the network with Fourier transforms of ``n`` samples for numba's processor.

    Returns:
        A numba cfunc ``(window, memory, new memory, floats, halves) -> logit`` on pointers to
        float32[2n], float32[256 + n / 4] twice, and the arrays of :class:`.layout.Layout`. NaN
        when the window is not finite.
    """
    layout = Layout(n, tiles)
    hop, quarter, bins = n // 2, layout.quarter, layout.bins
    window, context = 4 * hop, hop // 2
    # scratch, in floats
    folded = 5 * hop
    waves = folded + 16 * quarter
    magnitudes = waves + 16 * quarter
    first = magnitudes + 4 * bins
    second = first + 5 * HIDDEN
    third = second + 2 * NARROW
    joined = third + NARROW
    gates = joined + 2 * HIDDEN
    scratch = stack(gates + 4 * HIDDEN)

    vector = tiles.vector
    fourier_tile = tile(
        Tile(tiles.rows, layout.fourier_width, vector, 4 * quarter, quarter, half=False)
    )
    middle_tile = tile(Tile(tiles.rows, tiles.width, vector, bins, HIDDEN))
    edge_rows = 3 if tiles.rows > 2 else 1
    edge_tile = tile(Tile(edge_rows, tiles.width, vector, bins, HIDDEN, HIDDEN))
    second_tile = tile(Tile(tiles.pair_rows, tiles.pair_width, vector, 2 * HIDDEN, NARROW))
    third_tile = tile(Tile(1, layout.narrow_single, vector))
    single_tile = tile(Tile(1, tiles.single, vector))
    tap = bins * HIDDEN
    rows, width, single = tiles.rows, tiles.width, tiles.single
    pair_rows, pair_width = tiles.pair_rows, tiles.pair_width
    fourier_width, narrow_single = layout.fourier_width, layout.narrow_single
    at_zeros, at_fourier, at_bias = layout.zeros, layout.fourier, layout.biases
    at_second, at_third, at_fourth = layout.second, layout.third, layout.fourth
    at_lstm = layout.lstm
    bias_2 = at_bias + HIDDEN
    bias_3, bias_4 = bias_2 + NARROW, bias_2 + 2 * NARROW
    bias_lstm = bias_4 + HIDDEN
    output = bias_lstm + 4 * HIDDEN

    @njit(**OPTIONS)
    def fold(s: Any, w: Any) -> None:  # noqa: ANN401
        """Multiply four frames by the Hann window, and add and subtract their mirror images."""
        for t in range(4):
            frame, to = t * hop, folded + t * 4 * quarter
            for i in range(quarter - 1):
                j = 2 * i + 2
                left, right = s[frame + j] * w[j], s[frame + n - j] * w[n - j]
                s[to + i] = left + right
                s[to + 2 * quarter + i] = left - right
            s[to + quarter - 1] = s[frame + hop] * w[hop]
            s[to + 3 * quarter - 1] = _ZERO
            for i in range(quarter):
                j = 2 * i + 1
                left, right = s[frame + j] * w[j], s[frame + n - j] * w[n - j]
                s[to + quarter + i] = left + right
                s[to + 3 * quarter + i] = left - right

    @njit(**OPTIONS)
    def transform(s: Any, w: Any) -> None:  # noqa: ANN401
        for part in range(4):
            for row in range(0, 4, rows):
                for column in range(0, quarter, fourier_width):
                    fourier_tile(
                        w,
                        at_fourier + part * quarter * quarter + column * quarter,
                        s,
                        folded + part * quarter + row * 4 * quarter,
                        w,
                        at_zeros,
                        s,
                        waves + part * 4 * quarter + row * quarter + column,
                        quarter,
                    )

    @njit(**OPTIONS)
    def measure(s: Any) -> None:  # noqa: ANN401
        """Turn the transformed parts into magnitudes, four rows."""
        for t in range(4):
            part, to = waves + t * quarter, magnitudes + t * bins
            for k in range(quarter):
                real = s[part + k] + s[part + 4 * quarter + k]
                imaginary = s[part + 8 * quarter + k] + s[part + 12 * quarter + k]
                s[to + k] = math.sqrt(real * real + imaginary * imaginary)
            for k in range(quarter):
                real = s[part + k] - s[part + 4 * quarter + k]
                imaginary = s[part + 12 * quarter + k] - s[part + 8 * quarter + k]
                s[to + hop - k] = math.sqrt(real * real + imaginary * imaginary)
            frame = folded + t * 4 * quarter
            real, imaginary = _ZERO, _ZERO
            for i in range(0, quarter, 2):
                real += s[frame + i + 1] - s[frame + i]
                imaginary += s[frame + 3 * quarter + i] - s[frame + 3 * quarter + i + 1]
            s[to + quarter] = math.sqrt(real * real + imaginary * imaginary)

    @njit(**OPTIONS)
    def convolve(s: Any, w: Any, h: Any) -> None:  # noqa: ANN401
        """Run the first convolution over four rows, tap by tap, as the outer ones meet only three.

        The rows before the first and after the last are zero.
        """
        for o in range(0, HIDDEN, width):
            y, at = first + HIDDEN + o, o * bins
            for r in range(0, 4, rows):
                x = magnitudes + r * bins
                middle_tile(h, tap + at, s, x, w, at_bias + o, s, y + r * HIDDEN, bins)
            for r in range(0, 3, edge_rows):
                x, before = magnitudes + r * bins, y + (r + 1) * HIDDEN
                edge_tile(h, at, s, x, s, before, s, before, bins)
                after = y + r * HIDDEN
                edge_tile(h, 2 * tap + at, s, x + bins, s, after, s, after, bins)

    @njit(**OPTIONS)
    def rectify(s: Any, start: int, end: int) -> None:  # noqa: ANN401
        for i in range(start, end):
            s[i] = max(s[i], _ZERO)

    @njit(**OPTIONS)
    def encode(s: Any, w: Any, h: Any) -> None:  # noqa: ANN401
        """Run the four convolutions; a zero row before the first one's output pads the second."""
        for i in range(HIDDEN):
            s[first + i] = _ZERO
        convolve(s, w, h)
        rectify(s, first + HIDDEN, second)
        for o in range(0, NARROW, pair_width):
            for r in range(0, 2, pair_rows):
                x, y = first + r * 2 * HIDDEN, second + r * NARROW + o
                at = at_second + o * 3 * HIDDEN
                second_tile(h, at, s, x, w, bias_2 + o, s, y, 3 * HIDDEN)
        rectify(s, second, third)
        for o in range(0, NARROW, narrow_single):
            at = at_third + o * 2 * NARROW
            third_tile(h, at, s, second, w, bias_3 + o, s, third + o, 2 * NARROW)
        rectify(s, third, joined)
        for o in range(0, HIDDEN, single):
            at = at_fourth + o * NARROW
            single_tile(h, at, s, third, w, bias_4 + o, s, joined + o, NARROW)
        rectify(s, joined, joined + HIDDEN)

    @njit(**OPTIONS)
    def remember(s: Any, old: Any, new: Any, w: Any, h: Any) -> Any:  # noqa: ANN401
        """Run the LSTM cell and the output layer; gates are i, f, o and g."""
        for i in range(HIDDEN):
            s[joined + HIDDEN + i] = old[i]
        for o in range(0, 4 * HIDDEN, single):
            at = at_lstm + o * 2 * HIDDEN
            single_tile(h, at, s, joined, w, bias_lstm + o, s, gates + o, 2 * HIDDEN)
        logit = w[output + HIDDEN]
        for o in range(HIDDEN):
            take = tanh(s[gates + o]) * _HALF + _HALF
            keep = tanh(s[gates + HIDDEN + o]) * _HALF + _HALF
            show = tanh(s[gates + 2 * HIDDEN + o]) * _HALF + _HALF
            cell = keep * old[HIDDEN + o] + take * tanh(s[gates + 3 * HIDDEN + o])
            hidden = show * tanh(cell)
            new[o] = hidden
            new[HIDDEN + o] = cell
            logit += max(hidden, _ZERO) * w[output + o]
        return logit

    floats, halves = types.CPointer(types.float32), types.CPointer(types.uint16)
    remembered = 2 * HIDDEN + context
    float_count, half_count = layout.floats, layout.halves

    @cfunc(types.float32(floats, floats, floats, floats, halves), **OPTIONS)
    def silero(
        window_at: Any,  # noqa: ANN401
        memory_at: Any,  # noqa: ANN401
        new_at: Any,  # noqa: ANN401
        w_at: Any,  # noqa: ANN401
        h_at: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        s = carray(scratch(), (gates + 4 * HIDDEN,))
        x, old = carray(window_at, (window,)), carray(memory_at, (remembered,))
        new = carray(new_at, (remembered,))
        w, h = carray(w_at, (float_count,)), carray(h_at, (half_count,))
        nothing = _ZERO
        for i in range(window):
            s[context + i] = x[i]
            nothing += x[i] * _ZERO
        for i in range(context):
            s[i] = old[2 * HIDDEN + i]
            s[context + window + i] = x[window - 2 - i]
            new[2 * HIDDEN + i] = x[window - context + i]
        fold(s, w)
        transform(s, w)
        measure(s)
        encode(s, w, h)
        return remember(s, old, new, w, h) + nothing

    return silero
