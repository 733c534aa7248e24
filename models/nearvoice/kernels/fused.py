"""The compiled kernels as functions on numpy arrays."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..audio import Samples
from ..filterbank import Powers
from ..gtcrn import Network as GtcrnNetwork
from ..gtcrn import Weights as GtcrnWeights
from ..gtcrn import check as check_gtcrn
from ..hush import Network as HushNetwork
from ..hush import Weights as HushWeights
from ..hush_features import BINS, C64, check_memory, check_spectrum
from ..polyphase import Filter, Polyphase
from ..silero_network import F32, HIDDEN, Memory, Network, UnknownNetworkError, Weights
from ..spectrum import Spectrum, Transform
from . import filterbank_layout, gtcrn_layout, hush_layout, image
from .layout import TILES, Halves, Layout, blocks, folded_fourier, hann

_POINTER = ctypes.c_void_p
_SILERO = ctypes.PYFUNCTYPE(ctypes.c_float, *[_POINTER] * 5)
_HUSH = ctypes.PYFUNCTYPE(ctypes.c_float, *[_POINTER] * 5)
_GTCRN = ctypes.PYFUNCTYPE(ctypes.c_float, *[_POINTER] * 4)
_FILTERBANK = ctypes.PYFUNCTYPE(ctypes.c_float, *[_POINTER] * 5)
_POLYPHASE = ctypes.PYFUNCTYPE(ctypes.c_float, *[_POINTER] * 3, *[ctypes.c_int64] * 5)
_FIRST: Any = ctypes.c_char.from_buffer
"""Gives the address of an array's first byte in a fifth of the time of its ``ctypes.data``."""


