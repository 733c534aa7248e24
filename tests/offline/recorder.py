"""Session and VAD events in, the :class:`~tests.offline.call.Call` they make out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession, llm, vad
from livekit.plugins.nearvoice.turn_detector import Prediction

from tests.offline import call as happened
from tests.offline.call import Call, Entry


class ObservedVAD(vad.VAD):
    """A VAD as the session sees it, with every event shown to ``on_event`` just before."""

    def __init__(self, inner: vad.VAD, on_event: Callable[[vad.VADEvent], None]) -> None:
        super().__init__(capabilities=inner.capabilities)
        self._inner = inner
        self._on_event = on_event

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def provider(self) -> str:
        return self._inner.provider

    @property
    def min_silence_duration(self) -> float | None:
        """Read by the session, from a VAD that has it."""
        return getattr(self._inner, "min_silence_duration", None)

    def stream(self) -> vad.VADStream:
        return _ObservedStream(self._inner.stream(), self._on_event)  # type: ignore[return-value]


class _ObservedStream:
    def __init__(self, inner: vad.VADStream, on_event: Callable[[vad.VADEvent], None]) -> None:
        self._inner = inner
        self._on_event = on_event
        self.push_frame = inner.push_frame
        self.flush = inner.flush
        self.end_input = inner.end_input
        self.aclose = inner.aclose

    def __aiter__(self) -> _ObservedStream:
        return self

    async def __anext__(self) -> vad.VADEvent:
        event = await self._inner.__anext__()
        self._on_event(event)
        return event


class Recorder:
    """Writes down what a session and its VAD do, in call seconds.

    Args:
        on_entry: Called with every entry as it happens.
    """

    def __init__(self, on_entry: Callable[[Entry], None] = lambda entry: None) -> None:
        self.call = Call()
        self._on_entry = on_entry
        self._began = time.time()
        self._probability = 0.0

    def begin(self) -> None:
        """Set second 0 of the call to now."""
        self._began = time.time()

    def now(self) -> float:
        """Return the call's second."""
        return round(time.time() - self._began, 3)

    def add(self, entry: Entry) -> None:
        """Append an entry and show it."""
        self.call.timeline.append(entry)
        self._on_entry(entry)

    def vad_event(self, event: vad.VADEvent) -> None:
        """Write down an event of the VAD."""
        if event.type == vad.VADEventType.INFERENCE_DONE:
            self._probability = round(event.probability, 4)
            self.call.probabilities.append((round(event.timestamp, 3), self._probability))
        elif event.type == vad.VADEventType.START_OF_SPEECH:
            onset = round(event.timestamp - event.speech_duration, 3)
            self.add(happened.SpeechStarted(self.now(), onset, self._probability))
        else:
            end = round(event.timestamp - event.silence_duration, 3)
            self.add(happened.SpeechEnded(self.now(), end, self._probability))

    def turn_predicted(self, seen: Prediction) -> None:
        """Write down a prediction: the ``on_prediction`` of a turn detector."""
        self.add(
            happened.TurnPredicted(
                self.now(),
                round(seen.probability, 4),
                seen.threshold,
                seen.language,
                round(seen.milliseconds, 2),
                seen.outcome,
            )
        )

    def reply_ended(self, played: float, interrupted: bool) -> None:
        """Write down that a reply stopped playing."""
        self.add(happened.ReplyEnded(self.now(), round(played, 3), interrupted))

    def watch(self, session: AgentSession[Any]) -> None:
        """Write down the events of a session."""
        session.on(
            "user_state_changed",
            lambda event: self.add(happened.UserState(self.now(), event.new_state)),
        )
        session.on("agent_state_changed", self._agent_state)
        session.on("user_input_transcribed", self._transcribed)
        session.on("conversation_item_added", self._item)
        session.on(
            "error", lambda event: self.add(happened.Failed(self.now(), repr(event.error)[:200]))
        )

    def _agent_state(self, event: Any) -> None:
        self.add(happened.AgentState(self.now(), event.new_state))
        if event.new_state == "speaking":
            self.add(happened.ReplyStarted(self.now()))

    def _transcribed(self, event: Any) -> None:
        if event.is_final:
            self.add(happened.Heard(self.now(), event.transcript))

    def _item(self, event: Any) -> None:
        if isinstance(event.item, llm.ChatMessage) and event.item.role == "user":
            self.add(happened.TurnCommitted(self.now(), event.item.text_content or ""))
