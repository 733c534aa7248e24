"""Long calls: four hours of one stream, and half an hour of sixteen in real time.

Every minute of sound is the same, so that every minute must give the same: events, probabilities,
sound, and memory, descriptors, threads and tasks of the process.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from livekit import rtc
from livekit.agents import llm
from livekit.agents.vad import VADEventType

from nearvoice.audio import PCM

from . import noise_cpu, proc, systems
from .playback import FRAME_MS, RATE, frames, recording
from .progress import track
from .settings import Settings
from .show import Columns, table
from .store import Store

SPOKEN, SILENT = 45, 15
"""Seconds of a minute: a noisy call, and digital silence."""
MINUTE = SPOKEN + SILENT
MINUTES, LIVE_MINUTES, STREAMS = 240, 30, 16
QUICK_MINUTES, QUICK_LIVE_MINUTES, QUICK_STREAMS = 6, 0.25, 4
FAST, LIVE = "4 hours, as fast as it goes", "30 minutes of 16 streams, in real time"
RESOURCES = ("unique_mib", "descriptors", "threads", "tasks")
_STEP = FRAME_MS / 1e3
_WINDOW = 0.032


class Heard(NamedTuple):
    """What a minute of a stream gave."""

    events: tuple[tuple[str, float], ...]
    """START and END, seconds from the minute's begin."""
    probabilities: list[float]
    """Of each window."""
    sound: bytes
    """What noise suppression made of it: int16."""

    def furthest(self, other: Heard) -> tuple[float, int]:
        """Return by how much probabilities and samples of two minutes differ, at most."""
        count = min(len(self.probabilities), len(other.probabilities))
        apart = np.subtract(self.probabilities[:count], other.probabilities[:count])
        ours, theirs = (np.frombuffer(one.sound, np.int16).astype(int) for one in (self, other))
        return float(np.abs(apart).max()), int(np.abs(ours - theirs).max())


class Stream:
    """VAD, noise suppression and turn detector of one caller.

    Args:
        vad: Shared by streams.
        detector: Asked at each end of speech.
        noise: A frame processor of its own.
    """

    def __init__(self, vad: Any, detector: Any, noise: Any) -> None:  # noqa: ANN401 - of plugins
        self._detector, self._noise = detector, noise
        self._stream = vad.stream()
        self._chat = llm.ChatContext.empty()
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._minute = 0
        self.windows = 0
        self.predictions = 0
        self.last = 0.0
        """Timestamp of the newest window, in seconds."""
        self._begin()

    def _begin(self) -> None:
        self._events: list[tuple[str, float]] = []
        self._probabilities: list[float] = []
        self._sound: list[bytes] = []

    async def _read(self) -> None:
        async for event in self._stream:
            if event.type is VADEventType.INFERENCE_DONE:
                self.windows += 1
                self.last = event.timestamp
                self._probabilities.append(event.probability)
                self._news.set()
                continue
            at = round(event.timestamp - MINUTE * self._minute, 6)
            self._events.append((event.type.value, at))
            if event.type is VADEventType.END_OF_SPEECH:
                await self._ask()

    async def _ask(self) -> None:
        self._chat.add_message(role="user", content="and then i would like to know")
        await self._detector.predict_end_of_turn(self._chat)
        self.predictions += 1
        self._chat.truncate(max_items=6)

    def push(self, frame: rtc.AudioFrame) -> None:
        """Hear a frame."""
        clean = self._noise._process(frame)
        self._sound.append(bytes(clean.data))
        self._stream.push_frame(clean)

    async def reach(self, windows: int) -> None:
        """Wait until so many windows were heard."""
        while self.windows < windows:
            self._news.clear()
            await self._news.wait()

    def end_of_minute(self) -> Heard:
        """Return what the minute gave, and begin the next."""
        heard = Heard(tuple(self._events), self._probabilities, b"".join(self._sound))
        self._minute += 1
        self._begin()
        return heard

    async def aclose(self) -> None:
        """Let everything go."""
        self._stream.end_input()
        await self._reader
        await self._stream.aclose()
        self._noise._close()


def parts() -> tuple[Any, Any, Any]:
    """Return VAD, turn detector, and the class of the frame processor."""
    from livekit.plugins.nearvoice import noise_cancellation, turn_detector

    return systems.ours("auto"), turn_detector.MultilingualModel(), noise_cancellation.BVC


def minute(path: Path) -> list[rtc.AudioFrame]:
    """Return a minute of sound, in frames."""
    call = noise_cpu.noisy(recording(path, RATE, SPOKEN))
    silence: PCM = np.zeros(SILENT * RATE, np.int16)
    return frames(np.concatenate((call, silence)))


