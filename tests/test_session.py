"""What a real AgentSession does with our VAD, on virtual time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import vad
from livekit.plugins import silero as upstream
from livekit.plugins.nearvoice import silero

from tests.offline import sample, virtual_loop
from tests.offline.call import (
    AgentState,
    Call,
    Entry,
    Failed,
    Heard,
    ReplyEnded,
    ReplyStarted,
    SpeechEnded,
    SpeechStarted,
    TurnCommitted,
    UserState,
)
from tests.offline.models import EchoLLM, Line
from tests.offline.session import run_call

HELLO = Line(1.3, "Hello?")
"""What the STT hears in ``hello()``, 0.3 s after it was said."""


@pytest.fixture(scope="module")
def recording():
    return sample.load()


@pytest.fixture(scope="module")
def hello():
    return sample.word()


def held(samples, detector, *, rate=16_000, **options):
    return virtual_loop.run(lambda: run_call(samples, rate, vad=detector, **options))


def without_probability(call: Call) -> list[Entry]:
    """Return the timeline with the probabilities left out: their last digits may differ."""
    return [
        dataclasses.replace(entry, probability=0.0) if hasattr(entry, "probability") else entry
        for entry in call.timeline
    ]


@pytest.mark.model
def test_a_session_commits_the_turn_after_the_user_stops(hello):
    call = held(hello, silero.VAD.load(), lines=[HELLO])
    (started,), (ended,) = call.of(SpeechStarted), call.of(SpeechEnded)
    assert started.onset == pytest.approx(0.58, abs=0.05)
    assert ended.end == pytest.approx(1.0, abs=0.05)
    assert [state.state for state in call.of(UserState)] == ["speaking", "listening"]
    (turn,) = call.of(TurnCommitted)
    assert turn.text == "Hello?"
    assert turn.at - ended.end == pytest.approx(0.576, abs=0.06)
    assert turn.at < call.of(ReplyStarted)[0].at < turn.at + 0.2
    assert not call.of(ReplyEnded)[0].interrupted
    assert not call.of(Failed)


@pytest.mark.model
def test_a_late_transcript_commits_the_turn_when_it_comes(hello):
    call = held(hello, silero.VAD.load(), lines=[Line(3.0, "Hello?")])
    assert call.of(TurnCommitted)[0].at == pytest.approx(3.0, abs=0.06)


@pytest.mark.model
def test_the_same_call_is_the_same_on_every_run(recording):
    calls = [held(recording.samples, silero.VAD.load(), lines=recording.lines) for _ in range(2)]
    assert calls[0] == calls[1]


@pytest.mark.model
@pytest.mark.parametrize("min_silence", [0.15, 0.55])
def test_upstream_and_ours_give_the_same_call(recording, min_silence):
    vads = (
        silero.VAD.load(min_silence_duration=min_silence, drift_reset=False, kernel="numpy"),
        upstream.VAD.load(min_silence_duration=min_silence),
    )
    ours, theirs = (
        held(
            recording.samples,
            vad,
            lines=recording.lines,
            line_rate=16_000,  # upstream's resampler adds noise that no two runs share
        )
        for vad in vads
    )
    assert without_probability(ours) == without_probability(theirs)
    assert ours.of(TurnCommitted)
    seconds, values = np.transpose(ours.probabilities)
    their_seconds, their_values = np.transpose(theirs.probabilities)
    np.testing.assert_array_equal(seconds, their_seconds)
    np.testing.assert_allclose(values, their_values, atol=2e-4)


@pytest.mark.model
def test_the_rate_of_the_line_moves_no_boundary_by_more_than_a_window(recording):
    calls = [
        held(
            recording.samples,
            silero.VAD.load(min_silence_duration=0.15, sample_rate=16_000),
            line_rate=rate,
        )
        for rate in (8_000, 16_000, 24_000, 44_100, 48_000)
    ]
    segments = [np.array(call.segments(recording.duration)) for call in calls]
    for other in segments:
        assert other.shape == segments[1].shape
        assert np.abs(other - segments[1]).max() <= 0.0321


@pytest.mark.model
def test_the_size_of_the_frames_moves_no_boundary(recording):
    small, large = (
        held(recording.samples, silero.VAD.load(), frame=frame) for frame in (0.01, 0.2)
    )
    assert small.segments(30.0) == large.segments(30.0)
    assert small.probabilities == large.probabilities[: len(small.probabilities)]


@pytest.mark.model
@pytest.mark.parametrize("plugin", [silero, upstream], ids=["ours", "upstream"])
def test_a_user_who_speaks_half_a_second_interrupts_the_agent(recording, plugin):
    speech = recording.cut(7.0, 12.0)  # someone talks from 0.65 s on
    call = held(speech, plugin.VAD.load(), greeting="welcome " * 20, line_rate=16_000)
    (reply,) = call.of(ReplyEnded)
    assert reply.interrupted
    onset = call.of(SpeechStarted)[0].onset
    assert reply.at == pytest.approx(onset + 0.55, abs=0.06)
    assert reply.at == pytest.approx(1.2, abs=0.001)


@pytest.mark.model
def test_speech_that_ends_within_half_a_second_does_not_interrupt_the_agent(hello):
    # the session counts the silence that the VAD waits for as speech: 0.42 s and 0.064 s here
    call = held(hello, silero.VAD.load(min_silence_duration=0.05), greeting="welcome " * 10)
    assert [reply.interrupted for reply in call.of(ReplyEnded)] == [False]


@pytest.mark.model
def test_the_transcript_reaches_the_llm_and_its_answer_is_played(hello):
    call = held(hello, silero.VAD.load(), lines=[HELLO], llm=EchoLLM("{text} {text} {text}"))
    (reply,) = call.of(ReplyEnded)
    assert reply.played == pytest.approx(0.9, abs=0.05)  # three words of 0.3 s
    assert [state.state for state in call.of(AgentState)][-3:] == [
        "thinking",
        "speaking",
        "listening",
    ]


class BrokenVAD(vad.VAD):
    """A VAD that starts speech and dies."""

    def __init__(self):
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.032))

    def stream(self):
        return BrokenStream(self)


class BrokenStream(vad.VADStream):
    async def _main_task(self):
        async for item in self._input_ch:
            assert isinstance(item, rtc.AudioFrame)
            self._event_ch.send_nowait(
                vad.VADEvent(vad.VADEventType.START_OF_SPEECH, 0, 0.0, 0.0, 0.0)
            )
            raise OSError("the model is gone")


def test_a_session_whose_vad_dies_still_commits_turns():
    silence = np.zeros(16_000 * 3, np.int16)
    call = held(silence, BrokenVAD(), lines=[Line(1.0, "hello"), Line(2.5, "are you there")])
    assert [turn.text for turn in call.of(TurnCommitted)] == ["hello", "are you there"]
    assert [heard.text for heard in call.of(Heard)] == ["hello", "are you there"]
    assert [state.state for state in call.of(UserState)] == ["speaking", "listening"]


def test_a_session_without_a_vad_commits_turns_on_transcripts():
    silence = np.zeros(16_000 * 2, np.int16)
    call = held(silence, None, lines=[Line(1.0, "hello")], turn_handling={"turn_detection": None})
    assert [turn.text for turn in call.of(TurnCommitted)] == ["hello"]
    assert not call.of(UserState)
