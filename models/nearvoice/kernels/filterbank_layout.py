"""Where the compiled filterbank finds windows, twiddle factors and sizes. Needs no numba."""

from __future__ import annotations

import numpy as np

from ..filterbank import top
from ..silero_network import F32
from ..spectrum import Transform

RADICES = (4, 2, 3, 5)
"""What the number of complex samples must be a product of, in the order in which they are used."""
MOST_PASSES = 16
LARGEST = 4096
"""Complex samples that fit the scratch of the kernel: of 20 ms, up to 409.6 kHz."""

SIZE, BINS, SHOWN, TOP, PASSES = range(5)
"""Index of each number in front: complex samples, bins of the network, how many of them it hears,
the first of the highest quarter of these, and how many passes there are."""
FIRST_RADIX = 5
WINDOWS = FIRST_RADIX + MOST_PASSES
"""Index of the window of the analysis; that of the synthesis follows, then factors."""


def radices(size: int) -> list[int] | None:
    """Return the radix of each pass over ``size`` complex samples; None where there is no plan."""
    found, left = [], size
    for radix in RADICES:
        while left % radix == 0:
            left //= radix
            found.append(radix)
    possible = left == 1 and size <= LARGEST and len(found) <= MOST_PASSES
    return found if possible else None


def plan(transform: Transform, bins: int, shown: int) -> F32:
    """Return what the kernel needs to know, float32[n].

    The transform of N real samples is that of N / 2 complex ones (Press et al., Numerical Recipes,
    12.3), which is done in passes that leave it in order (Stockham; Van Loan, Computational
    Frameworks for the Fast Fourier Transform, 1.7). Behind the numbers and windows lie cosine and
    sine of every bin up to the half, and then, pass by pass, the factors of its butterflies.

    Raises:
        ValueError: The kernel cannot do this size.
    """
    size = transform.hop
    passes = radices(size)
    if passes is None:
        raise ValueError(f"no compiled transform of {transform.size} samples")
    front = np.zeros(WINDOWS)
    front[:FIRST_RADIX] = size, bins, shown, top(shown).start, len(passes)
    front[FIRST_RADIX : FIRST_RADIX + len(passes)] = passes
    angles = np.pi * np.arange(size + 1) / size
    factors, left = [], size
    for radix in passes:
        butterflies = np.arange(left // radix)[:, None]
        turns = 2 * np.pi * butterflies * np.arange(1, radix) / left
        factors.append(np.stack((np.cos(turns), -np.sin(turns)), axis=2).ravel())
        left //= radix
    windows = np.concatenate((transform.to_network, transform.from_network / size))
    whole = np.concatenate((front, windows, np.cos(angles), np.sin(angles), *factors))
    return whole.astype(np.float32)
