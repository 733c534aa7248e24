"""What a real AgentSession makes of a call in noise, with and without noise suppression."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import livekit.agents
import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent
from livekit.agents.voice.room_io.types import NoiseCancellationParams
from livekit.plugins.nearvoice import silero
from livekit.plugins.nearvoice.noise_cancellation import BVC, NC, BVCTelephony

from examples import noise
from nearvoice.audio import resample
from scripts import demo_audio
from tests.offline import room, sample, session, virtual_loop
from tests.offline.call import Call, Failed, Heard, TurnCommitted, UserState
from tests.offline.models import Line, ScriptedSTT
from tests.offline.recorder import Recorder
from tests.offline.session import Samples, offline_session, run_call

pytestmark = pytest.mark.model

RATE = 16_000
PAUSE = 2.0
"""Seconds that the caller gives the agent to answer."""
TURNS = (
    (6.5, 7.25, "Hello?"),
    (11.1, 14.45, "Okay, then I thought you know, I heard a beep. This is Diane in New Jersey."),
    (15.0, 17.97, "And I'm Sheila in Texas, originally from Chicago."),
    (18.7, 21.5, "I'm originally from Chicago also. I'm in New Jersey now though."),
)
"""Parts of the sample call, in seconds, and what is said in them."""


@dataclass(frozen=True)
class Conversation:
    """What a caller says."""

    samples: Samples
    """16 kHz."""
    lines: list[Line]
    speech: list[tuple[float, float]]
    """Start and end of what is said, in seconds."""

    def within(self, noise: Samples, snr: float) -> Samples:
        """Return it in a noise of 16 kHz that is ``snr`` dB below the speech."""
        parts = [self.samples[round(a * RATE) : round(b * RATE)] for a, b in self.speech]
        wanted = power(np.concatenate(parts)) / 10 ** (snr / 10)
        around = np.resize(noise, len(self.samples)) * np.sqrt(wanted / power(noise))
        return np.clip(np.rint(self.samples + around), -32768, 32767).astype(np.int16)


def power(samples: Samples) -> float:
    return float(np.square(samples, dtype=np.float64).mean())


@pytest.fixture(scope="module")
def dialogue() -> Conversation:
    """Return four turns of the sample call with time to answer between them."""
    recording, parts, lines, speech = sample.load(), [np.zeros(RATE, np.int16)], [], []
    second = 1.0
    for start, end, text in TURNS:
        speech.append((second, second + end - start))
        second += end - start
        lines.append(Line(round(second + sample.STT_DELAY, 3), text))
        parts += [recording.cut(start, end), np.zeros(round(PAUSE * RATE), np.int16)]
        second += PAUSE
    return Conversation(np.concatenate(parts), lines, speech)


@pytest.fixture(scope="module")
def monologue() -> Conversation:
    """Return the whole sample call, in which nobody pauses for long: one turn."""
    recording = sample.load()
    samples = np.concatenate((recording.samples, np.zeros(3 * RATE, np.int16)))
    return Conversation(samples, recording.lines, [(t.start, t.end) for t in recording.turns])


def hiss() -> Samples:
    return np.random.default_rng(0).normal(0, 1000, 30 * RATE).astype(np.int16)


def ambience(name: str) -> Samples:
    """Return a noise that comes with livekit-agents."""
    found = Path(livekit.agents.__file__).with_name("resources") / f"{name}.ogg"
    pcm, rate = demo_audio.read(found)
    return resample(pcm, rate, RATE)


def held(samples: Samples, lines: list[Line], **options: Any) -> Call:
    vad = silero.VAD.load()
    return virtual_loop.run(lambda: run_call(samples, RATE, vad=vad, lines=lines, **options))


def texts(call: Call) -> list[str]:
    return [turn.text for turn in call.of(TurnCommitted)]


def times(call: Call) -> list[float]:
    return [turn.at for turn in call.of(TurnCommitted)]


def test_in_hiss_turns_are_committed_as_on_the_clean_call(dialogue: Conversation) -> None:
    clean = held(dialogue.samples, dialogue.lines)
    assert texts(clean) == [text for _, _, text in TURNS]
    noisy = held(dialogue.within(hiss(), 5), dialogue.lines, processor=BVC())
    assert texts(noisy) == texts(clean)
    assert times(noisy) == pytest.approx(times(clean), abs=0.35)
    assert not noisy.of(Failed)


def test_in_a_crowd_turns_are_committed_one_by_one_and_without_it_all_at_once(
    dialogue: Conversation,
) -> None:
    crowd = dialogue.within(ambience("crowded-room"), 5)
    with_it = held(crowd, dialogue.lines, processor=BVC())
    assert texts(with_it) == [text for _, _, text in TURNS]
    assert len(texts(held(crowd, dialogue.lines))) < len(TURNS)


def test_the_whole_call_in_a_street_is_the_turn_that_the_clean_call_is(
    monologue: Conversation,
) -> None:
    clean = held(monologue.samples, monologue.lines)
    noisy = held(monologue.within(ambience("city-ambience"), 5), monologue.lines, processor=BVC())
    assert texts(noisy) == texts(clean)
    assert times(noisy) == pytest.approx(times(clean), abs=0.35)


def test_through_the_audio_input_of_a_room_the_turn_is_committed_too() -> None:
    hello = np.concatenate((sample.hello(RATE), np.zeros(RATE, np.int16)))
    noisy = Conversation(hello, [Line(1.3, "Hello?")], [(0.58, 1.0)]).within(hiss(), 10)
    processor = BVC()

    async def main() -> Call:
        committed = asyncio.Event()
        recorder = Recorder(lambda one: committed.set() if isinstance(one, TurnCommitted) else None)
        stt = ScriptedSTT([Line(1.3, "Hello?")])
        async with room.audio_input(processor) as (audio, caller):
            running = offline_session(silero.VAD.load(), recorder, stt=stt)
            running.input.audio = audio
            await running.start(Agent(instructions="You are a voice in a room."))
            recorder.begin()
            audio._on_track_available(*caller.publish())
            await caller.microphones[0].speak(resample(noisy, RATE, room.RATE))
            await asyncio.wait_for(committed.wait(), 10)
            await running.aclose()
        return recorder.call

    call = asyncio.run(main())
    assert texts(call) == ["Hello?"]
    assert [state.state for state in call.of(UserState)] == ["speaking", "listening"]
    assert processor.degraded == 0
    assert not call.of(Failed)


# ---- examples/noise.py ------------------------------------------------------------------------


def test_the_agent_of_the_example_that_cleans_for_its_stt_alone_hears_and_commits(
    dialogue: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Agent", lambda **_: noise.QuietSTT())
    made: list[NC] = []
    monkeypatch.setattr(noise.noise_cancellation, "NC", lambda: made.append(NC()) or made[-1])
    call = held(dialogue.samples, dialogue.lines)
    assert texts(call) == [text for _, _, text in TURNS]
    assert [heard.text for heard in call.of(Heard)] == texts(call)
    assert made
    assert all(nc.degraded == 0 for nc in made)


@pytest.mark.parametrize(
    ("kind", "kind_of_noise_cancellation"),
    [
        (rtc.ParticipantKind.PARTICIPANT_KIND_SIP, BVCTelephony),
        (rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD, BVC),
    ],
)
def test_the_room_options_of_the_example_tell_telephones_from_others(
    kind: int, kind_of_noise_cancellation: type[BVC]
) -> None:
    options = noise.room_options().get_audio_input_options()
    assert options is not None
    select = options.noise_cancellation
    assert callable(select)
    caller = room.Caller(room.Room(), kind)
    made = [select(NoiseCancellationParams(caller, None)) for _ in range(2)]  # type: ignore[arg-type]
    assert [type(one) for one in made] == [kind_of_noise_cancellation] * 2
    assert made[0] is not made[1]
