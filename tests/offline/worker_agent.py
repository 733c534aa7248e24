"""examples/agent.py for a worker without rooms: in the job process the call comes from a file.

The session that the example makes is a :class:`FiledSession`; when its call is over it writes what
it saw as JSON where the environment variable ``NEARVOICE_TEST_REPORT`` says, and ends the job.
"""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentSession, JobProcess, get_job_context

from examples import agent
from tests.offline import sample, scripted_agent
from tests.offline.recorder import ObservedVAD, Recorder
from tests.offline.session import LINE_RATE, CallInput, NullOutput

REPORT = "NEARVOICE_TEST_REPORT"


def prewarm(proc: JobProcess) -> None:
    """Prewarm as the example does, and note which process did it."""
    agent.prewarm(proc)
    proc.userdata["prewarmed"] = (os.getpid(), id(proc.userdata["vad"]))


class FiledSession(AgentSession[None]):
    """An AgentSession that hears a call from a file, watched by a recorder."""

    def __init__(self, vad: Any, **options: Any) -> None:
        self.recorder = Recorder()
        self._given = vad
        super().__init__(vad=ObservedVAD(vad, self.recorder.vad_event), **options)
        self._caller = CallInput(sample.hello(LINE_RATE), LINE_RATE)
        self.input.audio = self._caller
        self.output.audio = NullOutput(self.recorder.reply_ended)
        self.recorder.watch(self)

    async def start(self, agent: Agent, **options: Any) -> Any:
        """Start as in the example, then let the caller speak."""
        await super().start(agent, **options)
        self._playing = asyncio.create_task(self._play())

    async def _play(self) -> None:
        report: dict[str, Any] = {}
        try:
            self.recorder.begin()
            await self._caller.play()
            await asyncio.sleep(1.0)
            report = self._report()
        except Exception:
            report = {"error": traceback.format_exc()}  # the test shows it
            raise
        finally:
            _write(report)
            get_job_context().shutdown("the call is over")

    def _report(self) -> dict[str, Any]:
        pid, prewarmed = get_job_context().proc.userdata["prewarmed"]
        return {
            "prewarm_pid": pid,
            "job_pid": os.getpid(),
            "vad": f"{type(self._given).__module__}.{type(self._given).__name__}",
            "vad_is_the_prewarmed_one": id(self._given) == prewarmed,
            "timeline": [entry.as_dict() for entry in self.recorder.call.timeline],
        }


def _write(report: dict[str, Any]) -> None:
    """Put the report in its place at once: nobody sees half of it."""
    path = Path(os.environ[REPORT])
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(json.dumps(report), encoding="utf-8")
    unfinished.rename(path)


agent.AgentSession = FiledSession  # type: ignore[assignment, attr-defined]
server = scripted_agent.server
server.setup_fnc = prewarm
