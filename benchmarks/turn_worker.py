"""Predictions of a worker whose calls all ask at once, and what each job's turn detector holds.

A real AgentServer with a process for each job, see :mod:`.worker`; what its jobs do is in
:mod:`.turn_job`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import proc, rounds, systems, turn_job, turn_shape, turn_systems, worker
from .rounds import spread
from .settings import Settings
from .show import Columns, table
from .store import Store
from .worker import Worker

NONE = "no turn detector"
"""Jobs that talk and ask nothing: what the memory of all the others is compared with."""
THREAD = 'nearvoice executor="thread"'
COLD = 'nearvoice executor="thread", not preloaded'
PROCESS = 'nearvoice executor="process"'
CALLS = {1: 20, 8: 13}
"""Jobs at once -> how often each asks; memory is that of the most jobs."""
SECONDS = 1.5
"""From one prediction to the next: time enough for the slowest queue to empty."""
ENOUGH = 100
"""Predictions under which there is no 99th percentile."""
ROUNDS = 1
"""A worker takes half a minute."""

_OURS = "from livekit.plugins.nearvoice import turn_detector"
_NOT_PRELOADED = """
from livekit.agents import Plugin
Plugin.registered_plugins[:] = [
    plugin for plugin in Plugin.registered_plugins if not plugin.package.endswith("preload_turn")
]
"""


class Step(NamedTuple):
    """How a job has a turn detector."""

    imports: str
    make: str
    """Python that makes one in a job, as its documentation has it."""
    calls: Sequence[int] = tuple(CALLS)


def steps(folder: Path) -> dict[str, Step]:
    """Return system -> its steps; ``folder`` is that of :func:`benchmarks.turn_shape.shape`."""
    most = (max(CALLS),)
    return {
        NONE: Step("import livekit.agents", "None", most),
        THREAD: Step(_OURS, "turn_detector.MultilingualModel()"),
        COLD: Step(_OURS + _NOT_PRELOADED, "turn_detector.MultilingualModel()", most),
        PROCESS: Step(
            f"{_OURS}\nturn_detector.share_process()",
            'turn_detector.MultilingualModel(executor="process")',
        ),
        turn_systems.OFFICIAL: Step(
            f"{official_environment(folder)}\n"
            "from livekit.plugins.turn_detector.multilingual import MultilingualModel",
            "MultilingualModel()",
        ),
        turn_systems.AUDIO: Step(
            "from livekit.agents import inference", 'inference.TurnDetector(version="v1-mini")'
        ),
    }


def official_environment(folder: Path) -> str:
    """Return Python that has the official plugin find the network, and no torch.

    Agents have no torch, and transformers imports one that is there.
    """
    home = str((folder / "hf").resolve())
    return (
        "import os, sys\n"
        "sys.modules['torch'] = None\n"
        f"os.environ.update(HF_HOME={home!r}, HF_HUB_OFFLINE='1')"
    )


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Measure latency and memory of a worker; systems in turn, each in a new worker.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
    """
    taken, missing = _there(turn_shape.shape)
    count = min(settings.rounds, ROUNDS)
    store.note(
        {
            "rounds": count,
            "bundle": turn_systems.bundle(),
            "predictions": CALLS,
            "seconds": SECONDS,
            "systems": {name: [*step.calls] for name, step in taken.items()},
            "missing": missing,
        }
    )
    runs = {_key(name, calls): (name, calls) for name in taken for calls in taken[name].calls}

    def ask(key: str) -> dict[str, Any]:
        name, calls = runs[key]
        return run(taken[name], calls, CALLS[calls], SECONDS)._asdict()

    rounds.measure(store, worker.WHAT, runs, count, ask)


def run(step: Step, calls: int, predictions: int, seconds: float) -> Worker:
    """Return what a worker and its jobs took.

    Args:
        step: How a job has the detector.
        calls: Jobs.
        predictions: Of each job.
        seconds: From one prediction to the next.
    """
    load = f"turn_job.Talk(lambda: {step.make}, {predictions}, {seconds})"
    return worker.run((f"{step.imports}\nfrom benchmarks import turn_job", load), calls)


def _key(name: str, calls: int) -> str:
    return f"{name}, {calls} calls"


