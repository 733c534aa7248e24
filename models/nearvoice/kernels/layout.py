"""Where the Silero kernel finds things: its weights in memory, and its tiles. Needs no numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..silero_network import HIDDEN

Halves = npt.NDArray[np.uint16]
"""Bits of float16 numbers."""

NARROW = 64
"""Channels of the second and third convolution."""


class Tiles(NamedTuple):
    """Sizes of the register tiles; see ``python -m benchmarks kernel-tiles``."""

    vector: int
    """Floats of a register."""
    rows: int
    """Of the products with four rows: Fourier transform and first convolution; 1, 2 or 4."""
    width: int
    """Columns of the same."""
    pair_rows: int
    """Of the product with two rows, the second convolution; 1 or 2."""
    pair_width: int
    single: int
    """Columns of the products with one row: the LSTM above all."""


TILES = {
    "x86-64-v4": Tiles(vector=16, rows=4, width=64, pair_rows=2, pair_width=64, single=128),
    "x86-64-v4-256": Tiles(vector=8, rows=4, width=32, pair_rows=2, pair_width=32, single=128),
    "x86-64-v3": Tiles(vector=8, rows=4, width=16, pair_rows=2, pair_width=32, single=64),
    "aarch64": Tiles(vector=4, rows=4, width=16, pair_rows=2, pair_width=32, single=64),
}
"""Level of the instruction set (x86-64's names are those of its psABI) -> what was fastest; for
aarch64, where nothing was timed, sixteen sums in its 32 registers of 128 bits."""


class Layout(NamedTuple):
    """Indices into the two arrays of weights of a network with Fourier transforms of ``n``."""

    n: int
    tiles: Tiles

    @property
    def quarter(self) -> int:
        """Samples of a folded frame, and bins."""
        return self.n // 4

    @property
    def bins(self) -> int:
        """Of the Fourier transform."""
        return self.n // 2 + 1

    @property
    def fourier_width(self) -> int:
        """Columns of a tile of the Fourier transform."""
        return min(self.tiles.width, self.quarter)

    @property
    def narrow_single(self) -> int:
        """Columns of a tile of the third convolution."""
        return min(self.tiles.single, NARROW)

    @property
    def zeros(self) -> int:
        """In float32, after the Hann window: the bias of the Fourier transform."""
        return self.n

    @property
    def fourier(self) -> int:
        """In float32: cosines of even and odd samples, then sines of both."""
        return self.zeros + self.quarter

    @property
    def biases(self) -> int:
        """In float32: of the four convolutions and the LSTM, then output weights and bias."""
        return self.fourier + 4 * self.quarter**2

    @property
    def floats(self) -> int:
        """Length of the float32 array."""
        return self.biases + 7 * HIDDEN + 2 * NARROW + 1

    @property
    def second(self) -> int:
        """In float16, where the first convolution is at 0: the second one."""
        return 3 * self.bins * HIDDEN

    @property
    def third(self) -> int:
        """In float16: the third convolution."""
        return self.second + 3 * HIDDEN * NARROW

    @property
    def fourth(self) -> int:
        """In float16: the fourth convolution."""
        return self.third + 2 * NARROW * NARROW

    @property
    def lstm(self) -> int:
        """In float16: the LSTM."""
        return self.fourth + NARROW * HIDDEN

    @property
    def halves(self) -> int:
        """Length of the float16 array."""
        return self.lstm + 2 * HIDDEN * 4 * HIDDEN


def hann(n: int) -> npt.NDArray[np.float64]:
    """Return the periodic Hann window, float64[n]."""
    return np.sin(np.pi * np.arange(n) / n) ** 2


def folded_fourier(n: int) -> list[npt.NDArray[np.float64]]:
    """Return cosines at even and odd samples, then sines of both, each float64[n/4, n/4].

    A window's sample j and its mirror n - j meet the same cosine, and sines of opposite signs;
    bin k and its mirror n/2 - k differ by the sign of the odd samples only. So a quarter of each
    is enough: even samples are 2, 4 ... n/2, odd ones 1, 3 ... n/2 - 1, bins 0 ... n/4 - 1.
    """
    bins = np.arange(n // 4)
    even, odd = np.arange(2, n // 2 + 1, 2)[:, None], np.arange(1, n // 2, 2)[:, None]
    angles = [2 * np.pi * samples * bins / n for samples in (even, odd)]
    return [wave(angle) for wave in (np.cos, np.sin) for angle in angles]


def blocks(matrix: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.floating]:
    """Return [depth, columns] as the tiles read it, [columns / width, depth, width], flat."""
    depth, columns = matrix.shape
    return matrix.reshape(depth, columns // width, width).transpose(1, 0, 2).ravel()
