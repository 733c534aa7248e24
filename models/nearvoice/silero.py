"""Silero VAD v6: one window of sound in, one speech probability out, for any number of streams.

The network is that of snakers4/silero-vad at commit 806dcba3f0b5d95282d0889a074954a2f8c6397b
(``src/silero_vad/data/silero_vad.onnx``, MIT): a Hann-windowed Fourier transform as a matrix, four
convolutions, an LSTM cell, one sigmoid. Its 16 kHz and 8 kHz halves share nothing but the shape.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from . import arrays, files, onnx_session
from .kernels import build, fused, image
from .silero_network import (
    F32,
    HIDDEN,
    RATES,
    Memory,
    Network,
    UnknownNetworkError,
    Weights,
    arrange,
    is_finite,
    join,
    numpy_network,
    split,
)

KERNELS = ("auto", "numba", "numpy", "onnxruntime")
FILE = "silero_vad.onnx"
"""Name in the manifest."""

_CACHED = 8
"""Networks of the downloaded weights that a process keeps: two rates, two kernels, two caches."""

logger = logging.getLogger(__name__)


class SileroState(NamedTuple):
    """All that one stream remembers between windows: a plain value, safe to keep and to share."""

    memory: Memory
    """``rnn`` and ``context`` in a row: 320 floats at 16 kHz, 288 at 8 kHz."""

    @property
    def rnn(self) -> F32:
        """LSTM hidden and cell state, float32[2, 128]."""
        return split(self.memory)[0]

    @property
    def context(self) -> F32:
        """End of the previous window, float32[64] at 16 kHz and float32[32] at 8 kHz."""
        return split(self.memory)[1]

    def __reduce__(self) -> tuple[Callable[[bytes], SileroState], tuple[bytes]]:
        """Let a state be pickled, which an array of ctypes cannot."""
        return _restored, (bytes(self.memory),)


def _restored(memory: bytes) -> SileroState:
    return SileroState((ctypes.c_float * (len(memory) // 4)).from_buffer_copy(memory))


def choose_kernel() -> tuple[str, str]:
    """Return the kernel that ``kernel="auto"`` means on this machine, and why."""
    try:
        kernels = image.find()
    except image.ImageError as error:
        return "numpy", f"half the time of onnxruntime; {error}"
    return "numba", f"compiled for {kernels.level}, mapped from {kernels.path}"


class SileroVAD:
    """The loaded network: immutable, shared by all streams and threads.

    Args:
        sample_rate: 16000 Hz (windows of 512 samples) or 8000 Hz (256).
        kernel: "numba" (compiled, see :mod:`nearvoice.kernels`), "numpy", "onnxruntime" (the
            reference), or "auto" to choose: "numba" where it has been compiled, else "numpy".
            "numba" before it has been compiled works with numpy, compiles in another process, and
            changes over between two windows when that is done; :attr:`kernel` tells.
        onnx_file: Silero VAD ONNX file to use instead of the downloaded one. "auto" falls back to
            onnxruntime when the other kernels do not know its weights.
        force_cpu: With "onnxruntime", whether to ignore other execution providers.

    Raises:
        ValueError: Another sample rate or kernel.
        FileNotFoundError: ``onnx_file``, or without it the downloaded model, is not there.
        WeightsError: The weights are damaged, or not those of a network the kernel knows.
        nearvoice.kernels.image.ImageError: ``kernel="numba"`` cannot run on this machine.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        kernel: Literal["auto", "numba", "numpy", "onnxruntime"] = "auto",
        *,
        onnx_file: Path | str | None = None,
        force_cpu: bool = True,
    ) -> None:
        if sample_rate not in RATES:
            raise ValueError("Silero VAD only supports 8KHz and 16KHz sample rates")
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        path = None if onnx_file is None else _existing(Path(onnx_file))
        self.sample_rate = sample_rate
        self.window = RATES[sample_rate].window
        """Samples of a window."""
        self._remembered = 2 * HIDDEN + RATES[sample_rate].context
        self.kernel, self._network = _load(sample_rate, kernel, path, force_cpu)
        """What runs the network now: "numba", "numpy" or "onnxruntime"."""
        if kernel == "numba" and self.kernel != "numba":
            threading.Thread(target=self._compile, args=(path,), daemon=True).start()

    def _compile(self, path: Path | None) -> None:
        """Compile in another process, then take the compiled kernel; streams do not notice."""
        try:
            build.build(image.levels()[0])
            self._network = _network("numba", self.sample_rate, path)
        except (OSError, arrays.WeightsError) as error:
            logger.warning("Silero VAD goes on with numpy, as %s", error)
        else:
            self.kernel = "numba"

    def initial_state(self) -> SileroState:
        """Return the state of a stream that has heard nothing."""
        return SileroState((ctypes.c_float * self._remembered)())

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
        if len(state.memory) != self._remembered:
            raise ValueError(f"the state is not that of a stream at {self.sample_rate} Hz")
        probability, memory = self._network(window, state.memory)
        if probability != probability:
            raise ValueError(
                "the window holds NaN or infinity, or is far beyond full scale, which is 1.0"
            )
        return probability, SileroState(memory)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"Silero VAD model file not found: {path}")
    if not path.is_file():
        raise FileNotFoundError(f"`onnx_file_path` specified is not a file: {path}")
    return path


