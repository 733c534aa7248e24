"""Memory of a worker whose jobs all suppress noise: see :mod:`.worker`, which measures it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import noise_cpu, noise_systems, worker

NONE = "no suppression"
"""A job that suppresses no noise: what all the others are compared with."""
STEPS = {NONE: ("import livekit.agents", "None"), **noise_cpu.steps(("numba",))}
"""System -> (import, load), as its documentation has them."""


def memory(path: Path, rounds: int, jobs: int = 8, seconds: float = 60.0) -> dict[str, Any]:
    """Return the memory of a worker and its jobs; systems in turn, each in a new worker.

    Args:
        path: 16-bit WAV that every job hears.
        rounds: Turns of each system.
        jobs: Job processes at once.
        seconds: Length of the call.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
        NotCompiledError: The numba kernel has not been compiled.
    """
    noise_cpu.check_compiled()
    steps = {name: taken for name, taken in STEPS.items() if _is_there(taken[0])}
    measured = worker.measure(steps, path, rounds, jobs, seconds)
    found = worker.rows(measured, NONE, "above_no_suppression_mib")
    absent = {
        name: {"missing": noise_systems.REMEDIES[name]} for name in STEPS if name not in steps
    }
    again = worker.PHASES["flushed"]  # nothing is flushed here
    return {
        "task": "noise-memory",
        "what": f"MiB of one of {jobs} job processes of a worker, each suppressing the noise of a "
        f"call of {seconds:g} s (24 kHz, frames of 50 ms); and of the worker then",
        "rounds": rounds,
        "jobs": jobs,
        "seconds": seconds,
        "systems": {name: row for name, row in found.items() if not name.endswith(again)} | absent,
    }


def _is_there(statement: str) -> bool:
    """Return whether the package of an import, ``import A.B`` or ``from A import B``, is there."""
    words = statement.split()
    name = f"{words[1]}.{words[3]}" if words[0] == "from" else words[1]
    return find_spec(name) is not None
