"""Hush in one call, features, network and filters: the numba twin of ``nearvoice.hush``.

Needs numba, so only :mod:`.compile` imports it. Its two million weights are int8 in memory and read
once a hop, one after the other; arithmetic is float32. (As float16 they measured faster while they
stay in the processor's cache, and slower once something else has used that between two hops, as in
an agent.) Scratch is on the stack, so that threads and streams share nothing but the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from ..hush_features import (
    BANDS,
    BINS,
    HIDDEN,
    LOW,
    MEMORY,
    ORDER,
    STARTS,
)
from ..hush_weights import CHANNELS, EMBEDDING
from .hush_layout import BYTE_COUNT, BYTES, FLOAT_COUNT, FLOATS, GATES, GRU_FLOATS, TAPS
from .hush_signal import OPTIONS, enhancing, hearing
from .layout import Tiles
from .silero import tanh
from .tile import Tile, stack, tile

_ZERO, _HALF = np.float32(0), np.float32(0.5)


def network(tiles: Tiles) -> Any:  # noqa: ANN401
    """Compile the network for numba's processor.

    Returns:
        A numba cfunc ``(spectrum, enhanced, memory, floats, bytes) -> 0`` on pointers to
        float32[322], which are complex numbers, twice, float32[MEMORY], and the arrays of
        :func:`.hush_layout.pack`. NaN stays NaN.
    """
    # scratch, in floats; rows of zeros before and after what convolutions see
    row = CHANNELS
    power = 0
    erb = power + BINS
    low = erb + 3 * (BANDS + 2)
    e0 = low + 6 * (LOW + 2)
    e1 = e0 + row * (BANDS + 2)
    e2 = e1 + row * (BANDS // 2 + 2)
    e3 = e2 + row * (BANDS // 4 + 2)
    c0 = e3 + EMBEDDING
    c1 = c0 + row * (LOW + 2)
    up = c1 + row * LOW // 2
    over = up + row * (BANDS + 2)
    joined = over + row * BANDS
    embedding = joined + EMBEDDING
    wide = embedding + EMBEDDING
    inward = wide + HIDDEN
    recurrent = inward + GATES
    taps = recurrent + GATES
    low_taps = taps + TAPS
    gains = low_taps + row * LOW
    count = gains + BANDS
    scratch = stack(count)

    vector, single = tiles.vector, tiles.single
    narrow = min(vector, 8)

    def convolution(pitch: int, width: int = row) -> Any:  # noqa: ANN401
        return tile(Tile(4, width, min(vector, width), pitch, width, half=False))

    of_erb, of_low = convolution(3), convolution(6)
    of_rows, of_every_second, of_pairs = (
        convolution(row),
        convolution(2 * row),
        convolution(row, 2 * row),
    )
    joining = tile(Tile(1, 8, narrow, half=False))
    spreading = tile(Tile(1, 32, vector, half=False))
    bytes_tile = tile(Tile(1, single, vector, int8=True))

    hear, enhance = hearing(power, erb, low), enhancing(gains, taps)
    at_hidden, zeros = STARTS["hidden"], FLOATS["zeros"]
    at_erb_0, at_erb_1, at_erb_2, at_erb_3 = (FLOATS[f"erb_{i}"] for i in range(4))
    at_low_0, at_low_1, at_joined = FLOATS["low_0"], FLOATS["low_1"], FLOATS["joined"]
    at_across_0, at_across_1, at_across_2, at_across_3 = (FLOATS[f"across_{i}"] for i in range(4))
    at_up_0, at_up_1, at_up_2, at_gain = (FLOATS[n] for n in ("up_0", "up_1", "up_2", "gain"))
    at_filter_in, at_filter_low = FLOATS["filter_in"], FLOATS["filter_low"]
    at_encoder, at_gains, at_filters = (FLOATS[n] for n in ("encoder", "gains", "filters"))
    encoder, gain_decoder, filter_decoder = (BYTES[n] for n in ("encoder", "gains", "filters"))

    @njit(**OPTIONS)
    def clear(s: Any) -> None:  # noqa: ANN401
        """Write the rows of zeros."""
        for i in range(3):
            s[erb + i] = s[erb + 3 * (BANDS + 1) + i] = _ZERO
        for i in range(6):
            s[low + i] = s[low + 6 * (LOW + 1) + i] = _ZERO
        for i in range(row):
            s[e0 + i] = s[e0 + row * (BANDS + 1) + i] = _ZERO
            s[e1 + i] = s[e1 + row * (BANDS // 2 + 1) + i] = _ZERO
            s[e2 + i] = s[e2 + row * (BANDS // 4 + 1) + i] = _ZERO
            s[c0 + i] = s[c0 + row * (LOW + 1) + i] = _ZERO
            s[up + i] = _ZERO

    @njit(**OPTIONS)
    def rectify(s: Any, start: int, size: int) -> None:  # noqa: ANN401
        for i in range(start, start + size):
            s[i] = max(s[i], _ZERO)

    def layer(product: Any, pitch: int, width: int = row) -> Any:  # noqa: ANN401
        """Return (w, at, depth, s, x, y, rows) that runs a convolution and rectifies."""

        @njit(**OPTIONS)
        def run(w: Any, at: int, depth: int, s: Any, x: int, y: int, rows: int) -> None:  # noqa: ANN401
            bias = at + depth * width
            for r in range(0, rows, 4):
                product(w, at, s, x + r * pitch, w, bias, s, y + r * width, depth)
            rectify(s, y, rows * width)

        return run

    over_erb, over_low = layer(of_erb, 3), layer(of_low, 6)
    over_rows, halving = layer(of_rows, row), layer(of_every_second, 2 * row)
    doubling = layer(of_pairs, row, 2 * row)

    @njit(**OPTIONS)
    def multiply(
        w: Any,  # noqa: ANN401
        b: Any,  # noqa: ANN401
        at: int,
        x: Any,  # noqa: ANN401
        x_at: int,
        s: Any,  # noqa: ANN401
        y: int,
        rows: int,
        columns: int,
    ) -> None:
        """Write the product with a matrix of int8, not scaled yet."""
        for o in range(0, columns, single):
            bytes_tile(b, at + o * rows, x, x_at, w, zeros, s, y + o, rows)

    @njit(**OPTIONS)
    def scale(w: Any, at: int, s: Any, y: int, size: int) -> None:  # noqa: ANN401
        """Multiply by the scales, and rectify."""
        for i in range(size):
            s[y + i] = max(s[y + i] * w[at + i], _ZERO)

    @njit(**OPTIONS)
    def step(
        w: Any,  # noqa: ANN401
        at: int,
        b: Any,  # noqa: ANN401
        b_at: int,
        x: Any,  # noqa: ANN401
        x_at: int,
        s: Any,  # noqa: ANN401
        memory: Any,  # noqa: ANN401
        state: int,
    ) -> None:
        """Move a GRU on."""
        multiply(w, b, b_at, x, x_at, s, inward, HIDDEN, GATES)
        multiply(w, b, b_at + HIDDEN * GATES, memory, state, s, recurrent, HIDDEN, GATES)
        own, bias = at + GATES, at + 2 * GATES
        for i in range(2 * HIDDEN):
            gate = s[inward + i] * w[at + i] + s[recurrent + i] * w[own + i] + w[bias + i]
            s[inward + i] = tanh(gate) * _HALF + _HALF
        for i in range(HIDDEN):
            n = 2 * HIDDEN + i
            old = s[recurrent + n] * w[own + n] + w[bias + HIDDEN + n]
            gate = s[inward + n] * w[at + n] + w[bias + n]
            new = tanh(gate + s[inward + HIDDEN + i] * old)
            memory[state + i] = new + s[inward + i] * (memory[state + i] - new)

    @njit(**OPTIONS)
    def around(
        w: Any,  # noqa: ANN401
        at: int,
        b: Any,  # noqa: ANN401
        b_at: int,
        s: Any,  # noqa: ANN401
        x: int,
        y: int,
        memory: Any,  # noqa: ANN401
        state: int,
    ) -> None:
        """Run a GRU between two matrices."""
        multiply(w, b, b_at, s, x, s, wide, EMBEDDING, HIDDEN)
        scale(w, at, s, wide, HIDDEN)
        step(w, at + HIDDEN, b, b_at + EMBEDDING * HIDDEN, s, wide, s, memory, state)
        after = b_at + EMBEDDING * HIDDEN + 2 * HIDDEN * GATES
        multiply(w, b, after, memory, state, s, y, HIDDEN, EMBEDDING)
        scale(w, at + HIDDEN + GRU_FLOATS, s, y, EMBEDDING)

    @njit(**OPTIONS)
    def encode(w: Any, b: Any, s: Any, memory: Any) -> None:  # noqa: ANN401
        over_erb(w, at_erb_0, 9, s, erb, e0 + row, BANDS)
        halving(w, at_erb_1, 48, s, e0, e1 + row, BANDS // 2)
        halving(w, at_erb_2, 48, s, e1, e2 + row, BANDS // 4)
        over_rows(w, at_erb_3, 48, s, e2, e3, BANDS // 4)
        over_low(w, at_low_0, 18, s, low, c0 + row, LOW)
        halving(w, at_low_1, 48, s, c0, c1, LOW // 2)
        for i in range(16):
            x, y = c1 + 32 * i, joined + 8 * i
            joining(w, at_joined + 256 * i, s, x, w, zeros, s, y, 32)
        for i in range(EMBEDDING):
            s[joined + i] = max(s[joined + i], _ZERO) + s[e3 + i]
        around(w, at_encoder, b, encoder, s, joined, embedding, memory, at_hidden)

    @njit(**OPTIONS)
    def add(s: Any, y: int, x: int, size: int) -> None:  # noqa: ANN401
        """Write the sum of ``x`` and what came over from the encoder, and a row of zeros."""
        for i in range(size):
            s[y + i] = s[x + i] + s[over + i]
        for i in range(row):
            s[y + size + i] = _ZERO

    @njit(**OPTIONS)
    def decode_gains(w: Any, b: Any, s: Any, memory: Any) -> None:  # noqa: ANN401
        x, y = up + row, taps
        around(w, at_gains, b, gain_decoder, s, embedding, y, memory, at_hidden + HIDDEN)
        over_rows(w, at_across_0, 16, s, e3, over, BANDS // 4)
        add(s, x, y, row * BANDS // 4)
        over_rows(w, at_up_0, 48, s, up, y, BANDS // 4)
        over_rows(w, at_across_1, 16, s, e2 + row, over, BANDS // 4)
        add(s, x, y, row * BANDS // 4)
        doubling(w, at_up_1, 32, s, x, y, BANDS // 4)
        over_rows(w, at_across_2, 16, s, e1 + row, over, BANDS // 2)
        add(s, x, y, row * BANDS // 2)
        doubling(w, at_up_2, 32, s, x, y, BANDS // 2)
        over_rows(w, at_across_3, 16, s, e0 + row, over, BANDS)
        add(s, x, y, row * BANDS)
        for f in range(BANDS):
            logit = w[at_gain + 48]
            for i in range(48):
                logit += s[up + row * f + i] * w[at_gain + i]
            s[gains + f] = tanh(logit * _HALF) * _HALF + _HALF

    @njit(**OPTIONS)
    def decode_filters(w: Any, b: Any, s: Any, memory: Any) -> None:  # noqa: ANN401
        for i in range(8):
            x, y = embedding + 16 * i, wide + 32 * i
            spreading(w, at_filter_in + 512 * i, s, x, w, zeros, s, y, 16)
        rectify(s, wide, HIDDEN)
        at, b_at, state = at_filters, filter_decoder, at_hidden + 2 * HIDDEN
        step(w, at, b, b_at, s, wide, s, memory, state)
        for _ in range(2):
            at, b_at = at + GRU_FLOATS, b_at + 2 * HIDDEN * GATES
            step(w, at, b, b_at, memory, state, s, memory, state + HIDDEN)
            state += HIDDEN
        at, b_at = at + GRU_FLOATS, b_at + 2 * HIDDEN * GATES
        multiply(w, b, b_at, memory, state, s, taps, HIDDEN, TAPS)
        over_rows(w, at_filter_low, 16, s, c0 + row, low_taps, LOW)
        for i in range(TAPS):
            s[taps + i] = tanh(s[taps + i] * w[at + i])
        for k in range(LOW):
            for i in range(2 * ORDER):
                s[taps + 2 * ORDER * k + i] += s[low_taps + row * k + i]

    floats, bytes_ = types.CPointer(types.float32), types.CPointer(types.int8)

    @cfunc(types.float32(floats, floats, floats, floats, bytes_), **OPTIONS)
    def hush(
        x_at: Any,  # noqa: ANN401
        y_at: Any,  # noqa: ANN401
        memory_at: Any,  # noqa: ANN401
        w_at: Any,  # noqa: ANN401
        b_at: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        s = carray(scratch(), (count,))
        x, y = carray(x_at, (2 * BINS,)), carray(y_at, (2 * BINS,))
        memory = carray(memory_at, (MEMORY,))
        w, b = carray(w_at, (FLOAT_COUNT,)), carray(b_at, (BYTE_COUNT,))
        clear(s)
        hear(x, s, memory, w)
        encode(w, b, s, memory)
        decode_gains(w, b, s, memory)
        decode_filters(w, b, s, memory)
        enhance(x, y, s, memory, w)
        return _ZERO

    return hush
