"""What a job of a worker does with a turn detector: a conversation that it asks about as it grows.

The jobs of a worker ask at the same moments: ticks of the clock that they share.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import llm

_TEXT = """
    the a to and of in it is that for you we on with at this my have not are be so if can about from
    what there one out all time now just know think want need like would could please call order
    number name address table two three five monday friday morning evening tomorrow change cancel
    send tell ask wait hold right sure maybe really then because after before again
"""
WORDS = _TEXT.split()
SAID, REPLIED = 3, 12
"""Words that the user adds before each prediction, and of a reply of the agent."""
TURN = 5
"""Predictions of each turn of the user."""
PATIENCE = 60.0
"""Seconds that a prediction may take here, so that none that is late is counted as short."""
_RATE = 16_000
_HEARD = 1.2
"""Seconds of sound before each prediction of a detector that hears."""


class Talk:
    """A conversation with a turn detector.

    Args:
        make: Makes the detector, in the job; one that is None is not asked.
        predictions: How often it is asked.
        seconds: Between two ticks.
    """

    def __init__(self, make: Callable[[], Any], predictions: int, seconds: float) -> None:
        self._make = make
        self._predictions = predictions
        self._seconds = seconds
        self._chat = llm.ChatContext.empty()

    def begin(self, name: str) -> None:
        """Make the detector and the words; another name has other words."""
        self._chance = random.Random(name)
        self._detector = self._make()
        hears = hasattr(self._detector, "stream")
        self._stream = self._detector.stream() if hears else None

    async def talk(self, start: float) -> list[float]:
        """Ask at each tick from ``start`` on, in seconds since 1970; return the ms it took.

        Whoever has no answer yet at a tick asks at the next.
        """
        times, tick = [], 0
        for number in range(self._predictions):
            self._say(number)
            await asyncio.sleep(max(0.0, start + tick * self._seconds - time.time()))
            began = time.perf_counter()
            await self._ask()
            times.append((time.perf_counter() - began) * 1e3)
            tick = max(tick + 1, math.ceil((time.time() - start) / self._seconds))
        if self._stream is not None:
            await self._stream.aclose()
        return times

    def _say(self, number: int) -> None:
        """Add words of the user, and before a new turn of the user a reply."""
        if number % TURN == 0:
            if number:
                self._chat.add_message(role="assistant", content=self._words(REPLIED))
            self._chat.add_message(role="user", content=self._words(SAID))
        else:
            last = self._chat.messages()[-1]
            last.content = [f"{last.text_content} {self._words(SAID)}"]
        if self._stream is not None:
            noise = self._chance.randbytes(2 * int(_HEARD * _RATE))
            self._stream.push_audio(rtc.AudioFrame(noise, _RATE, 1, len(noise) // 2))

    def _words(self, count: int) -> str:
        return " ".join(self._chance.choices(WORDS, k=count))

    async def _ask(self) -> None:
        if self._stream is not None:
            await self._stream.predict()
        elif self._detector is not None:
            await self._detector.predict_end_of_turn(self._chat, timeout=PATIENCE)
