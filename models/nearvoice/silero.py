"""Silero VAD v6: one window of sound in, one speech probability out, for any number of streams.

The network is that of snakers4/silero-vad at commit 806dcba3f0b5d95282d0889a074954a2f8c6397b
(``src/silero_vad/data/silero_vad.onnx``, MIT): a Hann-windowed Fourier transform as a matrix, four
convolutions, an LSTM cell, one sigmoid. Its 16 kHz and 8 kHz halves share nothing but the shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arrays, files

F32 = npt.NDArray[np.float32]
Network = Callable[[F32, F32], tuple[float, F32]]
"""(context ++ window float32[n], rnn float32[2, 128]) -> (P(speech), rnn float32[2, 128])."""

KERNELS = ("auto", "numpy", "onnxruntime")
FILE = "silero_vad.onnx"
"""Name in the manifest."""

_HIDDEN = 128


class _Rate(NamedTuple):
    window: int
    context: int
    fourier: int
    """Length of the Fourier transform; it hops by half."""


_RATES = {8_000: _Rate(256, 32, 128), 16_000: _Rate(512, 64, 256)}


class SileroState(NamedTuple):
    """All that one stream remembers between windows: a plain value, safe to keep and to share."""

    rnn: F32
    """LSTM hidden and cell state, float32[2, 128]."""
    context: F32
    """End of the previous window, float32[64] at 16 kHz and float32[32] at 8 kHz."""


def choose_kernel() -> tuple[str, str]:
    """Return the kernel that ``kernel="auto"`` means on this machine, and why."""
    return (
        "numpy",
        "less than half the time of onnxruntime for single windows, and no session to hold",
    )


class SileroVAD:
    """The loaded network: immutable, shared by all streams and threads.

    Args:
        sample_rate: 16000 Hz (windows of 512 samples) or 8000 Hz (256).
        kernel: "numpy", "onnxruntime" (the reference), or "auto" to choose.
        onnx_file: Silero VAD ONNX file to use instead of the downloaded one. "auto" falls back to
            onnxruntime when the numpy kernel does not know its weights.
        force_cpu: With "onnxruntime", whether to ignore other execution providers.

    Raises:
        ValueError: Another sample rate or kernel.
        FileNotFoundError: ``onnx_file``, or without it the downloaded model, is not there.
        WeightsError: The weights are damaged, or not those of a network the kernel knows.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        kernel: Literal["auto", "numpy", "onnxruntime"] = "auto",
        *,
        onnx_file: Path | str | None = None,
        force_cpu: bool = True,
    ) -> None:
        if sample_rate not in _RATES:
            raise ValueError("Silero VAD only supports 8KHz and 16KHz sample rates")
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        path = None if onnx_file is None else _existing(Path(onnx_file))
        self.sample_rate = sample_rate
        self.window = _RATES[sample_rate].window
        """Samples of a window."""
        self.kernel, self._network = _load(sample_rate, kernel, path, force_cpu)

    def initial_state(self) -> SileroState:
        """Return the state of a stream that has heard nothing."""
        return SileroState(
            np.zeros((2, _HIDDEN), np.float32),
            np.zeros(_RATES[self.sample_rate].context, np.float32),
        )

    def step(self, window: F32, state: SileroState) -> tuple[float, SileroState]:
        """Return P(speech) of the next window, in [0, 1], and the state after it.

        Args:
            window: float32[512] at 16 kHz, float32[256] at 8 kHz; full scale is 1.0.
            state: What the previous step returned, or :meth:`initial_state`. It is not changed.

        Raises:
            ValueError: The window has another size or dtype, or holds NaN or infinity.
        """
        if window.shape != (self.window,) or window.dtype != np.float32:
            raise ValueError(
                f"a window is float32[{self.window}] at {self.sample_rate} Hz, "
                f"got {window.dtype}{list(window.shape)}"
            )
        if len(state.context) != _RATES[self.sample_rate].context:
            raise ValueError(f"the state is not that of a stream at {self.sample_rate} Hz")
        if not math.isfinite(window @ window) and not np.isfinite(window).all():
            raise ValueError("the window holds NaN or infinity; full scale is 1.0")
        heard = np.concatenate((state.context, window))
        probability, rnn = self._network(heard, state.rnn)
        return probability, SileroState(rnn, heard[-len(state.context) :])


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"Silero VAD model file not found: {path}")
    if not path.is_file():
        raise FileNotFoundError(f"`onnx_file_path` specified is not a file: {path}")
    return path


