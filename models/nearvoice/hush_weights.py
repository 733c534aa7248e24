"""Hush's weights: the constants of its three ONNX files, arranged as few and plain matrices.

A convolution that sees channels one by one and the one of a single tap after it, which mixes them,
have nothing between them, so they are one matrix here. The large matrices are int8, with one
float32 scale for every output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arrays
from .hush_features import F32, HIDDEN, LOW, ORDER, SEEN

FILES = ("hush_enc.onnx", "hush_erb_dec.onnx", "hush_df_dec.onnx")
"""Names in the manifest: of the encoder, and of the decoders for gains and for filters."""
CHANNELS = 16
EMBEDDING = 128
"""Size of what the encoder tells the decoders."""
SCALE = ".scale"
"""What the scales of an int8 array are called, after its own name."""


class Matrix(NamedTuple):
    """A matrix [inputs, outputs] = ``values * scale``."""

    values: npt.NDArray[Any]
    """int8, or float32 where nothing was quantised."""
    scale: F32
    """Of every output, float32[outputs]."""

    def dequantised(self) -> F32:
        """Return float32[inputs, outputs]."""
        return self.values.astype(np.float32) * self.scale


class Layer(NamedTuple):
    """A convolution as a matrix product: taps of a bin and its neighbours in a row."""

    matrix: F32
    """[taps * channels in, channels out]; the neighbour below comes first."""
    bias: F32


class Gru(NamedTuple):
    """A GRU; outputs of matrices and biases are gates z and r, both halved, then n.

    As sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, one tanh serves all three.
    """

    inward: Matrix
    """[256, 768]."""
    recurrent: Matrix
    inward_bias: F32
    recurrent_bias: F32


class Weights(NamedTuple):
    """The weights of all three graphs. Arrays of bins come as [bins, channels]."""

    erb: tuple[Layer, ...]
    """Four convolutions over the bands: [9, 16], then [48, 16]; the second and third halve."""
    low: tuple[Layer, ...]
    """Two over the low bins: [18, 16] and [48, 16], which halves."""
    joined: F32
    """Sixteen matrices for four low bins each, two after halving: [16, 32, 8]."""
    inner: tuple[Matrix, Matrix]
    """Before and after the encoder's GRU: [128, 256], [256, 128]."""
    gain_inner: tuple[Matrix, Matrix]
    """The same around the GRU for the gains."""
    across: tuple[Layer, ...]
    """[16, 16] each: from the encoder's fourth, third, second and first layer over to the gains."""
    up: tuple[Layer, ...]
    """[48, 16], then two that double the bands: [32, 32], a band and the next one in, two out."""
    gain: Layer
    """[48, 1]."""
    filter_in: F32
    """Eight matrices [16, 32]."""
    filter_out: Matrix
    """[256, 640]: for every low bin, real and imaginary part for each of five hops."""
    filter_low: Layer
    """[16, 10]: what is added to that from the encoder's first layer over the low bins."""
    grus: tuple[Gru, ...]
    """Of the encoder, of the gains, and three of the filters."""


_GRUS = (
    ("onnx::GRU_348", "onnx::GRU_349", "onnx::GRU_350"),
    ("onnx::GRU_279", "onnx::GRU_280", "onnx::GRU_281"),
    ("onnx::GRU_325", "onnx::GRU_326", "onnx::GRU_327"),
    ("onnx::GRU_345", "onnx::GRU_346", "onnx::GRU_347"),
    ("onnx::GRU_365", "onnx::GRU_366", "onnx::GRU_367"),
)
"""Names of the matrices inward and recurrent, and of the biases: encoder, gains, filters."""
_ERB = (
    ("enc.erb_conv1.0.weight", "onnx::Conv_303"),
    ("enc.erb_conv2.0.weight", "onnx::Conv_306"),
    ("enc.erb_conv3.0.weight", "onnx::Conv_309"),
)
"""Of three taps for every channel and of the matrix that mixes channels; the latter's bias is the
next in number."""
_ACROSS = ("onnx::Conv_237", "onnx::Conv_243", "onnx::Conv_249", "onnx::Conv_255")
_UP = (
    ("erb_dec.convt3.0.weight", "onnx::Conv_240"),
    ("erb_dec.convt2.0.weight", "onnx::Conv_246"),
    ("erb_dec.convt1.0.weight", "onnx::Conv_252"),
)
_INNER = ("enc.emb_gru.linear_in.0.weight", "enc.emb_gru.linear_out.0.weight")
_GAIN_INNER = ("erb_dec.emb_gru.linear_in.0.weight", "erb_dec.emb_gru.linear_out.0.weight")
_FILTER_OUT = "df_dec.df_out.0.weight"

