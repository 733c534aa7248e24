"""From speech probabilities to the moments speech starts and ends; no model, no audio, no clock.

The rules are those of livekit-plugins-silero 1.8.9 (``livekit/plugins/silero/vad.py``), to the bit:
durations are sums of the window's duration in double precision, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Literal, NamedTuple

from .threshold import DEACTIVATION, AdaptiveThreshold


@dataclass(frozen=True)
class SpeechOptions:
    """When to believe the probabilities. Durations are seconds, thresholds probabilities.

    Raises:
        ValueError: A threshold is outside 0 to 1, a duration outside 0 to a day, or no number.
    """

    min_speech_duration: float = 0.05
    """Unbroken speech needed to start."""
    min_silence_duration: float = 0.55
    """Unbroken silence needed to end."""
    prefix_padding_duration: float = 0.5
    """Audio from before the start that belongs to the speech segment."""
    max_buffered_speech: float = 60.0
    """Audio of one speech segment that is kept, the prefix not counted."""
    activation_threshold: float | Literal["auto"] = 0.5
    """Probability from which silence becomes speech; "auto" learns it from the stream."""
    deactivation_threshold: float | None = None
    """Probability down to which speech stays speech; None follows the activation threshold."""
    smoothing: float = 0.35
    """Weight of the past in the exponential average of the probabilities; 0 turns it off."""
    max_speech_duration: float | None = None
    """Seconds after which speech is ended even if it goes on; None for never."""

    def __post_init__(self) -> None:
        for option in fields(self):
            self._check(option.name)
        if self.smoothing == 1:
            raise ValueError("smoothing must be below 1: at 1 no window is ever heard")

    def _check(self, name: str) -> None:
        value = getattr(self, name)
        is_number = _is_number(value)
        if name in _ALSO and value == _ALSO[name]:
            return
        if is_number and name in _ABOVE_ZERO and not value > 0:
            raise ValueError(f"{name} must be greater than 0")
        highest = 1 if name in _PROBABILITIES else _DAY
        if not is_number or not 0 <= value <= highest:
            also = f", or {_ALSO[name]!r}" if name in _ALSO else ""
            raise ValueError(f"{name} must be a number from 0 to {highest}{also}, got {value!r}")

    def deactivation(self, activation: float) -> float:
        """Return the deactivation threshold that goes with the activation threshold in force."""
        given = self.deactivation_threshold
        if self.activation_threshold == "auto":
            learnt = activation * DEACTIVATION
            return learnt if given is None else min(given, learnt)
        if given is not None:
            return given
        return max(activation - 0.15, 0.01)


def _is_number(value: object) -> bool:
    try:
        math.isnan(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


_ALSO = {
    "activation_threshold": "auto",
    "deactivation_threshold": None,
    "max_speech_duration": None,
}
"""What an option may be besides a number."""
_ABOVE_ZERO = ("deactivation_threshold", "max_speech_duration")
_PROBABILITIES = ("activation_threshold", "deactivation_threshold", "smoothing")
_DAY = 86_400
"""The longest duration that can be meant, in seconds."""


class Boundary(Enum):
    """What a window can change."""

    START = "start"
    END = "end"


class Change(NamedTuple):
    """A start or an end of speech, and how long what led to it lasted, in seconds."""

    boundary: Boundary
    speech_duration: float
    silence_duration: float
    forced: bool = False
    """Whether speech was ended because it had lasted ``max_speech_duration``."""


class Step(NamedTuple):
    """What one window said. ``speaking`` and the raw durations are from before the window."""

    probability: float
    """Smoothed P(speech) of the window: what the thresholds were held against."""
    speaking: bool
    """Whether speech had started, and not ended, before the window."""
    speech_duration: float
    """Seconds since speech started, 0 outside speech."""
    silence_duration: float
    """Seconds since speech ended, 0 inside speech."""
    raw_speech: float
    """Unbroken windows above the threshold before this one, in seconds."""
    raw_silence: float
    """Unbroken windows below the threshold before this one, in seconds."""
    change: Change | None
    """Whether the window started or ended speech."""


@dataclass
class SpeechDetector:
    """Hysteresis over the probabilities of one stream; a new detector is a new stream."""

    window_duration: float
    """Seconds of audio behind each probability."""
    options: SpeechOptions = field(default_factory=SpeechOptions)
    """May be replaced between steps."""
    windows: int = 0
    """Windows seen."""
    timestamp: float = 0.0
    """Seconds of audio seen."""
    probability: float | None = None
    """Smoothed probability of the last window."""
    speaking: bool = False
    speech_duration: float = 0.0
    silence_duration: float = 0.0
    raw_speech: float = 0.0
    raw_silence: float = 0.0
    adaptive: AdaptiveThreshold = field(default_factory=AdaptiveThreshold)
    """Learns the activation threshold while that is "auto"."""
    activation: float = 0.0
    """Threshold that the last window was held against, if that was not speech before."""

    @property
    def idle(self) -> bool:
        """True when neither speech nor the onset of it is under way."""
        return not self.speaking and self.raw_speech == 0.0

    def step(self, probability: float) -> Step:
        """Take P(speech) of the next window; return what follows from it."""
        self.windows += 1
        self.timestamp += self.window_duration
        self.probability = self._smooth(probability)
        if self.speaking:
            self.speech_duration += self.window_duration
        else:
            self.silence_duration += self.window_duration
        before = (
            self.probability,
            self.speaking,
            self.speech_duration,
            self.silence_duration,
            self.raw_speech,
            self.raw_silence,
        )
        self.activation = self._activation(probability)
        is_speech = self._is_speech(self.probability, self.activation)
        change = self._speech() if is_speech else self._silence()
        if change is None and self._is_too_long():
            change = self._end(forced=True)
        return Step(*before, change)

    def _activation(self, probability: float) -> float:
        fixed = self.options.activation_threshold
        return self.adaptive.step(probability) if fixed == "auto" else fixed

    def _smooth(self, probability: float) -> float:
        past = self.options.smoothing
        if self.probability is None:
            return probability
        return past * self.probability + (1 - past) * probability

    def _is_speech(self, probability: float, activation: float) -> bool:
        if probability >= activation:
            return True
        return self.speaking and probability > self.options.deactivation(activation)

    def _is_too_long(self) -> bool:
        longest = self.options.max_speech_duration
        return longest is not None and self.speaking and self.speech_duration >= longest

    def _speech(self) -> Change | None:
        self.raw_speech += self.window_duration
        self.raw_silence = 0.0
        if self.speaking or self.raw_speech < self.options.min_speech_duration:
            return None
        self.speaking = True
        self.speech_duration, self.silence_duration = self.raw_speech, 0.0
        return Change(Boundary.START, self.speech_duration, self.silence_duration)

    def _silence(self) -> Change | None:
        self.raw_silence += self.window_duration
        self.raw_speech = 0.0
        if not self.speaking or self.raw_silence < self.options.min_silence_duration:
            return None
        return self._end()

    def _end(self, forced: bool = False) -> Change:
        """End speech; if it goes on, it starts anew when it has lasted long enough for that."""
        spoken = max(0.0, self.speech_duration - self.raw_silence)
        self.speaking = False
        self.raw_speech = 0.0
        self.speech_duration, self.silence_duration = 0.0, self.raw_silence
        return Change(Boundary.END, spoken, self.silence_duration, forced)
