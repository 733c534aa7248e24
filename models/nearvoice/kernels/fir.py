"""Polyphase filter: the numba twin of ``nearvoice.resample.filtered``.

Needs numba, so only :mod:`.compile` imports it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, cfunc, types

from .silero import OPTIONS


def polyphase() -> Any:  # noqa: ANN401
    """Compile the filter for the host's processor.

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
        position = phase
        for m in range(count):
            i = position // up
            p = position - i * up
            total = np.float32(0)
            for j in range(length):
                total += taps[p * length + j] * x[i + j]
            y[m] = total
            position += down

    return polyphase
