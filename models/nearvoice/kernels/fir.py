"""Polyphase filter: the numba twin of ``nearvoice.polyphase.filtered``.

Needs numba, so only :mod:`.compile` imports it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from .silero import OPTIONS


@njit(**OPTIONS)
def four(taps: Any, a: Any, b: Any, c: Any, d: Any) -> Any:  # noqa: ANN401
    """Return the sums of products of ``taps`` with four arrays of the same length.

    One loop for all: each would wait for itself. Nothing else sums, so that a sample is the same to
    the bit whichever samples it is computed with.
    """
    e = f = g = h = np.float32(0)
    for i in range(taps.size):
        tap = taps[i]
        e += tap * a[i]
        f += tap * b[i]
        g += tap * c[i]
        h += tap * d[i]
    return e, f, g, h


def polyphase() -> Any:  # noqa: ANN401
    """Compile the filter for numba's processor.

    Returns:
        A numba cfunc ``(x, taps, y, length, up, down, phase, count)``, the first three pointers to
        float32. Output m is the sum over j of ``taps[p, j] * x[i + j]``, where ``i, p =
        divmod(phase + m * down, up)``; taps is float32[up, length].
    """
    floats, index = types.CPointer(types.float32), types.int64

    @cfunc(types.void(floats, floats, floats, index, index, index, index, index), **OPTIONS)
    def polyphase(
        x_at: Any,  # noqa: ANN401
        taps_at: Any,  # noqa: ANN401
        y_at: Any,  # noqa: ANN401
        length: int,
        up: int,
        down: int,
        phase: int,
        count: int,
    ) -> None:
        taps = carray(taps_at, (up * length,))
        y = carray(y_at, (count,))
        x = carray(x_at, ((phase + max(count - 1, 0) * down) // up + length,))
        for first in range(min(up, count)):
            start, p = (phase + first * down) // up, (phase + first * down) % up
            row = taps[p * length : (p + 1) * length]
            last = (count - 1 - first) // up
            for k in range(0, last + 1, 4):
                # beyond the last output the last one once more
                k1, k2, k3 = min(k + 1, last), min(k + 2, last), min(k + 3, last)
                x0, x1 = start + k * down, start + k1 * down
                x2, x3 = start + k2 * down, start + k3 * down
                y0, y1, y2, y3 = four(
                    row,
                    x[x0 : x0 + length],
                    x[x1 : x1 + length],
                    x[x2 : x2 + length],
                    x[x3 : x3 + length],
                )
                y[first + k * up], y[first + k1 * up] = y0, y1
                y[first + k2 * up], y[first + k3 * up] = y2, y3

    return polyphase