_INPUTS = {
    name: -1 for inward, recurrent, _ in _GRUS for name in (inward, recurrent)
} | dict.fromkeys((*_INNER, *_GAIN_INNER, _FILTER_OUT), -2)
"""Name of what is kept as int8 -> the axis of its inputs, which share a scale."""


def compact(constants: arrays.Arrays) -> arrays.Arrays:
    """Return the constants of any of the three files with the large matrices as int8.

    Beside each of them is its scale, float32, such that the largest weight of an output is 127.
    """
    kept: arrays.Arrays = {}
    for name, values in constants.items():
        if name in _INPUTS and values.dtype == np.float32:
            kept[name], kept[name + SCALE] = _quantised(values, _INPUTS[name])
        else:
            kept[name] = values
    return kept


def _quantised(values: F32, axis: int) -> tuple[npt.NDArray[np.int8], F32]:
    largest = np.abs(values).max(axis=axis, keepdims=True)
    scale = np.maximum(largest, np.float32(1e-30)) / np.float32(127)
    return np.rint(values / scale).astype(np.int8), scale


def arrange(
    encoder: arrays.Arrays,
    gains: arrays.Arrays,
    filters: arrays.Arrays,
    *,
    quantise: bool = True,
) -> Weights:
    """Find and arrange the network among the constants of its three files.

    Args:
        encoder: Of the first of ``FILES``, from :func:`nearvoice.files.weights`, where large
            matrices are int8, or from :func:`nearvoice.arrays.read_onnx`, where they are not.
        gains: Of the second.
        filters: Of the third.
        quantise: Whether what is not int8 becomes it.

    Raises:
        WeightsError: A constant is missing, or has another shape or dtype.
    """
    names = dict(zip(FILES, (encoder, gains, filters), strict=True))
    finders = [_Finder(constants, name, quantise) for name, constants in names.items()]
    find, find_gain, find_filter = finders
    first = find("onnx::Conv_300", (CHANNELS, 1, SEEN, 3))[:, 0]
    return Weights(
        erb=(
            Layer(_flat(first.transpose(2, 1, 0)), find("onnx::Conv_301", (CHANNELS,))),
            *(_separable(find, *names) for names in _ERB),
        ),
        low=(_first_low(find), _separable(find, "enc.df_conv1.0.weight", "onnx::Conv_315")),
        joined=find("enc.df_fc_emb.0.weight", (16, 32, 8)),
        inner=_inner(find, _INNER),
        gain_inner=_inner(find_gain, _GAIN_INNER),
        across=tuple(_mixing(find_gain, name) for name in _ACROSS),
        up=(
            _separable(find_gain, *_UP[0]),
            *(_doubling(find_gain, *names) for names in _UP[1:]),
        ),
        gain=Layer(
            _flat(find_gain("onnx::Conv_258", (1, CHANNELS, 1, 3))[0, :, 0].T[..., None]),
            find_gain("onnx::Conv_259", (1,)),
        ),
        filter_in=find_filter("df_dec.df_gru.linear_in.0.weight", (8, 16, 32)),
        filter_out=find_filter.matrix(_FILTER_OUT, (1, HIDDEN, 2 * ORDER * LOW)),
        filter_low=_mixing(find_filter, "onnx::Conv_304", 2 * ORDER),
        grus=tuple(
            _gru(find, *names) for find, names in zip(finders + 2 * finders[2:], _GRUS, strict=True)
        ),
    )