def _there(shape: Callable[[], Path]) -> tuple[dict[str, Step], dict[str, Any]]:
    """Return the systems that can be had, and a row for the official one if it cannot."""
    name = turn_systems.OFFICIAL
    try:
        for package in ("transformers", "livekit.plugins.turn_detector"):
            if find_spec(package) is None:
                raise ImportError(f"no {package}")
        return steps(shape()), {}
    except systems.MISSING as error:
        taken = steps(Path())
        del taken[name]
        return taken, {name: {"missing": turn_systems.reason(name, error)}}


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return latency and memory of the workers."""
    about = store.about()
    measured = {
        name: {calls: _kept(store, name, calls, about["rounds"]) for calls in every}
        for name, every in about["systems"].items()
    }
    often = " and ".join(
        f"{times} times ({calls})" for calls, times in about["predictions"].items()
    )
    return {
        "task": "turn-worker",
        "what": "ms of predict_end_of_turn as a job sees it, in a worker whose calls, "
        f"{' or '.join(about['predictions'])}, ask at the same moments, {often}, "
        f"{about['seconds']:g} s apart, as their conversations grow by {turn_job.SAID} words, and "
        f"by a reply of {turn_job.REPLIED} after each {turn_job.TURN}; p99 where there are "
        f"{ENOUGH} predictions. MiB, in the worker with {max(CALLS)} jobs then: unique memory of "
        "a job, by how much that is above a job without, and of the inference process; "
        "proportional memory of the whole worker. The 0.5B shape has random weights and our "
        "vocabulary: 116 MiB less than with Qwen's",
        "rounds": about["rounds"],
        "bundle": about["bundle"],
        "predictions": about["predictions"],
        "seconds": about["seconds"],
        "systems": rows(measured) | about["missing"],
    }


def _kept(store: Store, name: str, calls: int, count: int) -> list[Worker]:
    key = _key(name, calls)
    return worker.measured(store, [key], count)[key]


# ---- from workers to rows ---------------------------------------------------------------------


def rows(measured: Mapping[str, Mapping[int, Sequence[Worker]]]) -> dict[str, dict[str, Any]]:
    """Return the figures of ``{system: {jobs: [worker of each round]}}``."""
    most = max(measured[NONE])
    nothing = [proc.median(one.jobs["heard"]).unique for one in measured[NONE][most]]
    found: dict[str, dict[str, Any]] = {}
    for name, by_calls in measured.items():
        row: dict[str, Any] = {}
        if name != NONE:
            row |= {f"{calls} calls": latency(workers) for calls, workers in by_calls.items()}
        row["memory"] = _memory(by_calls[most], nothing)
        found[name] = row
    return found


def latency(workers: Sequence[Worker]) -> dict[str, float]:
    """Return the ms of all predictions of workers, and of the first of each job."""
    times = [job for worker in workers for job in worker.times]
    every = [took for job in times for took in job]
    return {
        "median_ms": round(statistics.median(every), 2),
        **({"p99_ms": round(float(np.percentile(every, 99)), 2)} if len(every) >= ENOUGH else {}),
        "max_ms": round(max(every), 2),
        "first_ms": round(statistics.median(job[0] for job in times), 2),
    }


def _memory(workers: Sequence[Worker], nothing: Sequence[float]) -> dict[str, Any]:
    unique = [proc.median(one.jobs["heard"]).unique for one in workers]
    shared = [sum(memory.unique for memory in one.shared) for one in workers]
    return {
        "unique_mib": spread(unique),
        "above_none_mib": spread([a - b for a, b in zip(unique, nothing, strict=True)]),
        "inference_process_mib": spread(shared),
        "whole_worker_mib": spread([one.total for one in workers]),
    }


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    **{
        f"{calls}: {short}": (f"{calls} calls", figure)
        for calls, times in CALLS.items()
        for short, figure in (("median", "median_ms"), ("p99", "p99_ms"), ("max", "max_ms"))
        if figure != "p99_ms" or calls * times >= ENOUGH
    },
    "first": (f"{max(CALLS)} calls", "first_ms"),
    "MiB a job": ("memory", "above_none_mib", "median"),
    "inference": ("memory", "inference_process_mib", "median"),
    "all MiB": ("memory", "whole_worker_mib", "median"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
