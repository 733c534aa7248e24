"""``make demo``: a call with a real AgentSession and nearvoice's models; show what they do."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from livekit.plugins.nearvoice import silero
from livekit.plugins.nearvoice.turn_detector import MultilingualModel
from rich.console import Console
from rich.text import Text

from nearvoice import files, progress
from nearvoice.silero import choose_kernel
from nearvoice.speech import SpeechOptions
from scripts import demo_audio, demo_picture, demo_score, demo_words
from scripts.demo_words import Settings
from tests.offline import call as happened
from tests.offline import sample, virtual_loop
from tests.offline.call import Call, Entry
from tests.offline.models import EchoLLM, ScriptedSTT
from tests.offline.recorder import Recorder
from tests.offline.sample import Recording
from tests.offline.session import run_call

MODEL = ("silero_vad.onnx",)
SAMPLE = ("sample.wav", "sample.stm", "sample.rttm")
LOAD_SILENCE = SpeechOptions().min_silence_duration
SAMPLE_SILENCE = 0.15
COLOURS = {"VAD": "yellow", "user": "cyan", "STT": "white", "turn": "green", "agent": "magenta"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = _options(arguments)
    try:
        return _run(options)
    except demo_audio.NotAudioError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the download failed, or there is no room for the picture
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    _fetch(MODEL if options.audio else MODEL + SAMPLE)
    recording = _recording(options.audio)
    silence = options.min_silence
    if silence is None:
        silence = SAMPLE_SILENCE if recording.turns else LOAD_SILENCE
    settings = demo_words.Settings(silence)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    demo_words.introduce(console, recording, settings)
    call = hold(recording, settings, options.speed, console)
    if not call.segments(recording.duration):
        console.print("  nobody is heard to speak")
    score = judge(call, recording) if recording.turns else None
    demo_words.conclude(console, score, call.of(happened.TurnPredicted), settings)
    _save(options.out, recording, call, score, settings)
    console.print(f"\nsaved {options.out / 'call.png'} and {options.out / 'call.json'}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='make demo ARGS="..."',
        description="Play a telephone call to a voice agent that runs on this machine alone: "
        "a real AgentSession of livekit-agents with nearvoice's VAD and turn detector. Prints a "
        "timeline, saves out/call.png and out/call.json.",
    )
    parser.add_argument(
        "audio",
        nargs="?",
        type=Path,
        help="a WAV, FLAC or MP3 file (default: a real 30 s call with labels to compare with)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        metavar="N",
        help="call seconds per second; 1 is real time, on the machine's own clock "
        "(default: a simulated clock, as fast as the machine can; the result is the same)",
    )
    parser.add_argument(
        "--min-silence",
        type=_positive,
        metavar="SECONDS",
        help="a pause this long ends a speech segment (default: VAD.load()'s "
        f"{LOAD_SILENCE}; for the built-in call {SAMPLE_SILENCE}, as its speakers pause less)",
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder (default: out)")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def _fetch(names: Sequence[str]) -> None:
    """Download what is missing; from the second run on nothing, and the network is not touched."""
    if any(check.state != "ok" for check in files.verify(names)):
        with progress.Lines(stderr=True) as lines:
            files.download(names, report=lines)


def _recording(path: Path | None) -> Recording:
    if path is not None:
        samples, rate = demo_audio.read(path)
        return Recording(path.name, samples, rate)
    return sample.load()


def hold(recording: Recording, settings: Settings, speed: float | None, console: Console) -> Call:
    """Hold the call and print its timeline as it happens."""
    stt = ScriptedSTT(recording.lines)
    ended = 0

    def show(entry: Entry) -> None:
        nonlocal ended
        if isinstance(entry, happened.SpeechEnded) and not recording.lines:
            ended += 1
            stt.say(f"(speech {ended})")
        line = demo_words.line(entry)
        if line is not None:
            who, what = line
            console.print(Text.assemble(f"{entry.at:8.2f} s  ", (f"{who:<6}", COLOURS[who]), what))

    async def call() -> Call:
        recorder = Recorder(show)
        detector: MultilingualModel | str = "vad"
        if recording.lines:
            detector = MultilingualModel(on_prediction=recorder.turn_predicted)
        return await run_call(
            recording.samples,
            recording.rate,
            vad=silero.VAD.load(min_silence_duration=settings.min_silence),
            stt=stt,
            llm=EchoLLM("I heard {words} words."),
            turn_handling={
                "turn_detection": detector,
                "endpointing": {"min_delay": settings.endpointing, "max_delay": settings.hold},
            },
            tail=settings.tail,
            recorder=recorder,
        )

    if speed == 1:
        return asyncio.run(call())
    return virtual_loop.run(call, speed=speed, limit=recording.duration + 600)


def judge(call: Call, recording: Recording) -> demo_score.Score:
    """Compare the detected speech with the labels."""
    starts = [
        demo_score.Boundary(entry.onset, entry.at) for entry in call.of(happened.SpeechStarted)
    ]
    ends = [demo_score.Boundary(entry.end, entry.at) for entry in call.of(happened.SpeechEnded)]
    return demo_score.score(
        call.segments(recording.duration),
        [(turn.start, turn.end) for turn in recording.turns],
        recording.duration,
        starts=starts,
        ends=ends,
    )


def _save(
    folder: Path,
    recording: Recording,
    call: Call,
    score: demo_score.Score | None,
    settings: Settings,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    note = f"a real AgentSession on the CPU; a pause of {settings.min_silence:g} s ends speech"
    if score is not None:
        note += f"; {score.agreement:.1%} of 10 ms frames as the labels say"
    picture = demo_picture.Picture(
        title=f"{recording.name[:1].upper()}{recording.name[1:]}, as the agent hears it",
        samples=recording.samples,
        rate=recording.rate,
        call=call,
        thresholds=(settings.activation, settings.deactivation),
        turns=recording.speakers(),
        note=note,
    )
    demo_picture.draw(picture, folder / "call.png")
    report = as_json(recording, call, score, settings)
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    (folder / "call.json").write_text(text, encoding="utf-8")


def as_json(
    recording: Recording, call: Call, score: demo_score.Score | None, settings: Settings
) -> dict[str, Any]:
    """Return everything about the call as plain values."""
    names = ("livekit-plugins-nearvoice", "livekit-agents", "livekit", "numpy")
    return {
        "recording": {
            "name": recording.name,
            "rate": recording.rate,
            "duration": round(recording.duration, 3),
        },
        "kernel": choose_kernel()[0],
        "settings": asdict(settings),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
        "machine": platform.machine(),
        "segments": call.segments(recording.duration),
        "labels": [asdict(turn) for turn in recording.turns],
        "score": None if score is None else asdict(score),
        "timeline": [entry.as_dict() for entry in call.timeline],
        "probabilities": call.probabilities,
    }


if __name__ == "__main__":
    sys.exit(main())
