"""The combinations of the task ``call``: the parts of a session, as their documentation has it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

from livekit import rtc
from livekit.agents import inference
from livekit.agents.vad import VAD

from . import systems

Seen = Callable[[float], None]
"""Is told the probability of each prediction of the end of a turn, when it is there."""


class Parts(NamedTuple):
    """Of one session; all of them new."""

    vad: VAD
    turn_detection: Any
    processor: rtc.FrameProcessor[rtc.AudioFrame] | None = None


class System(NamedTuple):
    """A combination of parts."""

    vad: Callable[[], VAD]
    turn: Callable[[Seen], Any] | None = None
    """None for an agent that waits, always as long, after speech."""
    noise: Callable[[], rtc.FrameProcessor[rtc.AudioFrame]] | None = None

    def parts(self, seen: Seen) -> Parts:
        """Return new parts."""
        turn = "vad" if self.turn is None else self.turn(seen)
        return Parts(self.vad(), turn, self.noise() if self.noise else None)


def _audio(seen: Seen) -> inference.TurnDetector:
    """Return LiveKit's detector that hears: its small network, which runs here."""
    detector = inference.TurnDetector(version="v1-mini")
    opened = detector.stream

    def stream(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - a private class
        made: Any = opened(*arguments, **options)
        resolve = made._resolve_prediction

        def resolved(request: str, probability: float, **more: Any) -> None:  # noqa: ANN401
            seen(probability)
            resolve(request, probability, **more)

        made._resolve_prediction = resolved
        return made

    detector.stream = stream  # type: ignore[method-assign]
    return detector


def _text(seen: Seen) -> Any:  # noqa: ANN401 - our protocol for text
    from livekit.plugins.nearvoice.turn_detector import MultilingualModel

    return MultilingualModel(on_prediction=lambda one: seen(one.probability))


def _noise(name: str) -> rtc.FrameProcessor[rtc.AudioFrame]:
    from livekit.plugins.nearvoice import noise_cancellation

    processor: rtc.FrameProcessor[rtc.AudioFrame] = getattr(noise_cancellation, name)()
    return processor


def _ours() -> VAD:
    return systems.ours("auto")


SYSTEMS = {
    "livekit defaults": System(inference.VAD, _audio),
    "livekit silero, fixed wait": System(systems.plugin),
    "livekit silero, nearvoice turn": System(systems.plugin, _text),
    "nearvoice VAD, fixed wait": System(_ours),
    "nearvoice VAD, v1-mini": System(_ours, _audio),
    "nearvoice VAD and turn": System(_ours, _text),
    "nearvoice VAD, turn and NC()": System(_ours, _text, lambda: _noise("NC")),
    "nearvoice VAD, turn and BVC()": System(_ours, _text, lambda: _noise("BVC")),
}
"""Name -> its parts."""


def versions() -> str:
    """Return what predictions depend on."""
    return " ".join(
        version(name)
        for name in ("livekit-agents", "livekit-plugins-silero", "livekit-plugins-nearvoice")
    )
