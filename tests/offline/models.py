"""The parts of an agent that usually live in the cloud, here scripted: nothing leaves the machine.

:class:`ScriptedSTT` says prepared lines at prepared seconds, :class:`EchoLLM` answers with what it
heard, :class:`SilentTTS` speaks silence of a believable length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
from livekit import rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    LanguageCode,
    llm,
    stt,
    tts,
)


@dataclass(frozen=True)
class Line:
    """A transcript that becomes final when ``at`` seconds of audio have been pushed."""

    at: float
    text: str
    language: str = "en"


class ScriptedSTT(stt.STT[Any]):
    """A streaming STT that does not listen: it says each line when its second of audio has passed.

    The clock is the audio itself, so the same audio gives the same transcripts at any pace.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.lines = sorted(lines, key=lambda line: line.at)
        self._streams: WeakSet[_ScriptedStream] = WeakSet()

    def stream(
        self,
        *,
        language: Any = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        stream = _ScriptedStream(self, conn_options)
        self._streams.add(stream)
        return stream

    def say(self, text: str) -> None:
        """Deliver a transcript now, on every open stream."""
        for stream in self._streams:
            stream.say(Line(0.0, text))

    async def _recognize_impl(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("ScriptedSTT only streams")


class _ScriptedStream(stt.RecognizeStream):
    def __init__(self, scripted: ScriptedSTT, conn_options: APIConnectOptions) -> None:
        self._lines = list(scripted.lines)
        super().__init__(stt=scripted, conn_options=conn_options)

    def say(self, line: Line) -> None:
        heard = stt.SpeechData(text=line.text, language=LanguageCode(line.language), confidence=0.9)
        for kind in (
            stt.SpeechEventType.INTERIM_TRANSCRIPT,
            stt.SpeechEventType.FINAL_TRANSCRIPT,
        ):
            self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[heard]))

    async def _run(self) -> None:
        passed = 0.0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue  # a flush
            passed += frame.duration
            while self._lines and passed >= self._lines[0].at - 1e-9:
                self.say(self._lines.pop(0))


class EchoLLM(llm.LLM[Any]):
    """An LLM that answers every turn after 50 ms.

    Args:
        answer: What it says; ``{text}`` is the user's last turn, ``{words}`` its number of words.
    """

    def __init__(self, answer: str = "You said: {text}") -> None:
        super().__init__()
        self._answer = answer

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        said = [item.text_content or "" for item in chat_ctx.messages() if item.role == "user"]
        text = said[-1] if said else ""
        answer = self._answer.format(text=text, words=len(text.split()))
        return _EchoStream(self, answer, chat_ctx, tools or [], conn_options)


class _EchoStream(llm.LLMStream):
    def __init__(
        self,
        echo: EchoLLM,
        answer: str,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
    ) -> None:
        self._answer = answer
        super().__init__(echo, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)

    async def _run(self) -> None:
        await asyncio.sleep(0.05)
        delta = llm.ChoiceDelta(role="assistant", content=self._answer)
        self._event_ch.send_nowait(llm.ChatChunk(id="echo", delta=delta))


class SilentTTS(tts.TTS[Any]):
    """A TTS that speaks silence, as long as the words would take.

    Args:
        word: Seconds per word.
    """

    def __init__(self, word: float = 0.3) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=24_000, num_channels=1
        )
        self.word = word

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Silence(tts=self, input_text=text, conn_options=conn_options)


class _Silence(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        assert isinstance(self._tts, SilentTTS)
        seconds = len(self.input_text.split()) * self._tts.word
        output_emitter.initialize(
            request_id="silence", sample_rate=24_000, num_channels=1, mime_type="audio/pcm"
        )
        output_emitter.push(np.zeros(int(24_000 * seconds), np.int16).tobytes())
        output_emitter.flush()
