"""An agent that hears its callers without the noise around them, on the CPU of this machine.

    pip install .      # in a clone of nearvoice
    python -m livekit.agents download-files
    python examples/noise.py dev

Noise suppression wants no cloud, and works with a LiveKit server of your own. STT, LLM and TTS are
LiveKit Inference's here, which wants LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET of its
cloud: put plugins in their place. The console has no room, and so no noise suppression but that of
``QuietSTT``.
"""

from collections.abc import AsyncIterable
from typing import Any

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    JobProcess,
    ModelSettings,
    cli,
    room_io,
)

# upstream: from livekit.plugins import noise_cancellation, silero
from livekit.plugins.nearvoice import noise_cancellation, silero


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(
            instructions="You are a helpful voice AI assistant. "
            "Your answers are short and to the point, without any formatting or symbols."
        )


class QuietSTT(Assistant):
    """Another way: only the STT hears without noise; VAD and turn detector hear all there is.

    It wants no noise suppression in the room: one is enough.
    """

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterable[Any]:
        quiet = noise_cancellation.filter(audio, noise_cancellation.NC())
        async for event in Agent.default.stt_node(self, quiet, model_settings):
            yield event


def models() -> dict[str, Any]:
    """What else a session is made of; a function, so that a test can put local models here."""
    return {
        "stt": "deepgram/nova-3:en",
        "llm": "openai/gpt-4.1-mini",
        "tts": "cartesia/sonic-3:9626c31c-bec5-4cca-baa8-f8ba9e84c8bc",
        "turn_handling": {"turn_detection": "vad"},
    }


def room_options() -> room_io.RoomOptions:
    """Noise suppression by who calls; ``noise_cancellation=noise_cancellation.BVC()`` is for one.

    A selector has to return a new object for each track. LiveKit turns its gain control on behind
    a selector; nearvoice keeps the level of the caller, so that it is left off here.
    """
    sip = rtc.ParticipantKind.PARTICIPANT_KIND_SIP
    return room_io.RoomOptions(
        audio_input=room_io.AudioInputOptions(
            noise_cancellation=lambda params: (
                noise_cancellation.BVCTelephony()
                if params.participant.kind == sip
                else noise_cancellation.BVC()
            ),
            auto_gain_control=False,
        )
    )


server = AgentServer()


def prewarm(proc: JobProcess) -> None:
    proc.userdata["vad"] = silero.VAD.load()
    noise_cancellation.BVC()  # loads the weights, which all objects share


server.setup_fnc = prewarm


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(vad=ctx.proc.userdata["vad"], **models())
    await session.start(room=ctx.room, agent=Assistant(), room_options=room_options())
    await session.generate_reply(instructions="Greet the user and offer your assistance.")


if __name__ == "__main__":
    cli.run_app(server)