class _Finder:
    """Looks for constants of one file by name and shape."""

    def __init__(self, constants: arrays.Arrays, file: str, quantise: bool) -> None:
        self._constants = constants
        self._file = file
        self._quantise = quantise

    def __call__(self, name: str, shape: tuple[int, ...]) -> F32:
        array = self._constants.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32:
            raise arrays.WeightsError(f"{name} {list(shape)} is missing from {self._file}")
        return array

    def matrix(self, name: str, shape: tuple[int, ...]) -> Matrix:
        """Return what is kept as int8, inputs first."""
        axis = _INPUTS[name]
        values = self._constants.get(name)
        if values is not None and values.dtype == np.int8 and values.shape == shape:
            reduced = list(shape)
            reduced[axis] = 1
            scale = self(name + SCALE, tuple(reduced))
        else:
            values = self(name, shape)
            scale = np.ones_like(values.take([0], axis))
            if self._quantise:
                values, scale = _quantised(values, axis)
        values = values[0].T if axis == -1 else values[0]
        return Matrix(np.ascontiguousarray(values), scale.reshape(-1))


def _flat(array: F32) -> F32:
    """Return [..., outputs] as a matrix."""
    return np.ascontiguousarray(array.reshape(-1, array.shape[-1]))


def _mixing(find: _Finder, name: str, outputs: int = CHANNELS) -> Layer:
    """Return a convolution of one tap; its bias is the next constant in number."""
    stem, number = name.rsplit("_", 1)
    matrix = find(name, (outputs, CHANNELS, 1, 1))[:, :, 0, 0].T
    return Layer(np.ascontiguousarray(matrix), find(f"{stem}_{int(number) + 1}", (outputs,)))


def _separable(find: _Finder, taps: str, mixing: str) -> Layer:
    """Return three taps of every channel and the mixing of channels as one matrix."""
    each = find(taps, (CHANNELS, 1, 1, 3))[:, 0, 0].T
    matrix, bias = _mixing(find, mixing)
    return Layer(_flat(each[..., None] * matrix), bias)


def _doubling(find: _Finder, taps: str, mixing: str) -> Layer:
    """Return the same for a transposed convolution of stride 2.

    The output in the middle of a band sees it alone, the one after that also the next band.
    """
    next_, middle, after = find(taps, (CHANNELS, 1, 1, 3))[:, 0, 0].T
    matrix, bias = _mixing(find, mixing)
    even = np.concatenate((middle, np.zeros_like(middle)))
    odd = np.concatenate((after, next_))
    twice = np.concatenate((matrix, matrix))
    both = np.concatenate((even[:, None] * twice, odd[:, None] * twice), axis=1)
    return Layer(both, np.concatenate((bias, bias)))


def _first_low(find: _Finder) -> Layer:
    """Return the first layer over the low bins: half its channels see the real part alone."""
    taps = find("enc.df_conv0.1.weight", (CHANNELS, 1, SEEN, 3)).reshape(2, 8, SEEN, 3)
    matrix, bias = _mixing(find, "onnx::Conv_312")
    mixed = np.einsum("pcht,pco->thpo", taps, matrix.reshape(2, 8, CHANNELS))
    return Layer(_flat(mixed.astype(np.float32)), bias)


def _inner(find: _Finder, names: tuple[str, str]) -> tuple[Matrix, Matrix]:
    inward, outward = names
    return (
        find.matrix(inward, (1, EMBEDDING, HIDDEN)),
        find.matrix(outward, (1, HIDDEN, EMBEDDING)),
    )


def _gru(find: _Finder, inward: str, recurrent: str, bias: str) -> Gru:
    halves = np.repeat(np.array((0.5, 0.5, 1), np.float32), HIDDEN)
    shape = (1, 3 * HIDDEN, HIDDEN)
    (values, scale), (own_values, own_scale) = (
        find.matrix(name, shape) for name in (inward, recurrent)
    )
    biases = find(bias, (1, 6 * HIDDEN)).reshape(2, -1) * halves
    matrices = Matrix(values, scale * halves), Matrix(own_values, own_scale * halves)
    return Gru(*matrices, biases[0], biases[1])
