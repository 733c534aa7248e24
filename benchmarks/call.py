"""What a caller feels: whole calls with a real ``AgentSession``, for each combination of parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import PCM, to_int16

from . import call_build, call_scores, call_systems, processes, sounds, systems
from .call_session import LAG, hold
from .data import FRAME_SECONDS, HOP, Clip, decode
from .settings import Settings
from .show import Columns, table
from .store import Store

MADE = 1
"""Higher each time another call is made of the same data, or another thing is written down."""
LEVELS = {"clean": None, "10 dB": 10, "0 dB": 0}
"""Name -> dB of speech above the noise."""
NOISES = ("office-ambience", "city-ambience", "crowded-room")
"""Each is under every third call."""
QUICK_CALLS, QUICK_LEVELS = 2, ("clean", "0 dB")


class Job(NamedTuple):
    """A call to hold."""

    system: str
    label: str
    """Of the system, in the store."""
    name: str
    """Of the call."""
    number: int
    level: str


def predict(settings: Settings, store: Store) -> None:
    """Hold every call with every combination of parts, but for those that were held.

    Raises:
        MissingDataError: The calls are not in the data folder.
    """
    manifest = call_build.read(settings.data)
    calls = manifest["calls"][: QUICK_CALLS if settings.quick else None]
    levels = QUICK_LEVELS if settings.quick else tuple(LEVELS)
    key = hashlib.sha256(json.dumps([MADE, LAG, manifest]).encode()).hexdigest()[:12]
    loaders = {name: _loader(one) for name, one in call_systems.SYSTEMS.items()}
    loaded, missing = systems.load(loaders)
    labels = {name: f"{name} {call_systems.versions()} {key}" for name in loaded}
    store.note(
        {
            "dataset": _describe(manifest, calls, levels),
            "calls": {call["name"]: call["turns"] for call in calls},
            "levels": levels,
            "systems": labels,
            "missing": missing,
        }
    )
    jobs = [
        Job(name, label, call["name"], number, level)
        for number, call in enumerate(calls)
        for level in levels
        for name, label in labels.items()
    ]
    todo = [job for job in jobs if not store.path(job.label, _item(job), "json").exists()]
    turns = {call["name"]: call["turns"] for call in calls}
    given = [(job, settings.data, store.folder, turns[job.name]) for job in todo]
    processes.each(_hold, given, settings.jobs, "call")


def _loader(system: call_systems.System) -> Any:  # noqa: ANN401 - a function
    return lambda: system.parts(lambda _: None)


def _hold(given: tuple[Job, Path, Path, Any]) -> None:
    job, folder, kept, turns = given
    samples = sound(folder, job, turns)
    system = call_systems.SYSTEMS[job.system]
    Store(kept).json(job.label, _item(job), lambda: hold(system, samples, turns))


def sound(folder: Path, job: Job, turns: Any) -> PCM:  # noqa: ANN401 - JSON
    """Return what the caller's line carries: int16[n] at 16 kHz."""
    samples = decode(folder / call_build.FOLDER / f"{job.name}.flac")
    snr = LEVELS[job.level]
    if snr is None:
        return to_int16(samples)
    middles = (np.arange(len(samples) // HOP) + 0.5) * FRAME_SECONDS
    labels = np.zeros(len(middles), bool)
    for piece in (piece for turn in turns for piece in turn):
        labels |= (piece["start"] <= middles) & (middles < piece["end"])
    noise = sounds.noises()[NOISES[job.number % len(NOISES)]]
    return to_int16(sounds.mix(Clip(job.name, samples, labels), noise, snr, job.number).samples)


def _item(job: Job) -> str:
    return f"{job.name} {job.level}"


def _describe(manifest: Any, calls: Any, levels: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401
    turns = [turn for call in calls for turn in call["turns"]]
    digest = hashlib.sha256(json.dumps(calls).encode()).hexdigest()
    return {
        "source": manifest["source"],
        "origin": manifest["origin"],
        "licence": manifest["licence"],
        "sha256": digest,
        "calls": len(calls),
        "holds": sum(len(turn) - 1 for turn in turns),
        "ends": len(turns),
        "levels": list(levels),
    }


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of every combination, from what happened in its calls."""
    about = store.about()
    rows = {
        name: {
            **_row(store, about, name, about["levels"]),
            "by noise": {level: _row(store, about, name, [level]) for level in about["levels"]},
        }
        for name in about["systems"]
    }
    order = [*call_systems.SYSTEMS]
    return {
        "task": "call",
        "what": "calls with a real AgentSession on a clock that moves by what is computed: read "
        f"speech, pauses put in, transcripts {LAG:g} s after each piece; at the defaults, and for "
        "all thresholds, delays and timeouts (eot-bench's sweep) no sooner than the session knows",
        "dataset": about["dataset"],
        "systems": {name: (rows | about["missing"])[name] for name in order},
    }


def _row(store: Store, about: Any, name: str, levels: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401
    held = [
        (turns, store.json(about["systems"][name], f"{call} {level}"))
        for call, turns in about["calls"].items()
        for level in levels
    ]
    seconds = sum(turns[-1][-1]["end"] for turns, _ in held)
    charged = sum(happened["charged"] for _, happened in held)
    detects = call_systems.SYSTEMS[name].turn is not None
    return {
        **call_scores.figures(held, detects),
        "cpu_ms_per_audio_s": round(charged / seconds * 1000, 2),
    }


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    "cut off": ("false_cutoffs", "value"),
    "ms": ("latency_ms_median",),
    "p90": ("latency_ms_p90",),
    "lost": ("turns_lost",),
    "barge-in": ("barge_in_ms_median",),
    "missed": ("barge_ins_missed",),
    "false stops": ("false_interruptions",),
    "ms at 5 %": ("latency_ms at 5 %",),
    "at 800 ms": ("cutoff at 800 ms",),
    "at 1200 ms": ("cutoff at 1200 ms",),
    "CPU ms/s": ("cpu_ms_per_audio_s",),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each combination."""
    return table(result, COLUMNS)
