"""What a job of a loaded worker does: a call in real time, cleaned, listened to, and asked about.

How late events are, how long the loop stands still and how long predictions take is what the job
itself sees, with everything else on the machine.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import wave
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import llm
from livekit.agents.vad import VADEventType

from .turn_job import WORDS

RATE, FRAME = 24_000, 1_200
"""What a room delivers by default: frames of 50 ms at 24 kHz."""
STEP = FRAME / RATE
WINDOW = 0.032
"""Seconds of a window of the VADs."""
PATTERN = 25
"""Windows after which they lie to frames as before: 16 frames."""
TICK = 0.05
"""Seconds from one look at the clock to the next: more of them would be a load themselves."""
EVERY = 4.0
"""Seconds from one prediction to the next: a caller's pieces of speech hardly end more often."""
SAID = 6
"""Words that the recogniser has each time."""


class Call:
    """A call of an agent.

    Args:
        vad: Makes the VAD.
        turn: Makes the turn detector; None for none.
        noise: Makes the frame processor; None for none.
        path: Of a 16-bit WAV of one channel at 24 kHz, heard again and again.
        seconds: Length of the call.
    """

    def __init__(
        self,
        vad: Callable[[], Any],
        turn: Callable[[], Any] | None,
        noise: Callable[[], Any] | None,
        path: str,
        seconds: float,
    ) -> None:
        self._vad, self._turn, self._noise = vad, turn, noise
        self._path, self._seconds = Path(path), seconds
        self._chat = llm.ChatContext.empty()

    def begin(self, name: str) -> None:
        """Load what the call needs; calls of other names are at other places of the recording."""
        self._chance = random.Random(name)
        pcm = _read(self._path)
        self._pcm = np.roll(pcm, -self._chance.randrange(len(pcm)))
        self._stream = self._vad().stream()
        self._detector: Any = self._turn() if self._turn else None
        self._ear: Any = getattr(self._detector, "stream", lambda: None)()
        self._clean = self._noise()._process if self._noise else None

    async def talk(self, start: float) -> dict[str, list[float]]:
        """Hold the call from ``start`` on, in seconds since 1970, or up to a second later.

        Returns:
            "delay_ms": of each window, from its last frame to its event, above the least of those
            that lie to their frame as it does; "stall_ms": how late the loop was; "turn_ms": of
            each prediction; "late_ms": how late each frame was pushed.
        """
        await asyncio.sleep(max(0.0, start + self._chance.random() - time.time()))
        self._begun = time.perf_counter()
        found: dict[str, list[float]] = {"stall_ms": [], "turn_ms": [], "late_ms": []}
        self._heard: list[float] = []
        reader = asyncio.create_task(self._read_events())
        ticker = asyncio.create_task(self._tick(found["stall_ms"]))
        asker = asyncio.create_task(self._ask(found["turn_ms"]))
        await self._push(found["late_ms"])
        self._stream.end_input()
        await reader
        await asker
        ticker.cancel()
        if self._ear is not None:
            await self._ear.aclose()
        await self._stream.aclose()
        return found | {"delay_ms": delays(self._heard)}

    async def _push(self, late: list[float]) -> None:
        frames = int(self._seconds / STEP)
        size = len(self._pcm) // FRAME
        for number in range(frames):
            at = number % size * FRAME
            frame = rtc.AudioFrame(self._pcm[at : at + FRAME].tobytes(), RATE, 1, FRAME)
            due = self._begun + (number + 1) * STEP
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late.append((time.perf_counter() - due) * 1e3)
            if self._clean:
                frame = self._clean(frame)
            self._stream.push_frame(frame)
            if self._ear is not None:
                self._ear.push_audio(frame)

    async def _read_events(self) -> None:
        async for event in self._stream:
            if event.type is VADEventType.INFERENCE_DONE:
                self._heard.append(time.perf_counter() - self._begun)

    async def _ask(self, times: list[float]) -> None:
        """Ask the turn detector now and then, as at the ends of pieces of speech."""
        for number in range(int(self._seconds / EVERY) if self._detector is not None else 0):
            at = self._begun + (number + self._chance.random()) * EVERY
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            await self._ask_once(times)

    async def _ask_once(self, times: list[float]) -> None:
        self._chat.add_message(role="user", content=" ".join(self._chance.choices(WORDS, k=SAID)))
        began = time.perf_counter()
        if self._ear is not None:
            await self._ear.predict()
        elif self._detector is not None:
            await self._detector.predict_end_of_turn(self._chat)
        times.append((time.perf_counter() - began) * 1e3)
        self._chat.add_message(
            role="assistant", content=" ".join(self._chance.choices(WORDS, k=SAID))
        )

    async def _tick(self, stalls: list[float]) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            stalls.append((time.perf_counter() - began - TICK) * 1e3)


def _read(path: Path) -> Any:  # noqa: ANN401 - int16[n]
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def delays(heard: Sequence[float]) -> list[float]:
    """Return by how many ms each window's event was later than it could have been.

    Args:
        heard: Seconds from the beginning to the event of each window. A window can be heard when
            the frame with its last sample is there, plus what resamplers hold back, which is the
            same for all windows that lie to their frame alike: so the soonest of these is no delay.
    """
    above: defaultdict[int, list[float]] = defaultdict(list)
    for number, at in enumerate(heard):
        frames = math.ceil((number + 1) * WINDOW / STEP - 1e-9)
        above[number % PATTERN].append(at - frames * STEP)
    least = {place: min(values) for place, values in above.items()}
    order: dict[int, int] = defaultdict(int)
    found = []
    for number in range(len(heard)):
        place = number % PATTERN
        found.append((above[place][order[place]] - least[place]) * 1e3)
        order[place] += 1
    return found
