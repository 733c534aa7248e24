"""How many calls a machine holds: a real AgentServer whose jobs all hear, clean and ask at once.

Each job is a process, as LiveKit runs them, with a call in real time (:mod:`.load_job`). The number
of calls grows until the events of the VAD are late.
"""

from __future__ import annotations

import os
import tempfile
import wave
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import noise_cpu, proc, systems, worker
from .load_job import RATE
from .playback import recording
from .settings import Settings
from .show import Columns, table
from .store import Store

CALLS = (1, 8, 32, 64, 96, 128)
"""At once; more are tried as long as they hold real time, and then half-way back."""
STEP = 8
"""Calls to which half-way is rounded."""
QUICK_CALLS = (1, 4)
SECONDS, QUICK_SECONDS = 30.0, 5.0
"""Of each call."""
GOAL = 50.0
"""ms that the events of the VAD may be late at the 99th percentile."""


class Parts(NamedTuple):
    """How a job has its parts, in Python, each as its documentation has it."""

    imports: str
    vad: str
    turn: str = "None"
    noise: str = "None"
    needs: Callable[[], object] = lambda: None
    """Raises ImportError where a part is not installed."""


_PLUGINS = "from livekit.plugins.nearvoice import silero, turn_detector, noise_cancellation"
_VAD, _TURN = "silero.VAD.load()", "turn_detector.MultilingualModel()"
_LIVEKIT = "from livekit.agents import inference"
SYSTEMS = {
    "nearvoice VAD": Parts(_PLUGINS, _VAD),
    "nearvoice VAD, turn": Parts(_PLUGINS, _VAD, _TURN),
    "nearvoice VAD, turn, NC": Parts(_PLUGINS, _VAD, _TURN, "noise_cancellation.NC()"),
    "nearvoice VAD, turn, BVC": Parts(_PLUGINS, _VAD, _TURN, "noise_cancellation.BVC()"),
    "livekit inference.VAD": Parts(_LIVEKIT, "inference.VAD()"),
    "livekit inference.VAD, v1-mini": Parts(
        _LIVEKIT, "inference.VAD()", 'inference.TurnDetector(version="v1-mini")'
    ),
    "livekit-plugins-silero": Parts(
        "from livekit.plugins import silero", _VAD, needs=systems.plugin
    ),
}
"""Name -> the parts of a call."""


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Load a worker with ever more calls, each system in turn, until their events are late.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
        NotCompiledError: The numba kernels have not been compiled.
    """
    systems.check_compiled()
    noise_cpu.check_compiled()
    _, missing = systems.load({name: parts.needs for name, parts in SYSTEMS.items()})
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    there = [name for name in SYSTEMS if name not in missing]
    calls: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = _recorded(settings, Path(folder))
        for name in there:
            calls[name] = tried(
                QUICK_CALLS if settings.quick else CALLS,
                partial(_hold, store, name, path, seconds),
            )
    store.note(
        {
            "systems": calls,
            "missing": missing,
            "seconds": seconds,
            "cores": len(os.sched_getaffinity(0)),
        }
    )


def tried(calls: Sequence[int], hold: Callable[[int], bool]) -> list[int]:
    """Try ever more calls, until they do not hold real time, and then half-way back.

    Args:
        calls: Numbers, each above the one before.
        hold: Whether so many hold real time.

    Returns:
        The numbers that were tried, from low to high.
    """
    done: list[int] = []
    for count in calls:
        if hold(count):
            done.append(count)
            continue
        held = max(done, default=0)
        between = (held + count) // 2 // STEP * STEP
        if between > held:
            hold(between)
            done.append(between)
        return [*done, count]
    return done


def _hold(store: Store, name: str, path: Path, seconds: float, count: int) -> bool:
    kept = store.json(name, f"{count} calls", _run(SYSTEMS[name], count, path, seconds))
    return bool(kept["delay_ms"]["p99"] <= GOAL)


def _recorded(settings: Settings, folder: Path) -> Path:
    path = folder / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(noise_cpu.noisy(recording(settings.audio, RATE, 60.0)).tobytes())
    return path


def _run(parts: Parts, calls: int, path: Path, seconds: float) -> Callable[[], dict[str, Any]]:
    def asked() -> dict[str, Any]:
        made = ", ".join(
            "None" if part == "None" else f"lambda: {part}"
            for part in (parts.vad, parts.turn, parts.noise)
        )
        load = f"load_job.Call({made}, {str(path)!r}, {seconds})"
        found = worker.run((f"{parts.imports}\nfrom benchmarks import load_job", load), calls)
        return summary(found, calls)

    return asked


def summary(found: worker.Worker, calls: int) -> dict[str, Any]:
    """Return the figures of a worker: of all its jobs together, and MiB of a call."""
    jobs: Sequence[Mapping[str, Sequence[float]]] = found.times  # type: ignore[assignment]
    figures: dict[str, Any] = {}
    for name in ("delay_ms", "stall_ms", "turn_ms", "late_ms"):
        every = np.array([one for job in jobs for one in job[name]])
        if len(every):
            figures[name] = {
                "p50": round(float(np.percentile(every, 50)), 2),
                "p99": round(float(np.percentile(every, 99)), 2),
                "max": round(float(every.max()), 2),
                "n": len(every),
            }
    figures["mib_a_call"] = round(proc.median(found.jobs["heard"]).unique, 1)
    figures["mib_of_all"] = round(found.total, 1)
    return figures | {"calls": calls}


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures for each number of calls, and how many hold real time."""
    about = store.about()
    rows: dict[str, Any] = {}
    for name, counts in about["systems"].items():
        found = {count: store.json(name, f"{count} calls") for count in counts}
        held = [count for count, one in found.items() if one["delay_ms"]["p99"] <= GOAL]
        rows[name] = {
            "calls": max(held, default=0),
            "calls a core": round(max(held, default=0) / about["cores"], 1),
        }
        rows |= {f"{name}, {count} calls": one for count, one in found.items()}
    return {
        "task": "load",
        "what": f"calls of {about['seconds']:g} s at once, a process each, in a real worker on "
        f"{about['cores']} cores: ms from a window's last frame to its event, for which the loop "
        "stood still, and of a prediction, as the job sees them; unique MiB of a call. As many "
        f"calls as have their events within {GOAL:g} ms at the 99th percentile",
        "cores": about["cores"],
        "seconds": about["seconds"],
        "systems": rows | about["missing"],
    }


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    "calls": ("calls",),
    "a core": ("calls a core",),
    "delay p50": ("delay_ms", "p50"),
    "p99": ("delay_ms", "p99"),
    "max": ("delay_ms", "max"),
    "stall p99": ("stall_ms", "p99"),
    "turn p50": ("turn_ms", "p50"),
    "turn p99": ("turn_ms", "p99"),
    "turn max": ("turn_ms", "max"),
    "MiB": ("mib_a_call",),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system and number of calls."""
    return table(result, COLUMNS)
