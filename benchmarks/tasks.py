"""What is measured: an entry for each task."""

from __future__ import annotations

from . import (
    accuracy,
    call,
    drift,
    eot_run,
    floors,
    load,
    noise,
    noise_cpu,
    noise_delay,
    noise_hour,
    noise_level,
    noise_memory,
    noise_words,
    parts,
    quiet,
    soak,
    speed,
    startup,
    tiles,
    turn_accuracy,
    turn_hard,
    turn_speed,
    turn_startup,
    turn_worker,
    vad,
    window,
    worker,
)
from .suite import Task

TASKS = {
    "vad": Task(accuracy.predict, accuracy.score, accuracy.report),
    "vad-drift": Task(drift.predict, drift.score, drift.report, timed=True, quick=False),
    "vad-quiet": Task(quiet.predict, quiet.score, quiet.report, timed=True, quick=False),
    "noise": Task(noise.predict, noise.score, noise.report),
    "noise-level": Task(noise_level.predict, noise_level.score, noise_level.report, quick=False),
    "noise-words": Task(noise_words.predict, noise_words.score, noise_words.report, quick=False),
    "turn": Task(turn_accuracy.predict, turn_accuracy.score, turn_accuracy.report),
    "turn-hard": Task(turn_hard.predict, turn_hard.score, turn_hard.report),
    "turn-eot": Task(eot_run.predict, eot_run.score, eot_run.report),
    "call": Task(call.predict, call.score, call.report),
    "vad-window": Task(window.predict, window.score, timed=True),
    "vad-cpu": Task(speed.predict, speed.score, timed=True),
    "noise-cpu": Task(noise_cpu.predict, noise_cpu.score, noise_cpu.report, timed=True),
    "noise-delay": Task(noise_delay.predict, noise_delay.score, noise_delay.report, quick=False),
    "noise-hour": Task(
        noise_hour.predict, noise_hour.score, noise_hour.report, timed=True, quick=False
    ),
    "turn-speed": Task(turn_speed.predict, turn_speed.score, turn_speed.report, timed=True),
    "parts": Task(parts.predict, parts.score, parts.report, timed=True, quick=False),
    "floors": Task(floors.predict, floors.score, floors.report, timed=True, quick=False),
    "kernel-tiles": Task(tiles.predict, tiles.score, timed=True, quick=False),
    "startup": Task(startup.predict, startup.score, timed=True),
    "turn-startup": Task(turn_startup.predict, turn_startup.score, turn_startup.report, timed=True),
    "vad-memory": Task(vad.predict, vad.score, timed=True),
    "worker-memory": Task(worker.predict, worker.score, timed=True),
    "noise-memory": Task(noise_memory.predict, noise_memory.score, timed=True, quick=False),
    "turn-worker": Task(
        turn_worker.predict, turn_worker.score, turn_worker.report, timed=True, quick=False
    ),
    "load": Task(load.predict, load.score, load.report, timed=True, named=True),
    "soak": Task(soak.predict, soak.score, soak.report, timed=True, named=True),
}
"""Name -> task, in the order in which they run: what needs both cores first, then times."""
GROUPS = {
    "speed": (
        "vad-window",
        "vad-cpu",
        "noise-cpu",
        "noise-delay",
        "noise-hour",
        "turn-speed",
        "parts",
        "floors",
        "kernel-tiles",
    ),
    "start": ("startup", "turn-startup"),
    "memory": ("vad-memory", "worker-memory", "noise-memory", "turn-worker"),
}
"""Name -> several tasks that answer one question."""
