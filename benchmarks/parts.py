"""Where the time of one second of sound goes, in the parts of each path from frames to events.

A path is run as it is, which gives its CPU time, and once more with a stopwatch in its parts. What
is in no part is the rest: frames, queues, events, asyncio.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from livekit import rtc

from nearvoice import (
    audio,
    drift,
    filterbank,
    level,
    listen,
    networks,
    resample,
    segment,
    silero,
    speech,
    turn_memory,
    turn_network,
    turn_window,
)
from nearvoice import sleep as sleeping
from nearvoice.kernels import fused
from nearvoice.turn import TurnDetector

from . import noise_cpu, noise_systems, rounds, speed, systems, turn_talk
from .noise_systems import BVC, NC
from .playback import frames, recording
from .rounds import spread
from .settings import Settings
from .show import Columns, table
from .stopwatch import Part, Stopwatch
from .store import Store

SECONDS = 10.0
"""Of sound in a turn."""
TOKENS = (32, 4, 128)
"""Of a conversation: the first prediction's, how many more each time, the last one's."""
REST = "rest"
SECOND, PREDICTION = "a second of sound", "a prediction"


class Path(NamedTuple):
    """Something whose time is taken apart."""

    run: Callable[[], float]
    """Runs it; returns µs of CPU for each of ``units``."""
    units: float
    """Seconds of sound, or predictions."""
    parts: Sequence[Part]
    of: str = SECOND
    """What it is counted in."""


# ---- paths ------------------------------------------------------------------------------------

_OURS = (
    Part("resampling", resample.Resampler, "push"),
    Part("windows", audio.Framer, "push"),
    Part("policy", speech.SpeechDetector, "step"),
    Part("policy", drift.DriftGuard, "step"),
    *(
        Part("buffer", segment.SegmentBuffer, name)
        for name in ("push", "advance", "segment", "trim")
    ),
)
_SILERO = Part("network", silero.SileroVAD, "step")


def paths(settings: Settings) -> dict[str, Callable[[], Path]]:
    """Return name -> what makes a path; that raises one of ``systems.MISSING`` without a peer."""
    heard = recording(settings.audio, speed.ROOM.rate, SECONDS)
    room = frames(heard, speed.ROOM.rate, speed.ROOM.frame_ms)
    noisy = frames(noise_cpu.noisy(heard), speed.ROOM.rate, speed.ROOM.frame_ms)
    return {
        systems.PEER: lambda: _vad(systems.plugin(), room, _plugin()),
        systems.NATIVE: lambda: _vad(systems.native(), room, _native()),
        f"{systems.OURS['onnxruntime']} VAD": lambda: _ours("onnxruntime", room),
        f"{systems.OURS['numpy']} VAD": lambda: _ours("numpy", room),
        f"{systems.OURS['numba']} VAD": lambda: _ours("numba", room),
        **{
            f"{name} {kernel}": lambda name=name, kernel=kernel: _noise(name, kernel, noisy)  # type: ignore[misc]
            for name in (NC, BVC)
            for kernel in ("onnxruntime", "numba")
        },
        "nearvoice turn detector": _turn,
    }


def _vad(vad: Any, room: Sequence[rtc.AudioFrame], parts: Sequence[Part]) -> Path:  # noqa: ANN401
    def run() -> float:
        cpu_ms, _ = asyncio.run(speed.turn(vad, list(room), speed.ROOM))
        return cpu_ms * 1e3

    return Path(run, SECONDS, parts)


def _ours(kernel: systems.Kernel, room: Sequence[rtc.AudioFrame]) -> Path:
    return _vad(systems.ours(kernel), room, (_SILERO, *_OURS))


def _plugin() -> list[Part]:
    from livekit.plugins.silero import onnx_model

    return [Part("network", onnx_model.OnnxModel, "__call__"), *_of_livekit()]


def _native() -> list[Part]:
    from livekit.agents.inference import vad

    return [Part("network", vad._NativeVAD, "predict"), *_of_livekit()]  # type: ignore[attr-defined]


def _of_livekit() -> list[Part]:
    from livekit.agents import utils

    return [
        Part("resampling", rtc.AudioResampler, "push"),
        Part("windows", utils, "combine_frames"),
    ]


def _noise(name: str, kernel: networks.Kernel, heard: Sequence[rtc.AudioFrame]) -> Path:
    system = noise_systems.kernels(kernel)[f"{name} {kernel}"]()
    model = {NC: "gtcrn", BVC: "hush"}[name]
    stream = system.open()

    def run() -> float:
        began = time.process_time()
        for frame in heard:
            stream(frame)
        return (time.process_time() - began) * 1e6 / SECONDS

    return Path(
        run,
        SECONDS,
        (
            Part("network", networks.load(model, kernel), "run"),
            *(
                Part("transforms", bank, step)
                for bank in (fused.Filterbank, filterbank.NumpyFilterbank)
                for step in ("analyse", "synthesise")
            ),
            Part("voice activity", listen.Listener, "push"),
            _SILERO._replace(name="voice activity"),
            Part("level and sleep", level.Level, "step"),
            Part("level and sleep", sleeping.Sleep, "step"),
        ),
    )


def _turn() -> Path:
    detector = TurnDetector.load("nearvoice")
    words, chance = turn_talk.vocabulary(detector.bundle), random.Random(0)
    first, more, last = TOKENS
    chats = [turn_talk.talk(detector.ids, words, chance, first)]
    for tokens in range(first + more, last + 1, more):
        chats.append(turn_talk.go_on(detector.ids, words, chance, chats[-1], tokens))

    def run() -> float:
        detector.reset()
        detector.predict(chats[0])
        began = time.process_time()
        for chat in chats[1:]:
            detector.predict(chat)
        return (time.process_time() - began) * 1e6 / len(chats[1:])

    return Path(
        run,
        len(chats[1:]),
        (
            Part("network", turn_network.TurnNetwork, "read"),
            Part("words to tokens", turn_window.Window, "fit"),
            Part("words to tokens", turn_window.Window, "turns"),
            Part("table of last words", turn_memory.Memory, "logit"),
        ),
        PREDICTION,
    )


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Measure every path, in turn, whole and in parts.

    Raises:
        NotCompiledError: The numba kernels have not been compiled.
    """
    systems.check_compiled()
    noise_cpu.check_compiled()
    loaded, missing = systems.load(paths(settings))
    of = {name: path.of for name, path in loaded.items()}
    store.note({"rounds": settings.rounds, "systems": of, "missing": missing})
    rounds.measure(
        store, "parts", loaded, settings.rounds, lambda name: ask(loaded[name]), warm_up=True
    )