def _load(sample_rate: int, kernel: str, path: Path | None, force_cpu: bool) -> tuple[str, Network]:
    name = choose_kernel()[0] if kernel == "auto" else kernel
    if name == "numpy":
        weights = files.weights(FILE) if path is None else arrays.read_onnx(path)
        try:
            return name, numpy_network(arrange(weights, sample_rate))
        except _UnknownNetworkError:
            if kernel != "auto" or path is None:
                raise
    return "onnxruntime", _onnx_network(path or files.path(FILE), sample_rate, force_cpu)


class _UnknownNetworkError(arrays.WeightsError):
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
_SIGMOIDS = slice(0, 3 * _HIDDEN)
"""The rows of the LSTM that end in a sigmoid; the others end in tanh."""


def arrange(constants: arrays.Arrays, sample_rate: int) -> Weights:
    """Find and arrange the network of ``sample_rate`` among the constants of a Silero file.

    Raises:
        WeightsError: No such network is there.
    """
    n = _RATES[sample_rate].fourier
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
        raise (arrays.WeightsError if known else _UnknownNetworkError)(
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
        find("decoder.decoder.2.weight", (1, _HIDDEN, 1)).reshape(_HIDDEN),
        float(find("decoder.decoder.2.bias", (1,))[0]),
    )


def _arrange_lstm(find: Callable[[str, tuple[int, ...]], F32]) -> tuple[F32, F32]:
    """Return matrix and bias of the LSTM with g last, and the other gates halved.

    torch keeps the gates as i, f, g, o. As sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, which cannot
    overflow either, one tanh then serves all four.
    """
    rows = 4 * _HIDDEN
    order = np.r_[0:256, 384:512, 256:384]
    inward = find("decoder.rnn.weight_ih", (rows, _HIDDEN))
    recurrent = find("decoder.rnn.weight_hh", (rows, _HIDDEN))
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

    def network(heard: F32, rnn: F32) -> tuple[float, F32]:
        # the sound, and its end mirrored, in four frames that overlap by half
        hops = np.concatenate((heard, heard[-2 : -hop // 2 - 2 : -1])).reshape(5, hop)
        frames = np.concatenate((hops[:-1], hops[1:]), axis=1)
        magnitudes = np.abs((frames @ weights.fourier).view(np.complex64))
        x = _layer(_three_taps(magnitudes, stride=1), *first)
        x = _layer(_three_taps(x, stride=2), *second)
        x = _layer(x.reshape(-1), *third)
        x = _layer(x, *fourth)
        rnn = _lstm(np.concatenate((x, rnn[0])), rnn[1], weights.lstm, weights.lstm_bias)
        logit = float(np.dot(np.maximum(rnn[0], 0), weights.output)) + weights.output_bias
        return 0.5 * math.tanh(0.5 * logit) + 0.5, rnn

    return network


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
    take, keep, show, new = gates.reshape(4, _HIDDEN)
    rnn = np.empty((2, _HIDDEN), np.float32)
    rnn[1] = keep * cell + take * new
    np.multiply(show, np.tanh(rnn[1]), out=rnn[0])
    return rnn


def _onnx_network(path: Path, sample_rate: int, force_cpu: bool) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    providers = ["CPUExecutionProvider"] if force_cpu else onnxruntime.get_available_providers()
    rate = np.array(sample_rate, np.int64)
    size = _RATES[sample_rate].window + _RATES[sample_rate].context
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        silence = {"input": np.zeros((1, size), np.float32), "sr": rate}
        session.run(None, {**silence, "state": np.zeros((2, 1, _HIDDEN), np.float32)})
    except Exception as error:  # onnxruntime has a dozen kinds of them, and no common base
        reason = str(error).splitlines()[0]
        raise arrays.WeightsError(
            f"{path} is no Silero VAD of {sample_rate} Hz: {reason}"
        ) from error

    def network(heard: F32, rnn: F32) -> tuple[float, F32]:
        feed = {"input": heard[None], "state": rnn[:, None], "sr": rate}
        probability, new = session.run(None, feed)
        return float(probability[0, 0]), new[:, 0]

    return network