def resources() -> dict[str, float]:
    """Return what this process holds (Linux)."""
    memory = proc.memory("self")
    return {
        "unique_mib": round(memory.unique, 2),
        "descriptors": len([*Path("/proc/self/fd").iterdir()]),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Hold the long calls, and keep what each minute gave and held.

    Raises:
        NotCompiledError: The numba kernels have not been compiled.
    """
    systems.check_compiled()
    sound = minute(settings.audio)
    minutes = QUICK_MINUTES if settings.quick else MINUTES
    live = QUICK_LIVE_MINUTES if settings.quick else LIVE_MINUTES
    streams = QUICK_STREAMS if settings.quick else STREAMS
    store.note({"minutes": minutes, "live minutes": live, "streams": streams})
    store.json(FAST, "minutes", lambda: asyncio.run(fast(sound, minutes)))
    store.json(LIVE, "seconds", lambda: asyncio.run(in_real_time(sound, live, streams)))


async def fast(sound: Sequence[rtc.AudioFrame], minutes: int) -> list[dict[str, Any]]:
    """Return what each minute of one stream gave and held, heard as fast as it goes."""
    vad, detector, noise = parts()
    stream = Stream(vad, detector, noise())
    second = Heard((), [], b"")
    found = []
    for number in track(range(minutes), "soak, fast"):
        began = time.perf_counter()
        for at, frame in enumerate(sound, start=1):
            stream.push(frame)
            # at most three windows ahead: nothing piles up
            await stream.reach(int((number * MINUTE + at * _STEP) / _WINDOW) - 3)
        await stream.reach(int((number + 1) * MINUTE / _WINDOW) - 1)
        await asyncio.sleep(0)
        heard = stream.end_of_minute()
        second = heard if number < 2 else second
        probability, sample = heard.furthest(second)
        found.append(
            {
                "seconds": round(time.perf_counter() - began, 3),
                "events": heard.events,
                "probability": probability,
                "sample": sample,
                "last": stream.last,
                "predictions": stream.predictions,
                **resources(),
            }
        )
    await stream.aclose()
    return found


async def in_real_time(
    sound: Sequence[rtc.AudioFrame], minutes: float, count: int
) -> list[dict[str, Any]]:
    """Return every ten seconds what many streams hold, and how far the slowest is behind."""
    vad, detector, noise = parts()
    streams = [Stream(vad, detector, noise()) for _ in range(count)]
    found = []
    began = time.perf_counter()
    for number in track(range(int(minutes * 60 / _STEP)), "soak, real time"):
        due = began + (number + 1) * _STEP
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        for stream in streams:
            stream.push(sound[number % len(sound)])
            await asyncio.sleep(0)
            if (number + 1) % len(sound) == 0:
                stream.end_of_minute()  # or what it gave would be kept here
        if (number + 1) % int(EVERY / _STEP) == 0:
            behind = (number + 1) * _STEP - min(stream.last for stream in streams)
            late = time.perf_counter() - due
            found.append({"behind": round(behind, 3), "late": round(late, 3), **resources()})
    for stream in streams:
        await stream.aclose()
    return found


EVERY = 5.0
"""Seconds from one look at resources to the next, in real time."""


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return what grew, and which minutes gave something else."""
    about = store.about()
    kept, live = store.json(FAST, "minutes"), store.json(LIVE, "seconds")
    return {
        "task": "soak",
        "what": f"{about['minutes']} minutes of one stream as fast as it goes, and "
        f"{about['live minutes']:g} of {about['streams']} in real time: VAD, BVC and turn detector "
        "on the same minute of sound again and again. By how much unique memory, descriptors, "
        "threads and tasks are more in the last tenth than in the second; minutes whose events "
        "are other than those of the second, and how far their probabilities and samples are from "
        "those of it, at most",
        "minutes": about["minutes"],
        "systems": {
            FAST: {**growth(kept), **sameness(kept)},
            LIVE: {
                **growth(live),
                "most behind, s": max(one["behind"] for one in live),
                "last behind, s": live[-1]["behind"],
            },
        },
    }


def growth(kept: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return by how much each resource is more in the last tenth than in the second."""
    tenth = max(1, len(kept) // 10)
    early, late = kept[tenth : 2 * tenth] or kept[:1], kept[-tenth:]
    return {
        f"{name} more": round(
            statistics.median(one[name] for one in late)
            - statistics.median(one[name] for one in early),
            2,
        )
        for name in RESOURCES
    }


def sameness(kept: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how many minutes differ from the second: the first learns the caller's level."""
    second, rest = kept[1], kept[2:]
    return {
        "other events": sum(one["events"] != second["events"] for one in rest),
        "furthest probability": round(max(one["probability"] for one in rest), 6),
        "furthest sample": max(one["sample"] for one in rest),
        "drift, s": round(max(abs(one["last"] - second["last"] - MINUTE * (at + 1))
                              for at, one in enumerate(rest)), 6),
        "predictions a minute": round(kept[-1]["predictions"] / len(kept), 2),
        "times as slow in the end": round(
            statistics.median(one["seconds"] for one in kept[-5:])
            / statistics.median(one["seconds"] for one in kept[1:6]),
            2,
        ),
    }  # fmt: skip


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    **{f"{name} more": (f"{name} more",) for name in RESOURCES},
    "other events": ("other events",),
    "probability": ("furthest probability",),
    "sample": ("furthest sample",),
    "drift s": ("drift, s",),
    "slower": ("times as slow in the end",),
    "behind s": ("most behind, s",),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each kind of call."""
    return table(result, COLUMNS)
