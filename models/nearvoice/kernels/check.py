"""Are compiled kernels right? Each against its numpy twin, without any weights file."""

from __future__ import annotations

import ctypes

import numpy as np

from .. import gtcrn, hush
from ..filterbank import NumpyFilterbank
from ..polyphase import filtered, polyphase
from ..silero_network import F32, HIDDEN, Weights, numpy_network
from ..spectrum import Shape, Transform
from . import fused
from .gtcrn_check import random_constants
from .hush_check import in_features, random_hush
from .image import Image
from .layout import NARROW, hann

TOLERANCE = 1e-5


class WrongKernelError(ArithmeticError):
    """A compiled kernel does not compute what its twin does."""


def check(kernels: Image) -> None:
    """Run every kernel of an image.

    Raises:
        WrongKernelError: One differs from its twin by more than 1e-5.
    """
    for n in (256, 128):
        _check_network(kernels, n)
    _check_polyphase(kernels)
    _check_filterbank(kernels)
    _check_gtcrn(kernels)
    _check_hush(kernels)


def _check_network(kernels: Image, n: int) -> None:
    rng = np.random.default_rng(n)
    weights = random_weights(n, rng)
    twin, compiled = numpy_network(weights), fused.network(weights, kernels)
    memory = other = (ctypes.c_float * (2 * HIDDEN + n // 4))()
    for i in range(20):
        window = (rng.standard_normal(2 * n) * 0.1 * (i % 3)).astype(np.float32)
        expected, memory = twin(window, memory)
        got, other = compiled(window, other)
        _compare("silero", np.array([got, *other]), np.array([expected, *memory]))


def random_weights(n: int, rng: np.random.Generator) -> Weights:
    """Return random weights of a network with Fourier transforms of ``n``, exact in float16."""

    def halves(*shape: int) -> F32:
        scale = 1.5 / np.sqrt(shape[0])
        values: F32 = (rng.standard_normal(shape) * scale).astype(np.float16).astype(np.float32)
        return values

    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(n // 2 + 1)) / n
    basis = np.stack((np.cos(angles), np.sin(angles)), axis=2) * hann(n)[:, None, None]
    shapes = (
        (3 * (n // 2 + 1), HIDDEN),
        (3 * HIDDEN, NARROW),
        (2 * NARROW, NARROW),
        (NARROW, HIDDEN),
    )
    return Weights(
        basis.reshape(n, n + 2).astype(np.float32),
        tuple((halves(*shape), halves(shape[1])) for shape in shapes),
        np.ascontiguousarray(halves(2 * HIDDEN, 4 * HIDDEN).T),
        halves(4 * HIDDEN),
        halves(HIDDEN),
        0.25,
    )


def _check_hush(kernels: Image) -> None:
    rng = np.random.default_rng(0)
    weights = random_hush(rng)
    twin, compiled = hush.numpy_network(weights), fused.hush(weights, kernels)
    memory = hush.initial_memory()
    other = memory.copy()
    for i in range(24):
        spectrum = (rng.standard_normal(2 * hush.BINS) * 0.1 * (i % 4)).astype(np.float32)
        expected = twin(spectrum.view(np.complex64), memory)
        got = compiled(spectrum.view(np.complex64), other)
        _compare("hush", got.view(np.float32), expected.view(np.float32))
        _compare("hush", in_features(other), in_features(memory))


def _check_polyphase(kernels: Image) -> None:
    compiled = fused.polyphase(kernels)
    x = np.random.default_rng(0).standard_normal(2_000).astype(np.float32)
    for rates in ((24_000, 16_000), (48_000, 16_000), (8_000, 16_000), (44_100, 16_000)):
        design = polyphase(*rates)
        if design is None:
            raise WrongKernelError(f"no filter for {rates}")
        got, expected = (run(x, design, design.middle, 500) for run in (compiled, filtered))
        _compare("polyphase", got, expected)


def _check_filterbank(kernels: Image) -> None:
    rng = np.random.default_rng(0)
    shape = Shape(0.020, hush.BINS, "vorbis", 320, 1.0)
    for rate, shown in ((8_000, 81), (24_000, 161), (48_000, 81)):  # passes of every radix
        transform = Transform(shape, rate)
        twin = NumpyFilterbank(transform, hush.BINS, shown)
        compiled = fused.Filterbank(transform, hush.BINS, shown, kernels)
        for dry in (0.0, 0.25):
            frame = (rng.standard_normal(transform.size) * 0.1).astype(np.float32)
            heard, got = (bank.analyse(frame, 2.0) for bank in (twin, compiled))
            _compare("analysis", got, heard)
            left = heard * rng.random(hush.BINS).astype(np.float32)
            (expected, powers), (samples, others) = (
                bank.synthesise(left.copy(), 2.0, dry) for bank in (twin, compiled)
            )
            _compare("synthesis", samples, expected)
            ratios = [one / other for one, other in zip(others, powers, strict=True)]
            _compare("synthesis", np.array(ratios, np.float32), np.ones(2, np.float32))


def _check_gtcrn(kernels: Image) -> None:
    rng = np.random.default_rng(0)
    weights = gtcrn.arrange(random_constants(0))
    twin, compiled = gtcrn.numpy_network(weights), fused.gtcrn(weights, kernels)
    memory, other = gtcrn.initial_memory(), gtcrn.initial_memory()
    for i in range(24):
        parts = rng.standard_normal((2, gtcrn.BINS)) * 0.5 * (i % 4)
        spectrum = (parts[0] + 1j * parts[1]).astype(np.complex64)
        _compare("gtcrn", compiled(spectrum, other), twin(spectrum, memory))
        _compare("gtcrn", other, memory)


def _compare(kernel: str, got: F32 | gtcrn.C64, expected: F32 | gtcrn.C64) -> None:
    with np.errstate(invalid="ignore", over="ignore"):  # a wrong kernel may leave any bits
        difference = float(np.abs(got - expected).max())
    if not difference <= TOLERANCE:  # NaN is wrong too
        raise WrongKernelError(f"{kernel} differs from its numpy twin by {difference:.2g}")
