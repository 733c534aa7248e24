"""What the demo says: a call's entries and its score in, lines for people out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

from rich.console import Console

from nearvoice.silero import choose_kernel
from nearvoice.speech import SpeechOptions
from nearvoice.turn import locate
from scripts import demo_score
from tests.offline import call as happened
from tests.offline.call import Entry
from tests.offline.sample import Recording
from tests.offline.session import FRAME


@dataclass(frozen=True)
class Settings:
    """How the call is held."""

    min_silence: float
    """Seconds of silence that end a speech segment."""
    endpointing: float = 0.4
    """Seconds without speech after which the session commits a turn that has ended."""
    hold: float = 3.0
    """The same for a turn that seems unfinished: LiveKit's default."""
    tail: float = 4.0
    """Seconds of silence on the line after the recording."""
    activation: float = 0.5
    """Probability at which speech starts: the default of ``VAD.load()``."""
    deactivation: float = 0.35
    """Probability under which speech ends: the default of ``VAD.load()``."""


def line(entry: Entry) -> tuple[str, str] | None:
    """Return who and what to print of an entry, or None for nothing."""
    match entry:
        case happened.SpeechStarted(onset=onset, probability=p):
            return "VAD", f"START of speech  p {p:.2f}, heard since {onset:.2f} s"
        case happened.SpeechEnded(end=end, probability=p):
            return "VAD", f"END of speech    p {p:.2f}, silent since {end:.2f} s"
        case happened.UserState(state=state):
            return "user", state
        case happened.Heard(text=text):
            return "STT", _quoted(text)
        case happened.TurnPredicted():
            return "turn", _predicted(entry)
        case happened.TurnCommitted(text=text):
            return "turn", f"committed: {_quoted(text)}"
        case happened.ReplyStarted():
            return "agent", "starts to reply"
        case happened.ReplyEnded(interrupted=True, played=played):
            return "agent", f"is interrupted by the user, {played:.2f} s into its reply"
        case happened.ReplyEnded(played=played):
            return "agent", f"has replied, {played:.2f} s"
        case happened.Failed(message=message):
            return "agent", f"error: {message}"
    return None


def _predicted(entry: happened.TurnPredicted) -> str:
    language = entry.language or "any language"
    if entry.outcome != "predicted":
        return f"released: its prediction is {entry.outcome}; {entry.milliseconds:.1f} ms"
    sign, verdict = (">=", "ended") if entry.ended else ("<", "unfinished")
    return (
        f"{verdict}: p {entry.probability:.3f} {sign} {entry.threshold:.3f} for {language}; "
        f"{entry.milliseconds:.1f} ms"
    )


def _quoted(text: str) -> str:
    return f'"{textwrap.shorten(text, 84, placeholder=" …")}"'


def introduce(console: Console, recording: Recording, settings: Settings) -> None:
    """Say what is played to whom."""
    kernel, _ = choose_kernel()
    default = SpeechOptions().min_silence_duration
    chosen = (
        "" if settings.min_silence == default else f", where VAD.load() waits for {default:g} s"
    )
    console.print(recording.name, style="bold", end="")
    console.print(
        f", {recording.duration:.1f} s at {recording.rate} Hz, is "
        f"played to a real AgentSession (livekit-agents {version('livekit-agents')})\n"
        f"  VAD    livekit.plugins.nearvoice silero on the CPU, kernel {kernel}; "
        f"a pause of {settings.min_silence:g} s ends speech{chosen}\n"
        f"  turns  {_turns(recording, settings)}\n"
        "  rest   STT, LLM and TTS are scripted, so that nothing leaves this machine; "
        + (
            "the STT says the call's own transcript"
            if recording.lines
            else "the STT says “(speech n)” for whatever it hears"
        )
        + f"\n  after the recording the line stays open and silent for {settings.tail:g} s\n"
    )


def _turns(recording: Recording, settings: Settings) -> str:
    """Return what decides that a turn has ended."""
    least, most = f"{settings.endpointing:g} s", f"{settings.hold:g} s"
    if not recording.lines:
        return (
            'turn_detection="vad": a turn detector reads words, and nobody wrote down these; '
            f"a turn is committed after {least} without speech"
        )
    bundle = locate("nearvoice")
    return (
        f"livekit.plugins.nearvoice turn detector, {bundle.name} {bundle.version}: a turn is "
        f"committed after {least} without speech, and if it seems unfinished after {most}"
    )


def conclude(
    console: Console,
    score: demo_score.Score | None,
    predictions: Sequence[happened.TurnPredicted],
    settings: Settings,
) -> None:
    """Say what the turn detector did, and how well the VAD."""
    if predictions:
        _conclude_turns(console, predictions)
    if score is None:
        console.print("\nno labels come with this recording, so there is nothing to compare with")
        return
    console.print("\nagreement with the labels", style="bold", end=" ")
    console.print("(the recording's own list of who speaks when)")
    console.print(
        f"  frames    {score.agreement:.1%} of {score.frames} frames of 10 ms are judged as the "
        f"labels say; precision {score.precision:.1%} (what is called speech is speech), "
        f"recall {score.recall:.1%} (speech that is found)"
    )
    console.print(
        f"  segments  {score.labelled} labelled, {score.detected} detected; "
        f"{len(score.missed)} missed, {len(score.invented)} where nobody speaks"
    )
    console.print(
        f"  latency   START comes {_seconds(score.start_latency)} after speech starts, END "
        f"{_seconds(score.end_latency)} after it ends (medians of {score.starts} and {score.ends};"
        f" END waits for {settings.min_silence:g} s of silence, and sound comes in frames of "
        f"{FRAME:g} s)"
    )


def _conclude_turns(console: Console, predictions: Sequence[happened.TurnPredicted]) -> None:
    ended = sum(one.ended for one in predictions)
    took = [one.milliseconds for one in predictions]
    console.print("\nturn detector", style="bold", end=" ")
    console.print("(nothing to compare with: nobody marked where the turns of this call end)")
    console.print(
        f"  asked {len(predictions)} times: {ended} ended, {len(predictions) - ended} unfinished; "
        f"{median(took):.1f} ms in the median, {max(took):.1f} ms at most"
    )


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"
