"""What a prediction costs with each turn detector: read from nothing, and going on from a prefix.

Systems take turns in one process, with one thread each. A system that remembers nothing reads all
tokens each time: its figures for "124 + 4 tokens" are those of 128.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nearvoice.turn import TurnDetector

from . import rounds, turn_shape, turn_systems
from .playback import recording
from .rounds import spread
from .settings import Settings
from .show import Columns, table
from .store import Store
from .turn_systems import OURS, System
from .turn_talk import go_on, talk, vocabulary

CASES = {
    "32 tokens": (0, 32),
    "64 tokens": (0, 64),
    "128 tokens": (0, 128),
    "124 + 4 tokens": (124, 128),
    "112 + 16 tokens": (112, 128),
    "96 + 32 tokens": (96, 128),
    "the same again": (128, 128),
}
"""Name -> tokens that were read before, and all tokens."""
HEARD = "sound"
"""Name of the one case of a system that hears."""
AGAINST = {HEARD: "128 tokens"}
"""What ours is compared in, where it has not the same case."""
ASKED, ASKED_QUICK = {True: 20, False: 2}, {True: 5, False: 1}
"""How often in a round, by whether it is ours; and in a quick run."""
QUICK_ROUNDS = 2
WHAT = "turn-speed"


class Cost(NamedTuple):
    """Of one prediction, in ms."""

    wall: float
    thread: float
    """CPU of the thread that asks."""
    process: float
    """CPU of all threads."""


Costs = Mapping[str, Sequence[Sequence[Cost]]]
"""Case -> round -> each prediction."""


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Measure what every system costs for one prediction, systems in turn."""
    sound = recording(settings.audio, 16_000, max(turn_systems.SECONDS.values()))
    loaded, missing = turn_systems.load(lambda: turn_shape.shape(quick=settings.quick), sound)
    count = min(settings.rounds, QUICK_ROUNDS) if settings.quick else settings.rounds
    store.note(
        {
            "rounds": count,
            "bundle": turn_systems.bundle(),
            "systems": {name: system.version for name, system in loaded.items()},
            "missing": missing,
        }
    )
    measure(store, loaded, count, ASKED_QUICK if settings.quick else ASKED)


def measure(
    store: Store, loaded: Mapping[str, System], count: int, asked: Mapping[bool, int]
) -> None:
    """Measure the costs of each case, ``count`` rounds; ``asked`` is as :data:`ASKED`."""
    detector = TurnDetector.load("nearvoice")
    words = vocabulary(detector.bundle)
    chances = {name: random.Random(name) for name in loaded}

    def ask(name: str) -> dict[str, list[Cost]]:
        found = {}
        for case in (HEARD,) if loaded[name].hears else CASES:
            before, after = CASES.get(case, CASES["128 tokens"])
            found[case] = [
                _ask(loaded[name], *pair(detector.ids, words, chances[name], before, after))
                for _ in range(asked[name.startswith(OURS)])
            ]
        return found

    # the first round is for caches, and for what is only done once
    rounds.measure(store, WHAT, loaded, count, ask, warm_up=True)


def pair(
    ids: Callable[[Any], Sequence[int]],
    words: Sequence[str],
    chance: random.Random,
    before: int,
    after: int,
) -> tuple[list[dict[str, str]] | None, list[dict[str, str]]]:
    """Return a conversation of ``before`` tokens, None for 0, and how it goes on to ``after``."""
    if not before:
        return None, talk(ids, words, chance, after)
    begun = talk(ids, words, chance, before)
    return begun, go_on(ids, words, chance, begun, after)


def _ask(system: System, before: list[dict[str, str]] | None, after: list[dict[str, str]]) -> Cost:
    """Return what the answer to ``after`` costs a system that was asked ``before``."""
    system.forget()
    if system.remembers and before is not None:
        system.ask(system.given(before))
    given = system.given(after)
    wall, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
    system.ask(given)
    spent = time.process_time() - process, time.thread_time() - thread, time.perf_counter() - wall
    return Cost(*(1e3 * seconds for seconds in reversed(spent)))


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return medians of all predictions of each case, and ratios of the rounds."""
    about = store.about()
    kept = rounds.measured(store, WHAT, about["systems"], about["rounds"])
    costs = {name: _by_case(found) for name, found in kept.items()}
    rows = {
        name: {
            "version": version,
            **{case: figures(costs[name][case], costs[OURS], case) for case in costs[name]},
        }
        for name, version in about["systems"].items()
    }
    heard = ", ".join(f"{name} {of:g} s" for name, of in turn_systems.SECONDS.items())
    return {
        "task": "turn-speed",
        "what": "ms of one prediction by one thread: wall, CPU of the asking thread, and of the "
        "process; times_ours is how often ours fits into it, in the same case and round. From "
        "messages on; 'network alone' from token ids, or features. The 0.5B shape has random int8 "
        "weights, reads the same tokens as ours, and has our vocabulary instead of Qwen's 151936: "
        "less memory, and no less time, as its head is of the last row only. "
        f"Sound: {heard}; compared with ours at 128 tokens",
        "rounds": about["rounds"],
        "bundle": about["bundle"],
        "systems": rows | about["missing"],
    }


def _by_case(kept: Sequence[Mapping[str, Sequence[Sequence[float]]]]) -> Costs:
    """Return the costs of a system that were kept, a value for each round."""
    return {case: [[Cost(*one) for one in found[case]] for found in kept] for case in kept[0]}


def figures(found: Sequence[Sequence[Cost]], ours: Costs, case: str) -> dict[str, Any]:
    """Return the figures of a system in one case: of all predictions, ratios of the rounds."""
    wall, thread, process = zip(*(cost for one in found for cost in one), strict=True)
    against = ours[AGAINST.get(case, case)]
    return {
        "wall_ms": round(statistics.median(wall), 3),
        "wall_p99_ms": round(float(np.percentile(wall, 99)), 3),
        "thread_ms": round(statistics.median(thread), 3),
        "thread_p99_ms": round(float(np.percentile(thread, 99)), 3),
        "process_ms": round(statistics.median(process), 3),
        "times_ours": spread(_ratios(found, against, "wall")),
        "process_times_ours": spread(_ratios(found, against, "process")),
    }


def _ratios(
    found: Sequence[Sequence[Cost]], ours: Sequence[Sequence[Cost]], clock: str
) -> list[float]:
    def medians(of: Sequence[Sequence[Cost]]) -> list[float]:
        return [statistics.median(getattr(cost, clock) for cost in one) for one in of]

    return [a / b for a, b in zip(medians(found), medians(ours), strict=True)]


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    "32": ("32 tokens", "wall_ms"),
    "64": ("64 tokens", "wall_ms"),
    "128": ("128 tokens", "wall_ms"),
    "p99": ("128 tokens", "wall_p99_ms"),
    "CPU": ("128 tokens", "process_ms"),
    "x ours": ("128 tokens", "times_ours", "median"),
    "96+32": ("96 + 32 tokens", "wall_ms"),
    "112+16": ("112 + 16 tokens", "wall_ms"),
    "124+4": ("124 + 4 tokens", "wall_ms"),
    "p99, +4": ("124 + 4 tokens", "wall_p99_ms"),
    "CPU, +4": ("124 + 4 tokens", "process_ms"),
    "x ours, +4": ("124 + 4 tokens", "times_ours", "median"),
    "again": ("the same again", "wall_ms"),
    "sound": (HEARD, "wall_ms"),
    "p99, sound": (HEARD, "wall_p99_ms"),
    "x ours, sound": (HEARD, "times_ours", "median"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system, in wall ms."""
    return table(result, COLUMNS)
