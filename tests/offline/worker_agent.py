"""examples/agent.py for a worker without rooms: in the job process the call comes from a file.

The session that the example makes is a :class:`FiledSession`; when its call is over it writes what
it saw as JSON where the environment variable ``NEARVOICE_TEST_REPORT`` says, and ends the job.
"""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentSession, JobProcess, get_job_context, llm
from livekit.plugins.nearvoice import turn_detector
from livekit.plugins.nearvoice.turn_detector import MultilingualModel

from examples import agent
from tests.offline import sample, scripted_agent
from tests.offline.call import Entry, ReplyEnded
from tests.offline.recorder import ObservedVAD, Recorder
from tests.offline.session import LINE_RATE, CallInput, NullOutput

REPORT = "NEARVOICE_TEST_REPORT"
ANSWER = 15.0
"""Seconds in which the caller is answered."""
SAID = ("so what i need is", "goodbye then", "wie spät ist es", "мне нужно", "네 알겠습니다")
"""Turns that both executors are asked about."""

turn_detector.share_process()  # as the file of an agent does that wants executor="process"


def prewarm(proc: JobProcess) -> None:
    """Prewarm as the example does, and note which process did it, and what was made."""
    agent.prewarm(proc)
    loaded = [id(proc.userdata[name]) for name in ("vad", "turn_detector")]
    proc.userdata["prewarmed"] = (os.getpid(), loaded)


class FiledSession(AgentSession[None]):
    """An AgentSession that hears a call from a file, watched by a recorder."""

    def __init__(self, vad: Any, turn_handling: Any, **options: Any) -> None:
        self._answered = asyncio.Event()
        self.recorder = Recorder(self._see)
        self._vad_given = vad
        self._detector: MultilingualModel = turn_handling["turn_detection"]
        super().__init__(
            vad=ObservedVAD(vad, self.recorder.vad_event), turn_handling=turn_handling, **options
        )
        self._caller = CallInput(sample.hello(LINE_RATE), LINE_RATE)
        self.input.audio = self._caller
        self.output.audio = NullOutput(self.recorder.reply_ended)
        self.recorder.watch(self)

    async def start(self, agent: Agent, **options: Any) -> Any:
        """Start as in the example, then let the caller speak."""
        await super().start(agent, **options)
        self._playing = asyncio.create_task(self._play())

    def _see(self, entry: Entry) -> None:
        if len(self.recorder.call.of(ReplyEnded)) == 2:  # the greeting and the answer
            self._answered.set()

    async def _play(self) -> None:
        report: dict[str, Any] = {}
        try:
            self.recorder.begin()
            await self._caller.play()
            await asyncio.wait_for(self._answered.wait(), ANSWER)
            report = self._report() | {"executors": await _executors()}
        except Exception:
            report = {"error": traceback.format_exc()}  # the test shows it
            raise
        finally:
            _write(report)
            get_job_context().shutdown("the call is over")

    def _report(self) -> dict[str, Any]:
        pid, loaded = get_job_context().proc.userdata["prewarmed"]
        return {
            "prewarm_pid": pid,
            "job_pid": os.getpid(),
            "vad": _name(self._vad_given),
            "turn_detector": _name(self._detector),
            "both_are_the_prewarmed_ones": [id(self._vad_given), id(self._detector)] == loaded,
            "statistics": asdict(self._detector.statistics),
            "timeline": [entry.as_dict() for entry in self.recorder.call.timeline],
        }


def _name(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__name__}"


async def _executors() -> dict[str, Any]:
    """Return what each executor makes of the same turns, and how often it really predicted."""
    found: dict[str, Any] = {}
    for executor in ("thread", "process"):
        detector = MultilingualModel(executor=executor, timeout=10.0)
        probabilities = []
        for text in SAID:
            said = llm.ChatContext.empty()
            said.add_message(role="user", content=text)
            probabilities.append(await detector.predict_end_of_turn(said))
        found[executor] = {
            "probabilities": probabilities,
            "predicted": detector.statistics.predicted,
        }
    return found


def _write(report: dict[str, Any]) -> None:
    """Put the report in its place at once: nobody sees half of it."""
    path = Path(os.environ[REPORT])
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(json.dumps(report), encoding="utf-8")
    unfinished.rename(path)


agent.AgentSession = FiledSession  # type: ignore[assignment, attr-defined]
server = scripted_agent.server
server.setup_fnc = prewarm
