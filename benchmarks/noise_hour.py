"""An hour of one stream: does noise suppression stay as fast, as late and as good as it was.

Every minute is the same: half of it a noisy call, then the noise alone, then digital silence. Now
and then one sample of it is no number.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nearvoice
from nearvoice.audio import Samples, to_float32

from . import noise_systems
from .noise_cpu import hiss
from .noise_scores import lag
from .noise_systems import BVC, NC
from .playback import FRAME_MS, RATE, recording
from .progress import track
from .settings import Settings
from .show import Columns, table
from .store import Store

MINUTES = 60
CALL, NOISE, SILENCE = 30, 10, 20
"""Seconds of a minute."""
DAMAGED = 10
"""Minutes from one damaged sample to the next."""
BROKEN = 15
"""Second of the minute in which it is."""
SIZE = RATE * FRAME_MS // 1000
SYSTEMS = {
    NC: ("gtcrn", True),
    BVC: ("hush", True),
    f"{NC} bypass=False": ("gtcrn", False),
    f"{BVC} bypass=False": ("hush", False),
}
"""Name -> model, and whether it sleeps on silence; awake, denormal numbers would make it slow."""


class Minute(NamedTuple):
    """What a stream made of one minute."""

    out: Samples
    costs: list[float]
    """µs of CPU for 10 ms, of each frame."""
    short: int
    """Frames that came back with another length."""


def predict(settings: Settings, store: Store) -> None:
    """Let each stream hear an hour, and keep what it is like in its second minute and its last."""
    sound = minute(settings.audio)
    store.note({"minutes": MINUTES, "version": noise_systems.our_version()})
    for name in track([*SYSTEMS], "noise-hour"):
        store.json(name, "figures", partial(_stream, name, sound))


def _stream(name: str, sound: Samples) -> dict[str, Any]:
    model, bypass = SYSTEMS[name]
    denoiser = nearvoice.Denoiser(model, RATE, chunk=SIZE, bypass=bypass)
    return {"kernel": denoiser.kernel, **figures(sound, run(denoiser, sound, MINUTES))}


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of each stream."""
    about = store.about()
    version = {"version": about["version"]}
    return {
        "task": "noise-hour",
        "what": f"{about['minutes']} minutes of one stream at 24 kHz in frames of {FRAME_MS} ms, "
        "in the second minute and in the last: µs of CPU for 10 ms of a noisy call and of silence, "
        "ms of delay; what differs between both minutes, in dB below what comes out; frames that "
        f"came back shorter; and of a NaN in every {DAMAGED}th minute: samples that come out as no "
        "numbers, and what differs from a minute without it from a second later on",
        "minutes": about["minutes"],
        "systems": {name: version | store.json(name, "figures") for name in SYSTEMS},
    }


def minute(path: Path) -> Samples:
    """Return a minute of a noisy call, of its noise, and of silence, float32[n]."""
    call = recording(path, RATE, CALL)
    noise = hiss(call)
    silence = np.zeros(SILENCE * RATE, np.float32)
    return np.concatenate((to_float32(call) + noise, noise[: NOISE * RATE], silence))


def run(
    denoiser: nearvoice.Denoiser, sound: Samples, minutes: int
) -> Iterator[tuple[bool, Minute]]:
    """Yield what a stream makes of each minute, and whether there was a NaN in it."""
    broken = sound.copy()
    broken[BROKEN * RATE] = np.nan
    for number in range(1, minutes + 1):
        damaged = number % DAMAGED == 0 and number < minutes
        yield damaged, _heard(denoiser, broken if damaged else sound)


def _heard(denoiser: nearvoice.Denoiser, sound: Samples) -> Minute:
    outs, costs = [], []
    for start in range(0, len(sound), SIZE):
        began = time.thread_time_ns()
        outs.append(denoiser.process(sound[start : start + SIZE]))
        costs.append((time.thread_time_ns() - began) / 1e3 / (FRAME_MS / 10))
    return Minute(np.concatenate(outs), costs, sum(len(out) != SIZE for out in outs))


def figures(sound: Samples, heard: Iterator[tuple[bool, Minute]]) -> dict[str, Any]:
    """Return the figures of one stream; its first minute is left out, in which it learns."""
    next(heard)
    _, second = next(heard)
    last, short, after_nan = second, second.short, []
    for damaged, one in heard:
        short += one.short
        if damaged:
            after_nan.append(_recovery(second.out, one.out))
        last = one
    return {
        "second": _minute_figures(sound, second),
        "last": _minute_figures(sound, last),
        "differs_db": below(second.out, last.out),
        "short_frames": short,
        "nan": {key: max(one[key] for one in after_nan) for key in after_nan[0]}
        if after_nan
        else None,
    }


def _minute_figures(sound: Samples, one: Minute) -> dict[str, float]:
    call = CALL * RATE
    silent = (CALL + NOISE + 1) * 1000 // FRAME_MS
    return {
        "call_us": round(statistics.median(one.costs[: CALL * 1000 // FRAME_MS]), 1),
        "silence_us": round(statistics.median(one.costs[silent:]), 1),
        "delay_ms": round(lag(sound[:call], one.out[:call], RATE // 2) / RATE * 1e3, 3),
    }


def _recovery(usual: Samples, out: Samples) -> dict[str, float]:
    """Return what one NaN did to a minute."""
    later = slice((BROKEN + 1) * RATE, CALL * RATE)
    return {
        "not_finite": int(np.count_nonzero(~np.isfinite(out))),
        "differs_db": below(usual[later], out[later]),
    }


def below(usual: Samples, other: Samples) -> float:
    """Return by how many dB the difference of two sounds is quieter than the first, at most 200."""
    count = min(len(usual), len(other))
    usual, other = usual[:count], other[:count]
    power, rest = (float(np.mean(np.square(x, dtype=np.float64))) for x in (usual, usual - other))
    return round(10 * float(np.log10((rest + 1e-30) / (power + 1e-30)).clip(-20, 20)), 1)


COLUMNS: Columns = {
    **{
        f"{label}, {when}": (when, figure)
        for figure, label in (
            ("call_us", "µs"),
            ("silence_us", "µs of silence"),
            ("delay_ms", "ms late"),
        )
        for when in ("second", "last")
    },
    "differs dB": ("differs_db",),
    "short": ("short_frames",),
    "NaN out": ("nan", "not_finite"),
    "then differs dB": ("nan", "differs_db"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
