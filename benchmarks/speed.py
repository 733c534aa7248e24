"""What a VAD costs: CPU of a whole stream, saturated and in real time."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from livekit import rtc
from livekit.agents.vad import VAD, VADEventType, VADStream

from . import systems
from .playback import FRAME_MS, RATE, frames, recording
from .rounds import measure, measured, ratios, spread
from .settings import Settings
from .store import Store

Figures = dict[str, Any]


class Condition(NamedTuple):
    """What streams are fed with, and how."""

    rate: int
    frame_ms: int
    streams: int
    """Streams at once in real time; 0 for one stream, saturated."""

    def __str__(self) -> str:
        how = f"real time x{self.streams}" if self.streams else "saturated"
        return f"{self.rate // 1000}k/{self.frame_ms} ms, {how}"


ROOM = Condition(RATE, FRAME_MS, 0)
"""Frames as a room delivers them by default, as fast as they are heard: the headline."""
CONDITIONS = tuple(
    Condition(rate, ms, streams)
    for streams in (0, 1, 16)
    for rate, ms in ((ROOM.rate, ROOM.frame_ms), (48_000, 10))
    if (streams, ms) != (1, 10)  # a minute and a half, for what sixteen streams tell too
)
QUICK = (ROOM, Condition(RATE, FRAME_MS, 16))
"""Those of a quick run."""
NOTHING = "no VAD"
"""The frames are made and pushed nowhere: what real time costs by itself."""
LIVE_ROUNDS = 2
"""Rounds in real time, at most: they take as long as they play."""


SECONDS = 30.0
"""Of audio in a saturated turn."""
LIVE_SECONDS = 7.0
"""Of audio in a turn in real time."""


def predict(settings: Settings, store: Store) -> None:
    """Measure what every VAD costs: frames pushed, events read; in turn, A B C A B C.

    All in one process; the CPU time is that of the whole process, worker threads included.
    Saturated, the pusher waits for the events of earlier frames, so nothing piles up.
    """
    vads, missing = systems.load(systems.VADS)
    chosen = [condition for condition in CONDITIONS if not settings.quick or condition in QUICK]
    store.note(
        {
            "rounds": settings.rounds,
            "live_rounds": min(settings.rounds, LIVE_ROUNDS),
            "conditions": chosen,
            "vads": [*vads],
            "missing": missing,
        }
    )
    for condition in chosen:
        _measure(condition, vads, settings, store)


def _measure(
    condition: Condition, vads: Mapping[str, VAD], settings: Settings, store: Store
) -> None:
    length = LIVE_SECONDS if condition.streams else SECONDS
    sound = recording(settings.audio, condition.rate, length)
    audio = frames(sound, condition.rate, condition.frame_ms)
    listeners: dict[str, VAD | None] = {**_nothing(condition), **vads}

    def ask(name: str) -> Figures:
        cost, durations = asyncio.run(turn(listeners[name], audio, condition))
        return {"cpu_ms": cost, "inference_s": statistics.median(durations) if durations else None}

    count = min(settings.rounds, LIVE_ROUNDS) if condition.streams else settings.rounds
    measure(store, str(condition), listeners, count, ask, warm_up=not condition.streams)


def _nothing(condition: Condition) -> dict[str, None]:
    return {NOTHING: None} if condition.streams else {}


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return CPU milliseconds per second of audio of every VAD.

    In real time what the frames cost without a VAD, in the same round, is subtracted.
    """
    about = store.about()
    found: dict[str, Figures] = {}
    for condition in (Condition(*fields) for fields in about["conditions"]):
        names = [*_nothing(condition), *about["vads"]]
        count = about["live_rounds" if condition.streams else "rounds"]
        kept = measured(store, str(condition), names, count)
        costs = {name: [one["cpu_ms"] for one in kept[name]] for name in names}
        latencies = {name: [one["inference_s"] for one in kept[name]] for name in about["vads"]}
        found |= {f"{name}, {condition}": row for name, row in rows(costs, latencies).items()}
    return {
        "task": "vad-cpu",
        "what": "CPU ms per second of audio and stream, from frames to events",
        "rounds": about["rounds"],
        "seconds": SECONDS,
        "live_rounds": about["live_rounds"],
        "live_seconds": LIVE_SECONDS,
        "systems": found | about["missing"],
    }


def rows(
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
    figures = {
        name: {
            "cpu_ms_per_audio_s": spread(own[name]),
            "inference_us": spread([seconds * 1e6 for seconds in latencies[name]]),
            **ratios(own, name),
            **ratios(latencies, name, "inference_"),
        }
        for name in latencies
    }
    return ({NOTHING: {"cpu_ms_per_audio_s": spread(nothing)}} if nothing else {}) | figures


async def turn(
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