def network(weights: Weights, kernels: image.Image) -> Network:
    """Return the compiled network with these weights; it may be called from any thread.

    Raises:
        UnknownNetworkError: Its first layer is not a Fourier transform with a Hann window.
    """
    layout = Layout(weights.fourier.shape[0], TILES[kernels.level])
    floats, halves = pack(weights, layout)
    call = _SILERO(kernels.functions[f"silero_{16_000 * layout.n // 256}"])
    w, h = floats.ctypes.data, halves.ctypes.data
    memory_of = ctypes.c_float * (2 * HIDDEN + layout.n // 4)
    address, first = ctypes.addressof, _FIRST

    def run(window: F32, memory: Memory) -> tuple[float, Memory]:
        new = memory_of()
        if not window.flags.carray:
            window = np.array(window)
        logit = call(address(first(window)), memory, new, w, h)
        return 0.5 * math.tanh(0.5 * logit) + 0.5, new

    run.__dict__["weights"] = floats, halves, kernels  # what the addresses point into
    return run


def hush(weights: HushWeights, kernels: image.Image) -> HushNetwork:
    """Return the compiled twin of :func:`nearvoice.hush.numpy_network`, for any thread.

    Raises:
        ValueError: The weights were not quantised.
    """
    packed = hush_layout.pack(weights, kernels.level)
    floats, matrices = _aligned(packed.floats), _aligned(packed.bytes)
    call = _HUSH(kernels.functions["hush"])
    w, b = floats.ctypes.data, matrices.ctypes.data
    address, first = ctypes.addressof, _FIRST

    def run(spectrum: C64, memory: F32) -> C64:
        check_spectrum(spectrum)
        check_memory(memory)
        if not spectrum.flags.carray:
            spectrum = np.array(spectrum)
        enhanced = np.empty(BINS, np.complex64)
        call(address(first(spectrum)), address(first(enhanced)), address(first(memory)), w, b)
        return enhanced

    run.__dict__["weights"] = floats, matrices, kernels  # what the addresses point into
    return run


def polyphase(kernels: image.Image) -> Filter:
    """Return the compiled twin of :func:`nearvoice.polyphase.filtered`."""
    call = _POLYPHASE(kernels.functions["polyphase"])
    address, first = ctypes.addressof, _FIRST

    def run(x: F32, design: Polyphase, phase: int, count: int) -> F32:
        y = np.empty(count, np.float32)
        if count:
            taps, (up, length) = design.taps, design.taps.shape
            pointers = address(first(x)), address(first(taps)), address(first(y))
            call(*pointers, length, up, design.down, phase, count)
        return y

    run.__dict__["kernels"] = kernels
    return run


def gtcrn(weights: GtcrnWeights, kernels: image.Image) -> GtcrnNetwork:
    """Return the compiled twin of :func:`nearvoice.gtcrn.numpy_network`."""
    call = _GTCRN(kernels.functions["gtcrn"])
    floats = _aligned(gtcrn_layout.pack(weights))
    w = floats.ctypes.data
    address, first = ctypes.addressof, _FIRST

    def run(spectrum: C64, memory: F32) -> C64:
        check_gtcrn(spectrum, memory)
        if not spectrum.flags.carray:
            spectrum = np.array(spectrum)
        enhanced = np.empty_like(spectrum)
        call(address(first(spectrum)), address(first(enhanced)), address(first(memory)), w)
        return enhanced

    run.__dict__["weights"] = floats, kernels  # what the addresses point into
    return run


class Filterbank:
    """The compiled twin of :class:`nearvoice.filterbank.NumpyFilterbank`, for one stream.

    Args:
        transform: At the rate of the sound.
        bins: Of the network.
        shown: How many bins of the transform the network hears.
        kernels: The image.

    Raises:
        ValueError: There is no compiled transform of this size.
    """

    def __init__(self, transform: Transform, bins: int, shown: int, kernels: image.Image) -> None:
        plan = filterbank_layout.plan(transform, bins, shown)
        self._analysis, self._synthesis = (
            _FILTERBANK(kernels.functions[name]) for name in ("analysis", "synthesis")
        )
        self._size = transform.size
        self._heard: Spectrum = np.zeros(bins, np.complex64)
        self._numbers = (ctypes.c_float * 4)()
        self._spectrum: Spectrum = np.zeros(transform.hop + 1, np.complex64)
        self._made_of = transform, bins, shown, kernels
        self._plan = plan  # what an address points into
        self._plan_at = plan.ctypes.data
        self._spectrum_at, self._heard_at = self._spectrum.ctypes.data, self._heard.ctypes.data

    def __deepcopy__(self, _memo: object) -> Filterbank:
        """Return another: nothing is kept from hop to hop, and addresses cannot be copied."""
        return Filterbank(*self._made_of)

    def analyse(self, frame: Samples, gain: float) -> Spectrum:
        """Return what the network hears, see :class:`nearvoice.filterbank.Filterbank`."""
        self._numbers[0] = gain
        frame_at = ctypes.addressof(_FIRST(frame))
        self._analysis(frame_at, self._spectrum_at, self._heard_at, self._numbers, self._plan_at)
        return self._heard

    def synthesise(self, enhanced: Spectrum, gain: float, dry: float) -> tuple[Samples, Powers]:
        """Return the frame that comes out, see :class:`nearvoice.filterbank.Filterbank`."""
        numbers = self._numbers
        numbers[0], numbers[1] = gain, dry
        frame = np.empty(self._size, np.float32)
        enhanced_at, frame_at = ctypes.addressof(_FIRST(enhanced)), ctypes.addressof(_FIRST(frame))
        self._synthesis(self._spectrum_at, enhanced_at, frame_at, numbers, self._plan_at)
        return frame, Powers(numbers[2], numbers[3])


def pack(weights: Weights, layout: Layout) -> tuple[F32, Halves]:
    """Return the weights in the order of ``layout``: float32, and the bits of float16.

    Raises:
        UnknownNetworkError: The first layer is not a Fourier transform with a Hann window.
    """
    _check_basis(weights.fourier)
    tiles = layout.tiles
    (first, b1), (second, b2), (third, b3), (fourth, b4) = weights.convolutions
    fourier = [blocks(part, layout.fourier_width) for part in folded_fourier(layout.n)]
    biases = (b1, b2, b3, b4, weights.lstm_bias, weights.output, [weights.output_bias])
    floats = np.concatenate([hann(layout.n), np.zeros(layout.quarter), *fourier, *biases])
    matrices = (
        *((tap, tiles.width) for tap in np.split(first, 3)),
        (second, tiles.pair_width),
        (third, layout.narrow_single),
        (fourth, tiles.single),
        (weights.lstm.T, tiles.single),
    )
    halves = np.concatenate([blocks(matrix, width) for matrix, width in matrices])
    return _aligned(floats.astype(np.float32)), _aligned(halves.astype(np.float16).view(np.uint16))


def _check_basis(basis: F32) -> None:
    n = len(basis)
    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(n // 2 + 1)) / n
    exact = np.stack((np.cos(angles), -np.sin(angles)), axis=2) * hann(n)[:, None, None]
    # the sign of the sines does not matter: magnitudes follow
    if np.abs(np.abs(basis) - np.abs(exact.reshape(n, -1))).max() > 1e-6:
        raise UnknownNetworkError("the first layer is no Fourier transform with a Hann window")


def _aligned(values: npt.NDArray) -> npt.NDArray:  # type: ignore[type-arg]
    """Return a copy that begins at a multiple of 64 bytes, a line of the processor's cache."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(values.dtype)
    copy[:] = values
    return copy