def ask(path: Path) -> dict[str, Any]:
    """Return the µs of a path as it is, and of each of its parts."""
    whole = path.run()
    with Stopwatch(path.parts) as watch:
        path.run()
    names = dict.fromkeys(part.name for part in path.parts)
    return {
        "us": whole,
        "parts": {name: watch.spent[name] / 1e3 / path.units for name in names},
    }


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the medians of the rounds: a row for each path and each of its parts."""
    about = store.about()
    found = rounds.measured(store, "parts", about["systems"], about["rounds"])
    lines: dict[str, Any] = {}
    for name, kept in found.items():
        lines |= rows(name, kept, about["systems"][name])
    return {
        "task": "parts",
        "what": f"µs of CPU for {SECOND}, frames of 50 ms at 24 kHz, as fast as they are heard, "
        f"or for {PREDICTION} of the turn detector, {TOKENS[1]} tokens after the one before: the "
        "whole path, and its parts, each without the others; the rest is frames, queues, events "
        "and asyncio",
        "rounds": about["rounds"],
        "systems": lines | about["missing"],
    }


def rows(name: str, kept: Sequence[Mapping[str, Any]], of: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a path, of what :func:`ask` returned in each round."""
    whole = [one["us"] for one in kept]
    found: dict[str, dict[str, Any]] = {name: {"us": spread(whole), "share": 1.0, "of": of}}
    parts = {part: [one["parts"][part] for one in kept] for part in kept[0]["parts"]}
    spent = [sum(one["parts"].values()) for one in kept]
    parts[REST] = [max(0.0, a - b) for a, b in zip(whole, spent, strict=True)]
    for part, values in parts.items():
        share = statistics.median(a / b for a, b in zip(values, whole, strict=True))
        found[f"{name}: {part}"] = {"us": spread(values), "share": round(share, 3), "of": of}
    return found


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {"µs": ("us", "median"), "share": ("share",)}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each path and part."""
    return table(result, COLUMNS)
