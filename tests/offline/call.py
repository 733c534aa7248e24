"""What happened in a call: one small frozen class per kind of entry, all in call seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar


@dataclass(frozen=True)
class Entry:
    """Something that happened."""

    at: float
    """Seconds since the first sample of the call went out."""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain values, with its kind, for JSON."""
        return {"kind": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class SpeechStarted(Entry):
    """The VAD sent START_OF_SPEECH."""

    onset: float
    """Second of the audio at which the speech began."""
    probability: float
    """The P(speech) that decided."""


@dataclass(frozen=True)
class SpeechEnded(Entry):
    """The VAD sent END_OF_SPEECH."""

    end: float
    """Second of the audio at which the speech stopped."""
    probability: float
    """The P(speech) that decided."""


@dataclass(frozen=True)
class UserState(Entry):
    """The session changed its mind about the user."""

    state: str
    """``speaking``, ``listening`` or ``away``."""


@dataclass(frozen=True)
class AgentState(Entry):
    """The agent went into another state."""

    state: str
    """``initializing``, ``listening``, ``thinking`` or ``speaking``."""


@dataclass(frozen=True)
class Heard(Entry):
    """A final transcript arrived."""

    text: str


@dataclass(frozen=True)
class TurnPredicted(Entry):
    """The turn detector said how likely it is that the user has finished."""

    probability: float
    threshold: float
    """Under it the session waits for more."""
    language: str | None
    """Whose threshold that is; None for the one of all other languages."""
    milliseconds: float
    """What it took, on the machine's clock."""
    outcome: str
    """``predicted``, ``late`` or ``failed``."""

    @property
    def ended(self) -> bool:
        """Whether the session takes the turn as ended."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class TurnCommitted(Entry):
    """The session decided that the user had finished: what it said goes to the LLM."""

    text: str


@dataclass(frozen=True)
class ReplyStarted(Entry):
    """The agent's reply began to play."""


@dataclass(frozen=True)
class ReplyEnded(Entry):
    """The agent's reply finished playing, or was cut off."""

    played: float
    """Seconds of it that were heard."""
    interrupted: bool


@dataclass(frozen=True)
class Failed(Entry):
    """The session reported an error."""

    message: str


E = TypeVar("E", bound=Entry)


@dataclass
class Call:
    """Everything that was seen of one call, in order."""

    timeline: list[Entry] = field(default_factory=list)
    probabilities: list[tuple[float, float]] = field(default_factory=list)
    """(second of the audio at the end of the window, P(speech)), one per window."""

    def of(self, kind: type[E]) -> list[E]:
        """Return the entries of one kind."""
        return [entry for entry in self.timeline if isinstance(entry, kind)]

    def segments(self, until: float) -> list[tuple[float, float]]:
        """Return the detected speech as (start, end); what is still open closes at ``until``."""
        starts = [entry.onset for entry in self.of(SpeechStarted)]
        ends = [entry.end for entry in self.of(SpeechEnded)]
        ends += [until] * (len(starts) - len(ends))
        return [
            (start, min(end, until))
            for start, end in zip(starts, ends, strict=True)
            if start < until
        ]
