"""GTCRN, a small network that suppresses noise: one spectrum in, the enhanced one out.

Rong, Sun, Zhang, Hu, Zhu, Lu: "GTCRN: A Speech Enhancement Model Requiring Ultralow Computational
Resources", ICASSP 2024. The network is that of Xiaobin-Rong/gtcrn at commit
3862c44808dca492ea5a8a145d2dc2a1028d08c8 (``stream/onnx_models/gtcrn_simple.onnx``, MIT), trained on
DNS-Challenge 3. A spectrum is ``rfft(window * frame) * (512 / N)``, bins 31.25 Hz apart, with a
window of 32 ms, the square root of the periodic Hann window, that moves by 16 ms.

Above 2 kHz the bins are gathered in bands. Two strided convolutions halve the frequencies twice;
three blocks look back in time by convolution; two pairs of recurrent layers run along frequency and
along time; then the same in reverse order. The result is a complex mask.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import arrays, onnx_session
from .gtcrn_weights import (
    CHANNELS,
    F32,
    FREQUENCIES,
    HALF,
    PLAIN,
    Block,
    Dual,
    Gru,
    Weights,
    arrange,
)

__all__ = [
    "BINS", "C64", "F32", "FILE", "MEMORY", "Network", "Weights", "arrange", "initial_memory",
    "numpy_network", "onnx_network",
]  # fmt: skip

C64 = npt.NDArray[np.complex64]
Network = Callable[[C64, F32], C64]
"""(spectrum complex64[BINS], memory float32[MEMORY]) -> enhanced complex64[BINS], a new array. The
memory is changed in place, the spectrum is not."""

FILE = "gtcrn.onnx"
"""Name in the manifest."""
BINS = 257
_CACHES = ((2, 1, 16, 16, 33), (2, 3, 1, 1, 16), (2, 1, 33, 16))
"""Shapes in ONNX: past frames of the blocks, states of the attention, of the layers along time."""
_SIZES = [int(np.prod(shape)) for shape in _CACHES]
MEMORY = sum(_SIZES)
"""Floats that a stream remembers."""
_PAST = ((0, 0, 2), (0, 2, 6), (0, 6, 16), (1, 6, 16), (1, 2, 6), (1, 0, 2))


def initial_memory() -> F32:
    """Return the memory of a stream that has heard nothing, float32[MEMORY]."""
    return np.zeros(MEMORY, np.float32)


def check(spectrum: C64, memory: F32) -> None:
    """Raise ValueError for what is not complex64[BINS] and a contiguous float32[MEMORY]."""
    if spectrum.shape != (BINS,) or spectrum.dtype != np.complex64:
        raise ValueError(
            f"a spectrum of GTCRN is complex64[{BINS}], got {spectrum.dtype}{list(spectrum.shape)}"
        )
    if memory.shape != (MEMORY,) or memory.dtype != np.float32 or not memory.flags.c_contiguous:
        raise ValueError(
            f"a memory of GTCRN is a contiguous float32[{MEMORY}], "
            f"got {memory.dtype}{list(memory.shape)}"
        )


def split(memory: F32) -> tuple[F32, F32, F32]:
    """Return views of a memory.

    Returns:
        Past frames of the blocks [2, 16, 16, 33] (encoders or decoders, channel, time, frequency),
        states of the attention [2, 3, 16], and of the layers along time [2, 33, 16].
    """
    frames, attention, over = np.split(memory, np.cumsum(_SIZES)[:-1])
    return frames.reshape(2, 16, 16, 33), attention.reshape(2, 3, 16), over.reshape(2, 33, 16)


def past(frames: F32, block: int) -> F32:
    """Return the view of one block's past frames, [16, 2 dilations, 33].

    Encoders are 0 to 2, with dilations 1, 2, 5; decoders are 3 to 5, with these in reverse order.
    """
    decodes, start, end = _PAST[block]
    return frames[decodes, :, start:end]


def numpy_network(weights: Weights) -> Network:
    """Return the network as array arithmetic: the clear twin of every faster kernel."""
    (down_0, down_1), (up_0, up_1) = weights.down, weights.up

    def network(spectrum: C64, memory: F32) -> C64:
        check(spectrum, memory)
        frames, attention, over = split(memory)
        x = _three_neighbours(_bands(spectrum, weights.gather))
        outputs = [_down(x, *down_0, groups=1)]
        outputs.append(_down(outputs[-1], *down_1, groups=2))
        for i in (0, 1, 2):
            old = past(frames, i)
            outputs.append(_block(outputs[-1], old, attention[0, i], weights.blocks[i]))
        y = np.ascontiguousarray(outputs[-1].T)
        for dual, hidden in zip(weights.duals, over, strict=True):
            y = _along_frequency(y, dual)
            y = _over_time(y, hidden, dual)
        x = y.T
        for i in (3, 4, 5):
            old = past(frames, i)
            x = _block(x + outputs.pop(), old, attention[1, i - 3], weights.blocks[i])
        x = _prelu(_up(x + outputs.pop(), *up_0, groups=2), weights.up_slope)
        mask = np.tanh(_up(x + outputs.pop(), *up_1, groups=1))
        real, imaginary = np.concatenate((mask[:, :PLAIN], mask[:, PLAIN:] @ weights.spread), 1)
        complex_mask = real + np.complex64(1j) * imaginary
        enhanced: C64 = spectrum * complex_mask
        return enhanced

    return network


def _bands(spectrum: C64, gather: F32) -> F32:
    """Return magnitude, real and imaginary part in bands, float32[3, 129]."""
    real, imaginary = spectrum.real, spectrum.imag
    magnitude = np.sqrt(real * real + imaginary * imaginary + np.float32(1e-12))
    bins = np.stack((magnitude, real, imaginary))
    return np.concatenate((bins[:, :PLAIN], bins[:, PLAIN:] @ gather), axis=1)


def _three_neighbours(x: F32) -> F32:
    """Put each frequency between its neighbours, zero beyond the ends: [n, f] -> [3 n, f]."""
    count, width = x.shape
    y = np.zeros((count, 3, width), np.float32)
    y[:, 0, 1:], y[:, 1], y[:, 2, :-1] = x[:, :-1], x, x[:, 1:]
    return y.reshape(3 * count, width)


def _down(x: F32, taps: F32, bias: F32, slope: F32, groups: int) -> F32:
    """Convolve every second frequency with its two neighbours on both sides: f -> (f + 1) / 2."""
    padded = np.pad(x, ((0, 0), (2, 2)))
    strided = [padded[:, k : k + x.shape[1] : 2] for k in range(5)]
    heard = np.stack(strided, axis=1).reshape(groups, -1, len(strided[0][0]))
    y = taps.reshape(groups, CHANNELS // groups, -1) @ heard
    return _prelu(y.reshape(CHANNELS, -1) + bias[:, None], slope)


def _up(x: F32, taps: F32, bias: F32, groups: int) -> F32:
    """Undo the shape of :func:`_down`: every frequency goes to five, f -> 2 f - 1."""
    width = 2 * x.shape[1] - 1
    matrices = taps.reshape(groups, CHANNELS // groups, -1).transpose(0, 2, 1)
    parts = (matrices @ x.reshape(groups, CHANNELS // groups, -1)).reshape(len(bias), 5, -1)
    y = np.zeros((len(bias), width + 4), np.float32)
    for k in range(5):
        y[:, k : k + width : 2] += parts[:, k]
    return y[:, 2:-2] + bias[:, None]


def _block(x: F32, old: F32, attention: F32, weights: Block) -> F32:
    """Transform the first eight channels, and shuffle them with the others; [16, 33] both.

    ``old`` and ``attention`` are changed.
    """
    heard = _three_neighbours(x[:HALF])
    y = _prelu(weights.first @ heard + weights.first_bias[:, None], weights.first_slope)
    y = _prelu(_depthwise(y, old, weights), weights.depth_slope)
    y = weights.last @ y + weights.last_bias[:, None]
    energy = np.mean(y * y, axis=1)
    attention[:] = _gru(energy @ weights.attention.inward, attention, weights.attention)
    gain = _sigmoid(attention @ weights.gain + weights.gain_bias)
    return np.stack((y * gain[:, None], x[HALF:]), axis=1).reshape(CHANNELS, FREQUENCIES)


def _depthwise(x: F32, old: F32, weights: Block) -> F32:
    """Convolve each channel with its past and its neighbouring frequencies; [16, 33] both."""
    frames = np.concatenate((old, x[:, None]), axis=1)
    old[:] = frames[:, 1:]
    padded = np.pad(frames[:, :: old.shape[1] // 2], ((0, 0), (0, 0), (1, 1)))
    y = np.repeat(weights.depth_bias[:, None], FREQUENCIES, axis=1)
    for k in range(3):
        y += (weights.depth[:, :, k, None] * padded[:, :, k : k + FREQUENCIES]).sum(axis=1)
    return y


def _along_frequency(x: F32, weights: Dual) -> F32:
    """Run the four networks over the frequencies, two of them downwards; [33, 16] both."""
    gates = x @ weights.along.inward
    by_network = gates.reshape(FREQUENCIES, 3, 2, 2, 4)
    by_network[:, :, :, 1] = by_network[::-1, :, :, 1].copy()
    y = np.empty((FREQUENCIES, CHANNELS), np.float32)
    hidden = np.zeros(CHANNELS, np.float32)
    for i, row in enumerate(gates):
        hidden = y[i] = _gru(row, hidden, weights.along)
    by_network = y.reshape(FREQUENCIES, 2, 2, 4)
    by_network[:, :, 1] = by_network[::-1, :, 1].copy()
    y = y @ weights.along_layer + weights.along_bias
    return x + _normalised(y, weights.along_scale, weights.along_shift)


def _over_time(x: F32, hidden: F32, weights: Dual) -> F32:
    """Run one step of the layers along time, for every frequency; ``hidden`` is changed."""
    hidden[:] = _gru(x @ weights.over.inward, hidden, weights.over)
    y = hidden @ weights.over_layer + weights.over_bias
    return x + _normalised(y, weights.over_scale, weights.over_shift)


def _gru(inward: F32, hidden: F32, weights: Gru) -> F32:
    """Return the units after ``inward``, what comes from below, without bias: [..., 3 n] -> n."""
    n = hidden.shape[-1]
    inward = inward + weights.inward_bias
    recurrent = hidden @ weights.recurrent + weights.recurrent_bias
    update, reset = np.split(inward[..., : 2 * n] + recurrent[..., : 2 * n], 2, axis=-1)
    candidate = np.tanh(inward[..., 2 * n :] + _sigmoid(reset) * recurrent[..., 2 * n :])
    # some units of the attention hardly move for minutes: what is taken of the new must be right
    # to the last bit, which 1 - sigmoid(update) is not
    taken = 1 / (1 + np.exp(np.minimum(update, np.float32(80))))
    new: F32 = hidden + taken * (candidate - hidden)
    return new


def _normalised(x: F32, scale: F32, shift: F32) -> F32:
    """Normalise over channels and frequencies together."""
    x = x - x.mean()
    y: F32 = x / np.sqrt(np.mean(x * x) + np.float32(1e-8)) * scale + shift
    return y


def _prelu(x: F32, slope: F32) -> F32:
    y: F32 = np.where(x < 0, slope * x, x)
    return y


def _sigmoid(x: F32) -> F32:
    y: F32 = np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5)
    return y


def onnx_network(path: Path) -> Network:
    """Return the network as onnxruntime runs it, the reference; one session serves all streams.

    Raises:
        WeightsError: The file is not GTCRN.
    """
    onnxruntime = onnx_session.runtime()
    options = onnx_session.options()
    names = ("conv_cache", "tra_cache", "inter_cache")
    ends = np.cumsum(_SIZES)[:-1]

    def run(spectrum: C64, memory: F32) -> C64:
        check(spectrum, memory)
        caches = [
            part.reshape(shape) for part, shape in zip(np.split(memory, ends), _CACHES, strict=True)
        ]
        mix = np.ascontiguousarray(spectrum).view(np.float32).reshape(1, BINS, 1, 2)
        enhanced, *new = session.run(None, {"mix": mix, **dict(zip(names, caches, strict=True))})
        for cache, after in zip(caches, new, strict=True):
            cache[:] = after
        return np.ascontiguousarray(enhanced).reshape(-1).view(np.complex64)

    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        run(np.zeros(BINS, np.complex64), initial_memory())
    except Exception as error:  # onnxruntime has a dozen kinds of them, and no common base
        reason = str(error).splitlines()[0]
        raise arrays.WeightsError(f"{path} is no GTCRN: {reason}") from error
    return run
