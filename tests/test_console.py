"""The quickstart agent as users start it: LiveKit's CLI in a process, a caller on a socket."""

from __future__ import annotations

import asyncio

import pytest

from nearvoice.turn import locate
from tests.offline import sample
from tests.offline.console import RATE, ROOT, Console, agent_process, stop

AGENT = ROOT / "tests/offline/scripted_agent.py"


async def held(log):
    """Hold a call with the agent until it has replied; return the console and its exit status."""
    done = {"old_state": "AS_SPEAKING", "new_state": "AS_LISTENING"}
    async with Console() as console, agent_process(AGENT, console.address, log) as process:
        greeted = await console.wait_for("agent_state_changed", **done, timeout=40)
        speaking = asyncio.create_task(console.speak(sample.hello(RATE)))
        await console.wait_for("user_state_changed", new_state="US_SPEAKING")
        stopped = await console.wait_for("user_state_changed", new_state="US_LISTENING")
        await console.wait_for("agent_state_changed", after=stopped, **done)
        await speaking
        assert stopped.at > greeted.at
        return console, await stop(process)


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """A call with the agent: the console, the agent's exit status, and what it printed."""
    log = tmp_path_factory.mktemp("console") / "agent.log"
    console, status = asyncio.run(asyncio.wait_for(held(log), 80))
    return console, status, log.read_text(encoding="utf-8")


@pytest.mark.model
def test_the_quickstart_agent_talks_to_a_caller_and_exits_cleanly(call):
    console, status, printed = call
    states = [event.fields for event in console.events if event.kind == "user_state_changed"]
    assert [state["new_state"] for state in states] == ["US_SPEAKING", "US_LISTENING"]
    finals = [
        event.fields["transcript"]
        for event in console.events
        if event.kind == "user_input_transcribed" and event.fields["is_final"]
    ]
    assert finals == console.said("USER") == ["Hello?"]
    assert console.said("ASSISTANT")[-1] == "You said: Hello?"
    assert console.heard > 0.4  # the greeting of two words, the reply of three, 0.1 s each
    assert not [event for event in console.events if event.kind == "error"]
    assert status == 0
    assert "Traceback" not in printed


@pytest.mark.model
def test_the_console_is_shown_the_prediction_of_the_turn_detector(call):
    console, _, _ = call
    (prediction,) = [event for event in console.events if event.kind == "eot_prediction"]
    (stopped,) = [
        event
        for event in console.events
        if event.kind == "user_state_changed" and event.fields["new_state"] == "US_LISTENING"
    ]
    assert prediction.at >= stopped.at
    assert 0 <= prediction.fields["probability"] <= 1
    english = locate("nearvoice").threshold_for("en")
    assert prediction.fields["threshold"] == pytest.approx(english, rel=1e-6)


def test_an_agent_that_never_comes_is_a_timeout_that_says_what_came():
    async def wait():
        async with Console() as console:
            await console.wait_for("user_state_changed", timeout=0.05)

    with pytest.raises(TimeoutError, match="no user_state_changed"):
        asyncio.run(wait())
