"""Predictions of a worker whose calls all ask at once, and what each job's turn detector holds.

A real AgentServer with a process for each job, see :mod:`.worker`; what its jobs do is in
:mod:`.turn_job`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import systems, turn_job, turn_shape, turn_systems, worker
from .rounds import spread, turns
from .show import Columns, table
from .worker import Worker

NONE = "no turn detector"
"""Jobs that talk and ask nothing: what the memory of all the others is compared with."""
THREAD = 'nearvoice executor="thread"'
COLD = 'nearvoice executor="thread", not preloaded'
PROCESS = 'nearvoice executor="process"'
CALLS = (1, 4, 8)
"""Jobs at once; memory is that of the most."""
PREDICTIONS, SECONDS = 30, 1.5
"""Of each job, and from one to the next: time enough for the slowest queue to empty."""

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
    calls: Sequence[int] = CALLS


def steps(folder: Path) -> dict[str, Step]:
    """Return system -> its steps; ``folder`` is that of :func:`benchmarks.turn_shape.shape`."""
    most = CALLS[-1:]
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


def work(
    rounds: int,
    out: Path = turn_shape.OUT,
    predictions: int = PREDICTIONS,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Return latency and memory of a worker; systems in turn, each in a new worker.

    Args:
        rounds: Turns of each system.
        out: Where the networks with random weights are kept, or made.
        predictions: Of each job.
        seconds: From one prediction to the next.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
    """
    bundle = turn_systems.bundle()
    taken, missing = _there(lambda: turn_shape.shape(out))
    runs = {f"{name}: {calls}": (name, calls) for name in taken for calls in taken[name].calls}
    measured: dict[str, dict[int, list[Worker]]] = {
        name: {calls: [] for calls in step.calls} for name, step in taken.items()
    }
    for turn, key in turns(rounds, runs, "turn-worker"):
        name, calls = runs[key]
        imports, make, _ = taken[name]
        load = f"turn_job.Talk(lambda: {make}, {predictions}, {seconds})"
        done = worker.run((f"{imports}\nfrom benchmarks import turn_job", load), calls)
        measured[name][calls].append(done)
        print(f"round {turn + 1}, {key}: {latency([done])}", file=sys.stderr)
    return {
        "task": "turn-worker",
        "what": "ms of predict_end_of_turn as a job sees it, in a worker whose 1, 4 or 8 calls ask "
        f"at the same moments, {predictions} times, {seconds:g} s apart, as their "
        f"conversations grow by {turn_job.SAID} words, and by a reply of {turn_job.REPLIED} after "
        f"each {turn_job.TURN}. MiB, in the worker with {CALLS[-1]} jobs then: unique memory of "
        "a job, by how much that is above a job without, and of the inference process; "
        "proportional memory of the whole worker. The 0.5B shape has random weights and our "
        "vocabulary: 116 MiB less than with Qwen's",
        "rounds": rounds,
        "bundle": bundle,
        "predictions": predictions,
        "seconds": seconds,
        "systems": rows(measured) | missing,
    }


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


# ---- from workers to rows ---------------------------------------------------------------------


def rows(measured: Mapping[str, Mapping[int, Sequence[Worker]]]) -> dict[str, dict[str, Any]]:
    """Return the figures of ``{system: {jobs: [worker of each round]}}``."""
    most = max(measured[NONE])
    nothing = [worker.median(one.jobs["heard"]).unique for one in measured[NONE][most]]
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
        "p99_ms": round(float(np.percentile(every, 99)), 2),
        "max_ms": round(max(every), 2),
        "first_ms": round(statistics.median(job[0] for job in times), 2),
    }


def _memory(workers: Sequence[Worker], nothing: Sequence[float]) -> dict[str, Any]:
    unique = [worker.median(one.jobs["heard"]).unique for one in workers]
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
        for calls in CALLS
        for short, figure in (("median", "median_ms"), ("p99", "p99_ms"), ("max", "max_ms"))
    },
    "first": (f"{CALLS[-1]} calls", "first_ms"),
    "MiB a job": ("memory", "above_none_mib", "median"),
    "inference": ("memory", "inference_process_mib", "median"),
    "all MiB": ("memory", "whole_worker_mib", "median"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
