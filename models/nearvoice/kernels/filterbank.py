"""Analysis and synthesis in a call each: the numba twins of ``nearvoice.filterbank``.

Needs numba, so only :mod:`.compile` imports it. Scratch is on the stack, and what is read of it is
written first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from ..silero_network import F32
from . import lanes
from .filterbank_layout import BINS, LARGEST, SHOWN, SIZE, TOP, WINDOWS
from .fourier import transform
from .hush_signal import OPTIONS
from .silero import OPTIONS as OUTER

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_LEAST = np.float32(1e-12)
_ROOM = 4 * LARGEST
"""Floats of scratch: real and imaginary parts, twice, as no pass is in place."""
_FLOATS = types.CPointer(types.float32)
At = Any
"""A pointer to float32."""
Float = Any
"""A float32, which numba takes for what is written as a float."""


def analysis() -> Any:  # noqa: ANN401
    """Compile the analysis for numba's processor.

    Returns:
        A numba cfunc ``(frame, spectrum, heard, numbers, plan) -> 0`` on pointers to float32:
        2 n samples, n + 1 complex numbers to write, as many as the network has bins, of which those
        it does not hear are not written, the gain, and what :func:`.filterbank_layout.plan` returns
        for n complex samples.
    """
    scratch = lanes.room(_ROOM)

    @cfunc(types.float32(_FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS), **OUTER)
    def analyse(frame_at: At, spectrum_at: At, heard_at: At, numbers: At, w_at: At) -> Float:
        s = carray(scratch(), (_ROOM,))
        n = int(w_at[SIZE])
        factors = WINDOWS + 4 * n
        w = carray(w_at, (factors + 2 * (n + 1) + 4 * n,))
        frame = carray(frame_at, (2 * n,))
        spectrum = carray(spectrum_at, (2 * (n + 1),))
        heard = carray(heard_at, (2 * int(w_at[BINS]),))
        for k in range(n):
            s[k] = frame[2 * k] * w[WINDOWS + 2 * k]
            s[n + k] = frame[2 * k + 1] * w[WINDOWS + 2 * k + 1]
        z = transform(s, n, w, factors + 2 * (n + 1))
        spectrum[0], spectrum[1] = s[z] + s[z + n], _ZERO
        spectrum[2 * n], spectrum[2 * n + 1] = s[z] - s[z + n], _ZERO
        for k in range(1, n):
            c, d = w[factors + k], w[factors + n + 1 + k]
            r, i, mr, mi = s[z + k], s[z + n + k], s[z + n - k], s[z + 2 * n - k]
            even_r, even_i, odd_r, odd_i = r + mr, i - mi, i + mi, mr - r
            spectrum[2 * k] = _HALF * (even_r + c * odd_r + d * odd_i)
            spectrum[2 * k + 1] = _HALF * (even_i + c * odd_i - d * odd_r)
        gain = numbers[0]
        for i in range(2 * int(w[SHOWN])):
            heard[i] = spectrum[i] * gain
        return _ZERO

    return analyse


def synthesis() -> Any:  # noqa: ANN401
    """Compile the synthesis for numba's processor.

    Returns:
        A numba cfunc ``(spectrum, enhanced, frame, numbers, plan) -> 0`` on pointers to float32:
        what the analysis wrote, what the network made of it, 2 n samples to write, and the plan.
        The numbers are the gain and the dry part, and then, written here, the power that the
        network heard and that of what it left.
    """
    scratch = lanes.room(_ROOM)

    @njit(**OPTIONS)
    def power(x: F32, start: int, end: int) -> Float:
        total = _ZERO
        for i in range(2 * start, 2 * end):
            total += x[i] * x[i]
        return total

    @cfunc(types.float32(_FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS), **OUTER)
    def synthesise(spectrum_at: At, enhanced_at: At, frame_at: At, numbers: At, w_at: At) -> Float:
        s = carray(scratch(), (_ROOM,))
        n, shown, first = int(w_at[SIZE]), int(w_at[SHOWN]), int(w_at[TOP])
        factors = WINDOWS + 4 * n
        w = carray(w_at, (factors + 2 * (n + 1) + 4 * n,))
        frame, x = carray(frame_at, (2 * n,)), carray(spectrum_at, (2 * (n + 1),))
        enhanced = carray(enhanced_at, (2 * int(w_at[BINS]),))
        gain, dry = numbers[0], numbers[1]
        numbers[2] = power(x, 0, shown) * gain * gain
        numbers[3] = power(enhanced, 0, shown)
        wet = (_ONE - dry) / gain
        if shown <= n:
            whole = math.sqrt(power(x, first, shown)) + _LEAST
            above = math.sqrt(power(enhanced, first, shown)) / gain / whole
            kept = dry + (_ONE - dry) * min(_ONE, above)
            for i in range(2 * shown, 2 * (n + 1)):
                x[i] *= kept
        for i in range(2 * shown):
            x[i] = wet * enhanced[i] + dry * x[i]
        # the transform of what has its parts exchanged is the one back, with its parts exchanged
        s[n], s[0] = _HALF * (x[0] + x[2 * n]), _HALF * (x[0] - x[2 * n])
        for k in range(1, n):
            c, d = w[factors + k], w[factors + n + 1 + k]
            r, i, mr, mi = x[2 * k], x[2 * k + 1], x[2 * (n - k)], x[2 * (n - k) + 1]
            even_r, even_i, odd_r, odd_i = r + mr, i - mi, r - mr, i + mi
            s[n + k] = _HALF * (even_r - odd_i * c - odd_r * d)
            s[k] = _HALF * (even_i + odd_r * c - odd_i * d)
        z = transform(s, n, w, factors + 2 * (n + 1))
        window = WINDOWS + 2 * n
        for k in range(n):
            frame[2 * k] = s[z + n + k] * w[window + 2 * k]
            frame[2 * k + 1] = s[z + k] * w[window + 2 * k + 1]
        return _ZERO

    return synthesise
