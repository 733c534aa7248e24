"""Where the Hush kernel finds things: its weights in memory, in the order they are used.

Needs no numba.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..hush_features import BANDS, F32, HIDDEN, LOW, WIDTHS
from ..hush_weights import CHANNELS, EMBEDDING, Gru, Layer, Matrix, Weights
from .layout import TILES

Bytes = npt.NDArray[np.int8]

GATES = 3 * HIDDEN
TAPS = 2 * 5 * LOW
"""Of all filters together."""
ZEROS = 128
"""Columns of the widest tile: what its sums start from."""

_LAYERS = {
    "erb_0": (9, CHANNELS),
    "erb_1": (48, CHANNELS),
    "erb_2": (48, CHANNELS),
    "erb_3": (48, CHANNELS),
    "low_0": (18, CHANNELS),
    "low_1": (48, CHANNELS),
    "across_0": (16, CHANNELS),
    "up_0": (48, CHANNELS),
    "across_1": (16, CHANNELS),
    "up_1": (32, 2 * CHANNELS),
    "across_2": (16, CHANNELS),
    "up_2": (32, 2 * CHANNELS),
    "across_3": (16, CHANNELS),
    "gain": (48, 1),
    "filter_low": (16, CHANNELS),
}
"""Matrices of float32, each followed by its bias; the last one is padded by columns of zero."""
_GRU = 2 * HIDDEN * GATES
GRU_FLOATS = 3 * GATES + HIDDEN
"""Of every GRU: scales of the matrix inward and the recurrent one, then what is added to z and r,
to what goes inward to n, and to its recurrent part."""
_DECODER = HIDDEN + GRU_FLOATS + EMBEDDING
_FLOATS = {
    "zeros": ZEROS,
    "ends": BANDS,
    **{name: (inputs + 1) * outputs for name, (inputs, outputs) in _LAYERS.items()},
    "joined": 16 * 32 * 8,
    "filter_in": 8 * 16 * 32,
    "encoder": _DECODER,
    "gains": _DECODER,
    "filters": 3 * GRU_FLOATS + TAPS,
}
_BYTES = {
    "encoder": 2 * EMBEDDING * HIDDEN + _GRU,
    "gains": 2 * EMBEDDING * HIDDEN + _GRU,
    "filters": 3 * _GRU + HIDDEN * TAPS,
}
"""Matrices of int8, in the order they are used; the float32 numbers of the same name hold their
scales in the same order."""


def _starts(sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    starts, at = {}, 0
    for name, size in sizes.items():
        starts[name] = at
        at += size
    return starts, at


FLOATS, FLOAT_COUNT = _starts(_FLOATS)
"""Name -> index into the float32 array; its length."""
BYTES, BYTE_COUNT = _starts(_BYTES)
"""Name -> index into the int8 array; its length."""


class Packed(NamedTuple):
    """The weights as the kernel reads them."""

    floats: F32
    bytes: Bytes


def pack(weights: Weights, level: str) -> Packed:
    """Return the weights for the kernel of a level.

    Raises:
        ValueError: The weights were not quantised.
    """
    width = TILES[level].single
    parts = _parts(weights)
    matrices = [matrix for name in BYTES for matrix in _matrices(parts[name])]
    if any(matrix.values.dtype != np.int8 for matrix in matrices):
        raise ValueError("the compiled kernel needs weights of int8: arrange(..., quantise=True)")
    floats = {
        "zeros": np.zeros(ZEROS),
        "ends": np.cumsum(WIDTHS),
        "joined": weights.joined,
        "filter_in": weights.filter_in,
        **{name: _flat(layer) for name, layer in _layers(weights)},
        **{name: np.concatenate([_scales(part) for part in parts[name]]) for name in BYTES},
    }
    return Packed(
        np.concatenate([floats[name].reshape(-1) for name in FLOATS]).astype(np.float32),
        np.concatenate([blocks(matrix.values, width) for matrix in matrices]),
    )


def blocks(matrix: Bytes, width: int) -> Bytes:
    """Return [inputs, outputs] as tiles read it, [outputs / width, inputs, width], flat."""
    inputs, outputs = matrix.shape
    return matrix.reshape(inputs, outputs // width, width).transpose(1, 0, 2).ravel()


def _layers(weights: Weights) -> Iterator[tuple[str, Layer]]:
    for name in ("erb", "low", "across", "up"):
        for i, layer in enumerate(getattr(weights, name)):
            yield f"{name}_{i}", layer
    yield "gain", weights.gain
    more = CHANNELS - len(weights.filter_low.bias)
    padded = (np.pad(weights.filter_low.matrix, ((0, 0), (0, more))), (0, more))
    yield "filter_low", Layer(padded[0], np.pad(weights.filter_low.bias, padded[1]))


def _parts(weights: Weights) -> dict[str, tuple[Matrix | Gru, ...]]:
    first, second, *filters = weights.grus
    return {
        "encoder": (weights.inner[0], first, weights.inner[1]),
        "gains": (weights.gain_inner[0], second, weights.gain_inner[1]),
        "filters": (*filters, weights.filter_out),
    }


def _matrices(parts: tuple[Matrix | Gru, ...]) -> Iterator[Matrix]:
    for part in parts:
        yield from (part.inward, part.recurrent) if isinstance(part, Gru) else (part,)


def _scales(part: Matrix | Gru) -> F32:
    if isinstance(part, Matrix):
        return part.scale
    bias = part.inward_bias.copy()
    bias[: 2 * HIDDEN] += part.recurrent_bias[: 2 * HIDDEN]
    own = part.recurrent_bias[2 * HIDDEN :]
    return np.concatenate((part.inward.scale, part.recurrent.scale, bias, own))


def _flat(layer: Layer) -> F32:
    return np.concatenate((layer.matrix.reshape(-1), layer.bias))
