"""Memory of a worker whose jobs all suppress noise: see :mod:`.worker`, which measures it."""

from importlib.util import find_spec
from typing import Any

from . import noise_cpu, noise_systems, worker
from .settings import Settings
from .store import Store

NONE = "no suppression"
"""A job that suppresses no noise: what all the others are compared with."""
STEPS = {NONE: ("import livekit.agents", "None"), **noise_cpu.steps(("numba",))}
"""System -> (import, load), as its documentation has them."""
ROUNDS = 1
"""With all systems, one takes some minutes."""


def predict(settings: Settings, store: Store) -> None:
    """Measure the memory of a worker and its jobs; systems in turn, each in a new worker.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
        NotCompiledError: The numba kernel has not been compiled.
    """
    noise_cpu.check_compiled()
    steps = {name: taken for name, taken in STEPS.items() if _is_there(taken[0])}
    absent = [name for name in STEPS if name not in steps]
    missing = {name: {"missing": noise_systems.REMEDIES[name]} for name in absent}
    load = worker.load(settings)._replace(rounds=ROUNDS)
    store.note({**load._asdict(), "systems": [*steps], "missing": missing})
    worker.measure(store, steps, settings.audio, load)


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of a worker's processes."""
    about = store.about()
    measured = worker.measured(store, about["systems"], about["rounds"])
    found = worker.rows(measured, NONE, "above_no_suppression_mib")
    again = worker.PHASES["flushed"]  # nothing is flushed here
    rows = {name: row for name, row in found.items() if not name.endswith(again)}
    return {
        "task": "noise-memory",
        "what": f"MiB of one of {about['jobs']} job processes of a worker, each suppressing the "
        f"noise of a call of {about['seconds']:g} s (24 kHz, frames of 50 ms); and of the worker "
        "then",
        **{name: about[name] for name in ("rounds", "jobs", "seconds")},
        "systems": rows | about["missing"],
    }


def _is_there(statement: str) -> bool:
    """Return whether the package of an import, ``import A.B`` or ``from A import B``, is there."""
    words = statement.split()
    name = f"{words[1]}.{words[3]}" if words[0] == "from" else words[1]
    return find_spec(name) is not None
