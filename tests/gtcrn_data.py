"""What the tests of GTCRN hear, and weights that need no download."""

import numpy as np

from nearvoice import gtcrn
from nearvoice.kernels.gtcrn_check import random_constants

__all__ = ["denormal", "random_constants", "spectra", "speechlike"]


def speechlike(count: int, seed: int = 0) -> np.ndarray:
    """Return complex64[count, 257], random, louder at the low end and in waves; some are silent."""
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((2, count, gtcrn.BINS))
    slope = 1 / (1 + np.arange(gtcrn.BINS) / 40)
    waves = np.maximum(0, np.sin(np.arange(count) * 0.7))
    return (3 * waves[:, None] * slope * (parts[0] + 1j * parts[1])).astype(np.complex64)


def spectra(samples: np.ndarray) -> np.ndarray:
    """Return the spectra of a sound at 16 kHz as GTCRN hears it, complex64[hops, 257]."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::256]
    window = np.sin(np.pi * np.arange(512) / 512)
    return np.fft.rfft(frames * window).astype(np.complex64)


def denormal(values: np.ndarray) -> np.ndarray:
    return (values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)
