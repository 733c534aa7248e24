"""The Fourier transform of a filterbank: passes over split real and imaginary parts in scratch.

Stockham's order: each pass writes elsewhere than it reads, and the last one leaves the bins in
order (Van Loan, Computational Frameworks for the Fast Fourier Transform, 1.7). Needs numba, so only
:mod:`.filterbank` imports it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..silero_network import F32
from .filterbank_layout import FIRST_RADIX, PASSES
from .hush_signal import OPTIONS

_HALF, _ROOT_3_4 = np.float32(0.5), np.float32(math.sqrt(3) / 2)
_COS_1, _COS_2 = (np.float32(math.cos(2 * math.pi * k / 5)) for k in (1, 2))
_SIN_1, _SIN_2 = (np.float32(math.sin(2 * math.pi * k / 5)) for k in (1, 2))


@njit(**OPTIONS)
def _two(s: F32, x: int, y: int, n: int, w: F32, at: int, left: int, stride: int) -> None:
    """Do a pass of radix 2.

    Args:
        s: Scratch.
        x: Where the real parts are; imaginary ones are n later.
        y: Where to write.
        n: Complex samples.
        w: The plan.
        at: Where the factors of this pass are.
        left: Length of the transforms that are left; there are n / left of them, side by side.
        stride: n / left.
    """
    m = left // 2
    for p in range(m):
        c, d = w[at + 2 * p], w[at + 2 * p + 1]
        a, b, to = x + stride * p, x + stride * (p + m), y + stride * 2 * p
        for q in range(stride):
            re, im = s[a + q] - s[b + q], s[n + a + q] - s[n + b + q]
            s[to + q] = s[a + q] + s[b + q]
            s[n + to + q] = s[n + a + q] + s[n + b + q]
            s[to + stride + q] = re * c - im * d
            s[n + to + stride + q] = re * d + im * c


@njit(**OPTIONS)
def _three(s: F32, x: int, y: int, n: int, w: F32, at: int, left: int, stride: int) -> None:
    """Do a pass of radix 3, see :func:`_two`."""
    m = left // 3
    for p in range(m):
        f = at + 4 * p
        c1, d1, c2, d2 = w[f], w[f + 1], w[f + 2], w[f + 3]
        a0, to = x + stride * p, y + stride * 3 * p
        a1, a2 = a0 + stride * m, a0 + stride * 2 * m
        for q in range(stride):
            r1, i1 = s[a1 + q] + s[a2 + q], s[n + a1 + q] + s[n + a2 + q]
            r2, i2 = s[a1 + q] - s[a2 + q], s[n + a1 + q] - s[n + a2 + q]
            re, im = s[a0 + q] - _HALF * r1, s[n + a0 + q] - _HALF * i1
            r2, i2 = _ROOT_3_4 * i2, -_ROOT_3_4 * r2
            s[to + q] = s[a0 + q] + r1
            s[n + to + q] = s[n + a0 + q] + i1
            ar, ai, br, bi = re + r2, im + i2, re - r2, im - i2
            s[to + stride + q] = ar * c1 - ai * d1
            s[n + to + stride + q] = ar * d1 + ai * c1
            s[to + 2 * stride + q] = br * c2 - bi * d2
            s[n + to + 2 * stride + q] = br * d2 + bi * c2


@njit(**OPTIONS)
def _four(s: F32, x: int, y: int, n: int, w: F32, at: int, left: int, stride: int) -> None:
    """Do a pass of radix 4, see :func:`_two`."""
    m = left // 4
    for p in range(m):
        f = at + 6 * p
        c1, d1, c2, d2, c3, d3 = w[f], w[f + 1], w[f + 2], w[f + 3], w[f + 4], w[f + 5]
        a0, to = x + stride * p, y + stride * 4 * p
        a1, a2, a3 = a0 + stride * m, a0 + stride * 2 * m, a0 + stride * 3 * m
        for q in range(stride):
            r0, i0 = s[a0 + q] + s[a2 + q], s[n + a0 + q] + s[n + a2 + q]
            r1, i1 = s[a0 + q] - s[a2 + q], s[n + a0 + q] - s[n + a2 + q]
            r2, i2 = s[a1 + q] + s[a3 + q], s[n + a1 + q] + s[n + a3 + q]
            r3, i3 = s[n + a1 + q] - s[n + a3 + q], s[a3 + q] - s[a1 + q]
            s[to + q] = r0 + r2
            s[n + to + q] = i0 + i2
            re, im = r1 + r3, i1 + i3
            s[to + stride + q] = re * c1 - im * d1
            s[n + to + stride + q] = re * d1 + im * c1
            re, im = r0 - r2, i0 - i2
            s[to + 2 * stride + q] = re * c2 - im * d2
            s[n + to + 2 * stride + q] = re * d2 + im * c2
            re, im = r1 - r3, i1 - i3
            s[to + 3 * stride + q] = re * c3 - im * d3
            s[n + to + 3 * stride + q] = re * d3 + im * c3


@njit(**OPTIONS)
def _five(s: F32, x: int, y: int, n: int, w: F32, at: int, left: int, stride: int) -> None:
    """Do a pass of radix 5, see :func:`_two`."""
    m = left // 5
    for p in range(m):
        f = at + 8 * p
        a, to = x + stride * p, y + stride * 5 * p
        step = stride * m
        for q in range(stride):
            i = a + q
            r0, i0 = s[i], s[n + i]
            r1, i1 = s[i + step] + s[i + 4 * step], s[n + i + step] + s[n + i + 4 * step]
            r4, i4 = s[i + step] - s[i + 4 * step], s[n + i + step] - s[n + i + 4 * step]
            r2, i2 = s[i + 2 * step] + s[i + 3 * step], s[n + i + 2 * step] + s[n + i + 3 * step]
            r3, i3 = s[i + 2 * step] - s[i + 3 * step], s[n + i + 2 * step] - s[n + i + 3 * step]
            s[to + q] = r0 + r1 + r2
            s[n + to + q] = i0 + i1 + i2
            ar, ai = r0 + _COS_1 * r1 + _COS_2 * r2, i0 + _COS_1 * i1 + _COS_2 * i2
            br, bi = r0 + _COS_2 * r1 + _COS_1 * r2, i0 + _COS_2 * i1 + _COS_1 * i2
            cr, ci = _SIN_1 * i4 + _SIN_2 * i3, -_SIN_1 * r4 - _SIN_2 * r3
            dr, di = _SIN_2 * i4 - _SIN_1 * i3, -_SIN_2 * r4 + _SIN_1 * r3
            re, im = ar + cr, ai + ci
            s[to + stride + q] = re * w[f] - im * w[f + 1]
            s[n + to + stride + q] = re * w[f + 1] + im * w[f]
            re, im = br + dr, bi + di
            s[to + 2 * stride + q] = re * w[f + 2] - im * w[f + 3]
            s[n + to + 2 * stride + q] = re * w[f + 3] + im * w[f + 2]
            re, im = br - dr, bi - di
            s[to + 3 * stride + q] = re * w[f + 4] - im * w[f + 5]
            s[n + to + 3 * stride + q] = re * w[f + 5] + im * w[f + 4]
            re, im = ar - cr, ai - ci
            s[to + 4 * stride + q] = re * w[f + 6] - im * w[f + 7]
            s[n + to + 4 * stride + q] = re * w[f + 7] + im * w[f + 6]


@njit(**OPTIONS)
def transform(s: F32, n: int, w: F32, at: int) -> int:
    """Transform n complex samples at 0 in scratch; return where the result is, 0 or 2 n."""
    x, y = 0, 2 * n
    left, stride = n, 1
    for i in range(int(w[PASSES])):
        radix = int(w[FIRST_RADIX + i])
        if radix == 4:
            _four(s, x, y, n, w, at, left, stride)
        elif radix == 2:
            _two(s, x, y, n, w, at, left, stride)
        elif radix == 3:
            _three(s, x, y, n, w, at, left, stride)
        else:
            _five(s, x, y, n, w, at, left, stride)
        at += 2 * (radix - 1) * (left // radix)
        left //= radix
        stride *= radix
        x, y = y, x
    return x
