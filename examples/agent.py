"""LiveKit's voice AI quickstart with two imports changed: its VAD and its turn detector.

    pip install .      # in a clone of nearvoice
    python -m livekit.agents download-files
    lk agent console examples/agent.py     # or: python examples/agent.py console

STT, LLM and TTS are LiveKit Inference's here, which wants LIVEKIT_URL, LIVEKIT_API_KEY and
LIVEKIT_API_SECRET; VAD and turn detector want nothing and run on the CPU of this machine.
"""

from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli

# the imports that change; upstream: from livekit.plugins import silero
# and from livekit.plugins.turn_detector.multilingual import MultilingualModel
from livekit.plugins.nearvoice import silero
from livekit.plugins.nearvoice.turn_detector import MultilingualModel


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(
            instructions="You are a helpful voice AI assistant. "
            "Your answers are short and to the point, without any formatting or symbols."
        )


def models() -> dict[str, Any]:
    """What else a session is made of; a function, so that a test can put local models here."""
    return {
        "stt": "deepgram/nova-3:en",
        "llm": "openai/gpt-4.1-mini",
        "tts": "cartesia/sonic-3:9626c31c-bec5-4cca-baa8-f8ba9e84c8bc",
    }


server = AgentServer()


def prewarm(proc: JobProcess) -> None:
    proc.userdata["vad"] = silero.VAD.load()
    proc.userdata["turn_detector"] = MultilingualModel()


server.setup_fnc = prewarm


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        vad=ctx.proc.userdata["vad"],
        turn_handling={"turn_detection": ctx.proc.userdata["turn_detector"]},
        **models(),
    )
    await session.start(room=ctx.room, agent=Assistant())
    await session.generate_reply(instructions="Greet the user and offer your assistance.")


if __name__ == "__main__":
    cli.run_app(server)
