"""The hot paths, run under callgrind: ``python -m benchmarks.guard_paths REPEAT``.

Instructions are counted between two requests to valgrind, so nothing of the start of Python is in
them. The compiled kernels are those for AVX2, which valgrind knows and every machine has made.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np

from nearvoice import Denoiser
from nearvoice.audio import to_float32, to_int16
from nearvoice.kernels import image
from nearvoice.resample import Resampler
from nearvoice.silero import SileroVAD

LEVEL = "x86-64-v3"
WARM_UP = 40
"""Calls before those that are counted: Python specialises its code in them."""
_TOOL = ord("C") << 24 | ord("T") << 16
_DUMP, _ZERO, _START, _STOP = _TOOL, _TOOL + 1, _TOOL + 4, _TOOL + 5
"""Requests of callgrind.h."""
_CODE = bytes.fromhex("4889f831d248c1c70348c1c70d48c1c73d48c1c7334887db4889d0c3")
"""A request of valgrind.h for x86-64, as a function of one pointer; nothing happens without it."""

Call = Callable[[], object]


class Path(NamedTuple):
    """Something that runs all the time in a call."""

    make: Callable[[], Call]
    packages: tuple[str, ...]
    """Whose versions its count depends on, beside Python's and valgrind's."""


def _noise(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(count) * 0.1).astype(np.float32)


def _silero(kernel: str, rate: int) -> Callable[[], Call]:
    def make() -> Call:
        model = SileroVAD(rate, kernel)  # type: ignore[arg-type]
        assert model.kernel == kernel
        window, state = _noise(model.window), model.initial_state()

        def call() -> None:
            nonlocal state
            _, state = model.step(window, state)

        return call

    return make


def _denoiser(name: str, hop: int) -> Callable[[], Call]:
    def make() -> Call:
        denoiser = Denoiser(name, 16_000, kernel="numba", bypass=False, chunk=hop)
        chunk = _noise(hop)
        return lambda: denoiser.process(chunk)

    return make


def _resampler() -> Call:
    resampler = Resampler(24_000, 16_000, kernel="numba")
    frame = _noise(1_200)
    return lambda: resampler.push(frame)


def _conversion() -> Call:
    frame = to_int16(_noise(1_200))
    return lambda: to_int16(to_float32(frame))


_COMPILED = ("numba", "llvmlite", "numpy")
PATHS = {
    "Silero, compiled, a window at 16 kHz": Path(_silero("numba", 16_000), _COMPILED),
    "Silero, compiled, a window at 8 kHz": Path(_silero("numba", 8_000), _COMPILED),
    "Silero, numpy, a window at 16 kHz": Path(_silero("numpy", 16_000), ("numpy",)),
    "NC (GTCRN), 16 ms": Path(_denoiser("gtcrn", 256), _COMPILED),
    "BVC (Hush), 10 ms": Path(_denoiser("hush", 160), _COMPILED),
    "24 to 16 kHz, 50 ms": Path(_resampler, _COMPILED),
    "int16 to float32 and back, 50 ms": Path(_conversion, ("numpy",)),
}
"""Name -> what is counted."""


def main() -> None:
    """Run every path, and have callgrind write a file after each."""
    repeat = int(sys.argv[1])
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    request = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(address)

    def ask(what: int) -> None:
        arguments = (ctypes.c_size_t * 6)(what)
        request(ctypes.addressof(arguments))

    with mock.patch.object(image, "levels", return_value=[LEVEL]):
        calls = {name: path.make() for name, path in PATHS.items()}
        for call in calls.values():
            for _ in range(WARM_UP):
                call()
            ask(_START)
            ask(_ZERO)
            for _ in range(repeat):
                call()
            ask(_DUMP)
            ask(_STOP)


if __name__ == "__main__":
    main()
