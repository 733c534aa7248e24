"""Random weights of Hush, for comparing kernels with their twin without any weights file."""

from __future__ import annotations

import numpy as np

from ..hush_features import ERB_SCALE, F32, HIDDEN, LOW, ORDER, split
from ..hush_weights import CHANNELS, EMBEDDING, Gru, Layer, Matrix, Weights


def random_hush(rng: np.random.Generator) -> Weights:
    """Return random weights, with matrices of int8 that reach from -127 to 127."""

    def floats(*shape: int) -> F32:
        values: F32 = (rng.standard_normal(shape) / np.sqrt(shape[-2])).astype(np.float32)
        return values

    def layer(inputs: int, outputs: int = CHANNELS) -> Layer:
        return Layer(floats(inputs, outputs), floats(1, outputs)[0] * np.float32(0.1))

    def matrix(inputs: int, outputs: int) -> Matrix:
        values = rng.integers(-127, 128, (inputs, outputs), np.int8)
        scale = rng.uniform(0.5, 1.0, outputs) / 100 / np.sqrt(inputs)
        return Matrix(values, scale.astype(np.float32))

    def gru() -> Gru:
        inward, recurrent = matrix(HIDDEN, 3 * HIDDEN), matrix(HIDDEN, 3 * HIDDEN)
        return Gru(inward, recurrent, *floats(2, 3 * HIDDEN))

    def inner() -> tuple[Matrix, Matrix]:
        return matrix(EMBEDDING, HIDDEN), matrix(HIDDEN, EMBEDDING)

    return Weights(
        erb=(layer(9), layer(48), layer(48), layer(48)),
        low=(layer(18), layer(48)),
        joined=floats(16, 32, 8),
        inner=inner(),
        gain_inner=inner(),
        across=(layer(16), layer(16), layer(16), layer(16)),
        up=(layer(48), layer(32, 2 * CHANNELS), layer(32, 2 * CHANNELS)),
        gain=layer(48, 1),
        filter_in=floats(8, 16, 32),
        filter_out=matrix(HIDDEN, 2 * ORDER * LOW),
        filter_low=layer(CHANNELS, 2 * ORDER),
        grus=(gru(), gru(), gru(), gru(), gru()),
    )


def in_features(memory: F32) -> F32:
    """Return a copy of a memory with its decibels in the unit of the features."""
    memory = memory.copy()
    split(memory).erb_mean[:] /= ERB_SCALE
    return memory
