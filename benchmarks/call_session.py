"""One call with a real ``AgentSession``, on a clock that moves by what is computed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearvoice.audio import PCM
from tests.offline import virtual_loop
from tests.offline.call import ReplyEnded, ReplyStarted, SpeechEnded, SpeechStarted, TurnCommitted
from tests.offline.models import EchoLLM, Line, SilentTTS
from tests.offline.recorder import Recorder
from tests.offline.session import run_call

from .call_systems import System
from .data import RATE

LAG = 0.3
"""Seconds after a piece until the recogniser has its final transcript, the same for all systems."""
REPLY = "I have noted that, and there is one more thing I would like to ask you now."
"""Sixteen words, of 0.3 s each."""

Turns = Sequence[Sequence[dict[str, Any]]]


class ChargingLoop(virtual_loop.VirtualLoop):
    """A virtual clock that also moves by the CPU time of its thread: of callbacks and executors.

    An executor's work is done in the loop's thread, so a session waits for it as if it had a core.
    """

    charged = 0.0
    """Seconds, in all."""

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        spent = time.thread_time() - began
        self.charged += spent
        self.advance(spent)


def hold(system: System, samples: PCM, turns: Turns) -> dict[str, Any]:
    """Hold a call; return what happened, in seconds of the call.

    Args:
        system: Its parts.
        samples: int16[n] at 16 kHz.
        turns: What is said when, as :func:`benchmarks.call_build.call` returns them.

    Returns:
        JSON: "predictions" of the end of a turn as [second, probability], "speech" as [second it
        was found, second it began], "silence" alike, "commits" as [second, text], "replies" as
        [second, second it ended, whether it was cut off], "charged" seconds of CPU.
    """
    predictions: list[tuple[float, float]] = []
    recorder = Recorder()
    parts = system.parts(lambda p: predictions.append((recorder.now(), p)))
    lines = [Line(piece["end"] + LAG, piece["text"]) for turn in turns for piece in turn]
    loop = ChargingLoop(limit=len(samples) / RATE + 120)

    async def talk() -> None:
        await run_call(
            np.asarray(samples),
            RATE,
            vad=parts.vad,
            lines=lines,
            llm=EchoLLM(REPLY),
            tts=SilentTTS(),
            turn_handling={"turn_detection": parts.turn_detection},
            processor=parts.processor,
            recorder=recorder,
        )

    _run(loop, talk())
    happened = recorder.call
    ends = happened.of(ReplyEnded)
    starts = [one.at for one in happened.of(ReplyStarted)]
    return {
        "predictions": predictions,
        "speech": [(one.at, one.onset) for one in happened.of(SpeechStarted)],
        "silence": [(one.at, one.end) for one in happened.of(SpeechEnded)],
        "commits": [(one.at, one.text) for one in happened.of(TurnCommitted)],
        "replies": [(a, b.at, b.interrupted) for a, b in zip(starts, ends, strict=False)],
        "charged": round(loop.charged, 3),
    }


def _run(loop: ChargingLoop, main: Any) -> None:  # noqa: ANN401 - a coroutine
    asyncio.set_event_loop(loop)
    try:
        with virtual_loop._clocks_of(loop):
            try:
                loop.run_until_complete(main)
            finally:
                virtual_loop._cancel_what_is_left(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
