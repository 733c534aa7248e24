"""The network of Silero VAD v6 in numpy: weights out of an ONNX file, and what is done with them.

The clear twin of the compiled kernel in :mod:`.kernels.silero`.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import arrays

F32 = npt.NDArray[np.float32]
Memory = ctypes.Array[ctypes.c_float]
"""What a stream remembers. Not an array of numpy, whose address takes long to ask for."""
Network = Callable[[F32, Memory], tuple[float, Memory]]
"""(window float32[n], memory) -> (P(speech), memory after it); NaN when the window is not finite.
Neither argument is changed."""

HIDDEN = 128
"""Size of the LSTM."""


class Rate(NamedTuple):
    """What differs between the two halves of the network, in samples."""

    window: int
    context: int
    fourier: int
    """Length of the Fourier transform; it hops by half."""


RATES = {8_000: Rate(256, 32, 128), 16_000: Rate(512, 64, 256)}


def split(memory: Memory) -> tuple[F32, F32]:
    """Return the arrays that a memory holds: rnn and context of :class:`nearvoice.SileroState`."""
    floats: F32 = np.frombuffer(memory, np.float32)  # type: ignore[call-overload]
    return floats[: 2 * HIDDEN].reshape(2, HIDDEN), floats[2 * HIDDEN :]


def join(rnn: F32, context: F32) -> Memory:
    """Return a memory that holds copies of rnn and context."""
    floats = np.concatenate((rnn.reshape(-1), context))
    return (ctypes.c_float * len(floats)).from_buffer(floats)  # type: ignore[arg-type]


class UnknownNetworkError(arrays.WeightsError):
    """The file may be a Silero VAD, but not one whose weights are known by name."""


class Weights(NamedTuple):
    """The weights of one rate, arranged so that every layer is one matrix product."""

    fourier: F32
    """Windowed Fourier basis, [n, n + 2]: cosine and sine of each of n/2 + 1 bins in turn."""
    convolutions: tuple[tuple[F32, F32], ...]
    """Four times matrix [taps * channels in, channels out], taps oldest first, and bias. Three taps
    each, but the third has two and the last one: what is left out never sees but padding."""
    lstm: F32
    """Input and recurrent weights side by side, [512, 256]; rows are gates i, f, o, g, the first
    three halved."""
    lstm_bias: F32
    """[512], arranged like the rows of ``lstm``."""
    output: F32
    output_bias: float


_TAPS = (slice(0, 3), slice(0, 3), slice(1, 3), slice(1, 2))
"""Taps of the four convolutions that ever see more than padding."""
_SIGMOIDS = slice(0, 3 * HIDDEN)
"""The rows of the LSTM that end in a sigmoid; the others end in tanh."""


def arrange(constants: arrays.Arrays, sample_rate: int) -> Weights:
    """Find and arrange the network of ``sample_rate`` among the constants of a Silero file.

    Raises:
        WeightsError: No such network is there.
    """
    n = RATES[sample_rate].fourier
    basis = "stft.forward_basis_buffer"
    prefix = next(
        (
            name.removesuffix(basis)
            for name, array in constants.items()
            if name.endswith(basis) and array.shape == (n + 2, 1, n)
        ),
        None,
    )
    if prefix is None:
        known = any(name.endswith(basis) for name in constants)
        raise (arrays.WeightsError if known else UnknownNetworkError)(
            f"no Silero VAD network for {sample_rate} Hz in the model file"
        )
    find = _finder(constants, prefix)
    cosines, sines = np.split(find(basis, (n + 2, 1, n))[:, 0], 2)
    channels = (n // 2 + 1, 128, 64, 64, 128)
    return Weights(
        np.ascontiguousarray(np.stack((cosines, sines), axis=1).reshape(n + 2, n).T),
        tuple(
            (
                np.ascontiguousarray(
                    find(f"encoder.{i}.reparam_conv.weight", (channels[i + 1], channels[i], 3))
                    .transpose(2, 1, 0)[taps]
                    .reshape(-1, channels[i + 1])
                ),
                find(f"encoder.{i}.reparam_conv.bias", (channels[i + 1],)),
            )
            for i, taps in enumerate(_TAPS)
        ),
        *_arrange_lstm(find),
        find("decoder.decoder.2.weight", (1, HIDDEN, 1)).reshape(HIDDEN),
        float(find("decoder.decoder.2.bias", (1,))[0]),
    )


def _arrange_lstm(find: Callable[[str, tuple[int, ...]], F32]) -> tuple[F32, F32]:
    """Return matrix and bias of the LSTM with g last, and the other gates halved.

    torch keeps the gates as i, f, g, o. As sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, which cannot
    overflow either, one tanh then serves all four.
    """
    rows = 4 * HIDDEN
    order = np.r_[0:256, 384:512, 256:384]
    inward = find("decoder.rnn.weight_ih", (rows, HIDDEN))
    recurrent = find("decoder.rnn.weight_hh", (rows, HIDDEN))
    matrix = np.concatenate((inward, recurrent), axis=1)[order]
    bias = (find("decoder.rnn.bias_ih", (rows,)) + find("decoder.rnn.bias_hh", (rows,)))[order]
    matrix[_SIGMOIDS] *= 0.5
    bias[_SIGMOIDS] *= 0.5
    return matrix, bias


def _finder(constants: arrays.Arrays, prefix: str) -> Callable[[str, tuple[int, ...]], F32]:
    def find(name: str, shape: tuple[int, ...]) -> F32:
        array = constants.get(prefix + name)
        if array is None or array.shape != shape or array.dtype != np.float32:
            raise arrays.WeightsError(f"{name} {list(shape)} is missing from the Silero VAD file")
        return array

    return find


def numpy_network(weights: Weights) -> Network:
    """Return the network as array arithmetic: the clear twin of every faster kernel."""
    hop = weights.fourier.shape[0] // 2
    (first, second, third, fourth) = weights.convolutions

    def network(window: F32, memory: Memory) -> tuple[float, Memory]:
        if not is_finite(window):
            return math.nan, memory
        old, context = split(memory)
        heard = np.concatenate((context, window))
        # the sound, and its end mirrored, in four frames that overlap by half
        hops = np.concatenate((heard, heard[-2 : -hop // 2 - 2 : -1])).reshape(5, hop)
        frames = np.concatenate((hops[:-1], hops[1:]), axis=1)
        magnitudes = np.abs((frames @ weights.fourier).view(np.complex64))
        x = _layer(_three_taps(magnitudes, stride=1), *first)
        x = _layer(_three_taps(x, stride=2), *second)
        x = _layer(x.reshape(-1), *third)
        x = _layer(x, *fourth)
        rnn = _lstm(np.concatenate((x, old[0])), old[1], weights.lstm, weights.lstm_bias)
        logit = float(np.dot(np.maximum(rnn[0], 0), weights.output)) + weights.output_bias
        return 0.5 * math.tanh(0.5 * logit) + 0.5, join(rnn, heard[-len(context) :])

    return network


def is_finite(window: F32) -> bool:
    """Return whether a window holds numbers only: no NaN, no infinity."""
    return math.isfinite(window @ window) or bool(np.isfinite(window).all())


def _three_taps(x: F32, stride: int) -> F32:
    """Put every ``stride``-th frame of ``x`` [frames, channels] between its neighbours, in a row.

    Beyond both ends the frames are zero.
    """
    count, channels = x.shape
    padded = np.zeros((count + 2, channels), np.float32)
    padded[1:-1] = x
    return np.concatenate([padded[i : count + i : stride] for i in (0, 1, 2)], axis=1)


def _layer(x: F32, matrix: F32, bias: F32) -> F32:
    y: F32 = np.dot(x, matrix)
    y += bias
    return np.maximum(y, 0, out=y)


def _lstm(x_and_hidden: F32, cell: F32, matrix: F32, bias: F32) -> F32:
    """One step of an LSTM; returns hidden and cell state, float32[2, 128]."""
    gates = np.dot(matrix, x_and_hidden)
    gates += bias
    np.tanh(gates, out=gates)
    sigmoids = gates[_SIGMOIDS]
    sigmoids *= 0.5
    sigmoids += 0.5
    take, keep, show, new = gates.reshape(4, HIDDEN)
    rnn = np.empty((2, HIDDEN), np.float32)
    rnn[1] = keep * cell + take * new
    np.multiply(show, np.tanh(rnn[1]), out=rnn[0])
    return rnn
