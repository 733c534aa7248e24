"""A whole call without a server: audio and a VAD in, what a real ``AgentSession`` made of it out.

``run_call`` runs on the ordinary event loop in real time, and on ``virtual_loop.run`` in about a
second, with the same result::

    call = virtual_loop.run(lambda: run_call(samples, 16_000, vad=vad, lines=[Line(1.2, "Hello?")]))
    call.of(TurnCommitted)[0].at
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt, tts, utils, vad
from livekit.agents.voice import io

from nearvoice.audio import resample
from tests.offline.call import Call
from tests.offline.models import EchoLLM, Line, ScriptedSTT, SilentTTS
from tests.offline.recorder import ObservedVAD, Recorder

Samples = npt.NDArray[np.int16]

LINE_RATE = 24_000
"""The rate at which RoomIO hands audio to a session unless told otherwise."""
HANG_UP = 30.0
"""Seconds that the caller listens to a last reply before hanging up."""
FRAME = 0.05
"""Seconds per frame that RoomIO hands to a session unless told otherwise."""


class CallInput(io.AudioInput):
    """The caller's line: hands out each frame at the moment its last sample has been spoken.

    Args:
        samples: int16 mono.
        rate: Their sample rate; the frames have it too.
        frame: Seconds per frame.
        processor: A noise suppressor, called as ``rtc.AudioStream`` calls it.
    """

    def __init__(
        self,
        samples: Samples,
        rate: int,
        *,
        frame: float = FRAME,
        processor: rtc.FrameProcessor[rtc.AudioFrame] | None = None,
    ) -> None:
        super().__init__(label="call")
        self._samples = samples
        self._rate = rate
        self._size = round(rate * frame)
        self._processor = processor
        self._frames: utils.aio.Chan[rtc.AudioFrame] = utils.aio.Chan()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.__anext__()

    async def play(self) -> None:
        """Send the whole call, paced by the running loop's clock."""
        began = time.time()
        for start in range(0, len(self._samples) - self._size + 1, self._size):
            end = start + self._size
            await asyncio.sleep(max(0.0, began + end / self._rate - time.time()))
            data = self._samples[start:end].tobytes()
            frame = rtc.AudioFrame(data, self._rate, 1, self._size)
            if self._processor is not None and self._processor.enabled:
                frame = self._processor._process(frame)
            self._frames.send_nowait(frame)


class NullOutput(io.AudioOutput):
    """A loudspeaker nobody hears: plays at the right pace, can be cut off, and tells when it ended.

    Args:
        on_end: Called with the seconds played and whether it was cut off.
    """

    def __init__(self, on_end: Callable[[float, bool], None] = lambda played, cut: None) -> None:
        super().__init__(
            label="null",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=LINE_RATE,
        )
        self._on_end = on_end
        self._began = 0.0
        self._queued = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._queued:
            self._began = time.time()
            self.on_playback_started(created_at=self._began)
        self._queued += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._queued:
            left = self._began + self._queued - time.time()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, left), self._end, False)

    def clear_buffer(self) -> None:
        if self._queued:
            self._end(True)

    def _end(self, interrupted: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        played = min(self._queued, time.time() - self._began) if interrupted else self._queued
        self._queued = 0.0
        self.on_playback_finished(playback_position=played, interrupted=interrupted)
        self._on_end(played, interrupted)


def offline_session(vad: vad.VAD | None, recorder: Recorder, **options: Any) -> AgentSession[Any]:
    """Return a session with scripted models that the recorder watches; options: AgentSession's."""
    turns = {
        "turn_detection": "vad",
        "preemptive_generation": {"enabled": False},
        "interruption": {"resume_false_interruption": False},  # NullOutput cannot pause
    }
    given = {"stt": ScriptedSTT(), "llm": EchoLLM(), "tts": SilentTTS(), **options}
    given["turn_handling"] = {**turns, **given.get("turn_handling", {})}
    session = AgentSession(
        vad=ObservedVAD(vad, recorder.vad_event) if vad is not None else None,
        aec_warmup_duration=None,
        user_away_timeout=None,
        **given,
    )
    session.output.audio = NullOutput(recorder.reply_ended)
    recorder.watch(session)
    return session


async def run_call(
    samples: Samples,
    rate: int,
    *,
    vad: vad.VAD | None,
    lines: Iterable[Line] = (),
    stt: stt.STT[Any] | None = None,
    llm: llm.LLM[Any] | None = None,
    tts: tts.TTS[Any] | None = None,
    turn_handling: dict[str, Any] | None = None,
    greeting: str | None = None,
    tail: float = 3.0,
    line_rate: int = LINE_RATE,
    frame: float = FRAME,
    processor: rtc.FrameProcessor[rtc.AudioFrame] | None = None,
    recorder: Recorder | None = None,
) -> Call:
    """Hold one call with a real ``AgentSession`` and return what happened.

    Args:
        samples: What the caller says: int16, mono.
        rate: Sample rate of ``samples``, in Hz.
        vad: The VAD under test; None for a session without one.
        lines: What the scripted STT hears, and when.
        stt: An STT in place of the scripted one.
        llm: An LLM in place of the echo.
        tts: A TTS in place of the silent one.
        turn_handling: ``AgentSession``'s, over ``{"turn_detection": "vad"}``.
        greeting: What the agent says, uninvited, as the call begins.
        tail: Seconds of silence on the line after the last sample.
        line_rate: Sample rate of the frames that the session receives, in Hz.
        frame: Seconds per frame.
        processor: A noise suppressor between the line and the session.
        recorder: What watches the session, and a turn detector if it is told of its predictions.
    """
    recorder = recorder or Recorder()
    session = offline_session(
        vad,
        recorder,
        stt=stt or ScriptedSTT(lines),
        llm=llm or EchoLLM(),
        tts=tts or SilentTTS(),
        turn_handling=turn_handling or {},
    )
    silence = np.zeros(round(tail * rate), np.int16)
    line = resample(np.concatenate([samples, silence]), rate, line_rate)
    caller = CallInput(line, line_rate, frame=frame, processor=processor)
    session.input.audio = caller
    await session.start(Agent(instructions="You are a voice on the telephone."))
    recorder.begin()
    if greeting is not None:
        session.say(greeting)
    try:
        await caller.play()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(session.drain(), HANG_UP)
    finally:
        await session.aclose()
    return recorder.call
