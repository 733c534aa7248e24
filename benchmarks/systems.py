"""What is compared: a name, and how to load it the way its documentation says."""

from collections.abc import Callable

from livekit.agents.vad import VAD

PEER = "livekit-plugins-silero"
"""The original, against which ratios are given."""
NATIVE = "livekit inference.VAD"
"""What AgentSession uses when no VAD is given."""
OURS = "nearvoice numpy"


def _plugin() -> VAD:
    from livekit.plugins import silero

    return silero.VAD.load()


def _native() -> VAD:
    from livekit.agents import inference

    return inference.VAD(min_silence_duration=0.55)


def _ours() -> VAD:
    from livekit.plugins.nearvoice import silero

    return silero.VAD.load(kernel="numpy")


VADS: dict[str, Callable[[], VAD]] = {PEER: _plugin, NATIVE: _native, OURS: _ours}
"""Name -> a freshly loaded VAD."""
