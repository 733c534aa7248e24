"""examples/agent.py as it is, with models that need no network: an agent file for LiveKit's CLI.

``python -m livekit.agents console tests/offline/scripted_agent.py --connect-addr ...`` runs it from
the repository root. The caller says ``sample.hello()``; the STT hears :data:`LINES`.
"""

from __future__ import annotations

from typing import Any

from livekit.agents import JobProcess

from examples import agent
from tests.offline.models import EchoLLM, Line, ScriptedSTT, SilentTTS

LINES = [Line(1.3, "Hello?")]
"""When, in seconds of the audio that reached the session, the STT has heard what."""


def models() -> dict[str, Any]:
    """Return what examples/agent.py gives to its session besides VAD and turn detector."""
    return {
        "stt": ScriptedSTT(LINES),
        "llm": EchoLLM("You said: {text}"),
        "tts": SilentTTS(word=0.1),
        "aec_warmup_duration": None,
    }


def prewarm(proc: JobProcess) -> None:
    """Prewarm as the example does.

    A job process finds its functions by module name: this one makes it import this module, and so
    have the scripted models.
    """
    agent.prewarm(proc)


agent.models = models
server = agent.server
server.setup_fnc = prewarm