def _load(sample_rate: int, kernel: str, path: Path | None, force_cpu: bool) -> tuple[str, Network]:
    for name in _candidates(kernel):
        try:
            return name, _network(name, sample_rate, path)
        except UnknownNetworkError:
            if kernel != "auto" or path is None:
                raise
    return "onnxruntime", _onnx_network(path or files.path(FILE), sample_rate, force_cpu)


def _candidates(kernel: str) -> list[str]:
    """Return the kernels to try before onnxruntime, in order."""
    if kernel == "auto":
        chosen, reason = choose_kernel()
        if chosen == "numpy" and image.exists():
            _warn(f"Silero VAD runs in numpy, {reason}")
        return list(dict.fromkeys((chosen, "numpy")))
    if kernel == "numba" and not _is_compiled():
        return ["numpy"]
    return [] if kernel == "onnxruntime" else [kernel]


@functools.cache
def _warn(message: str) -> None:
    """Log a warning, once in a process."""
    logger.warning(message)


def _is_compiled() -> bool:
    if (reason := image.unsupported()) is not None:
        raise image.ImageError(f'{reason}: use kernel="auto"')
    if image.exists():
        image.find()
        return True
    return False


def _network(name: str, sample_rate: int, path: Path | None) -> Network:
    if path is None:
        return _downloaded(name, sample_rate)
    return _arranged(name, arrange(arrays.read_onnx(path), sample_rate))


def _downloaded(name: str, sample_rate: int) -> Network:
    compiled = image.find().path if name == "numba" else None
    return _shared(name, sample_rate, files.settings(), compiled)


@functools.lru_cache(maxsize=_CACHED)
def _shared(
    name: str, sample_rate: int, _settings: tuple[str | None, ...], _image: Path | None
) -> Network:
    return _arranged(name, arrange(files.weights(FILE), sample_rate))


def _arranged(name: str, weights: Weights) -> Network:
    return fused.network(weights, image.find()) if name == "numba" else numpy_network(weights)


def _onnx_network(path: Path, sample_rate: int, force_cpu: bool) -> Network:
    onnxruntime = onnx_session.runtime()
    options = onnx_session.options()
    providers = ["CPUExecutionProvider"] if force_cpu else onnxruntime.get_available_providers()
    rate = np.array(sample_rate, np.int64)
    context = RATES[sample_rate].context
    size = RATES[sample_rate].window + context
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        silence = {"input": np.zeros((1, size), np.float32), "sr": rate}
        session.run(None, {**silence, "state": np.zeros((2, 1, HIDDEN), np.float32)})
    except Exception as error:  # onnxruntime has a dozen kinds of them, and no common base
        reason = str(error).splitlines()[0]
        raise arrays.WeightsError(
            f"{path} is no Silero VAD of {sample_rate} Hz: {reason}"
        ) from error

    def network(window: F32, memory: Memory) -> tuple[float, Memory]:
        if not is_finite(window):
            return math.nan, memory
        rnn, before = split(memory)
        heard = np.concatenate((before, window))
        feed = {"input": heard[None], "state": rnn[:, None], "sr": rate}
        probability, new = session.run(None, feed)
        return float(probability[0, 0]), join(new, heard[-context:])

    return network
