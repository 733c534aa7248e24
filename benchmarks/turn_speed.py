"""What a prediction costs with each turn detector: read from nothing, and going on from a prefix.

Systems take turns in one process, with one thread each. A system that remembers nothing reads all
tokens each time: its figures for "124 + 4 tokens" are those of 128.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.turn import TurnDetector

from . import turn_shape, turn_systems
from .playback import recording
from .rounds import spread, turns
from .show import Columns, table
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
ASKED = {True: 20, False: 3}
"""How often in a round, by whether it is ours."""


class Cost(NamedTuple):
    """Of one prediction, in ms."""

    wall: float
    thread: float
    """CPU of the thread that asks."""
    process: float
    """CPU of all threads."""


def speed(path: Path, rounds: int, out: Path = turn_shape.OUT) -> dict[str, Any]:
    """Return what every system costs for one prediction, systems in turn.

    Args:
        path: 16-bit WAV for those that hear.
        rounds: Turns of each system.
        out: Where the networks with random weights are kept, or made.
    """
    bundle = turn_systems.bundle()
    sound = recording(path, 16_000, max(turn_systems.SECONDS.values()))
    loaded, missing = turn_systems.load(lambda: turn_shape.shape(out), sound)
    costs = measure(loaded, rounds)
    rows = {
        name: {
            "version": system.version,
            **{case: figures(costs, name, case) for case in costs[name]},
        }
        for name, system in loaded.items()
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
        "rounds": rounds,
        "bundle": bundle,
        "systems": rows | missing,
    }


# ---- costs ------------------------------------------------------------------------------------

Costs = Mapping[str, Mapping[str, Sequence[Sequence[Cost]]]]
"""System -> case -> round -> each prediction."""


def measure(loaded: Mapping[str, System], rounds: int) -> Costs:
    """Return the costs of each case, systems in turn."""
    detector = TurnDetector.load("nearvoice")
    words = vocabulary(detector.bundle)
    costs: dict[str, dict[str, list[list[Cost]]]] = {
        name: {case: [] for case in ([HEARD] if system.hears else CASES)}
        for name, system in loaded.items()
    }
    # the first round warms up: caches, and what is only done once
    for turn, name in turns(rounds + 1, loaded, "turn-speed"):
        chance = random.Random(f"{turn} {name}")
        for case, found in costs[name].items():
            before, after = CASES.get(case, CASES["128 tokens"])
            count = ASKED[name.startswith(OURS)]
            one = [
                _ask(loaded[name], *pair(detector.ids, words, chance, before, after))
                for _ in range(count if turn else 1)
            ]
            if turn:
                found.append(one)
    return costs


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


def figures(costs: Costs, name: str, case: str) -> dict[str, Any]:
    """Return the figures of a system in one case: of all predictions, ratios of the rounds."""
    rounds = costs[name][case]
    wall, thread, process = zip(*(cost for one in rounds for cost in one), strict=True)
    ours = costs[OURS][AGAINST.get(case, case)]
    return {
        "wall_ms": round(statistics.median(wall), 3),
        "wall_p99_ms": round(float(np.percentile(wall, 99)), 3),
        "thread_ms": round(statistics.median(thread), 3),
        "thread_p99_ms": round(float(np.percentile(thread, 99)), 3),
        "process_ms": round(statistics.median(process), 3),
        "times_ours": spread(_ratios(rounds, ours, "wall")),
        "process_times_ours": spread(_ratios(rounds, ours, "process")),
    }


def _ratios(
    rounds: Sequence[Sequence[Cost]], ours: Sequence[Sequence[Cost]], clock: str
) -> list[float]:
    def medians(of: Sequence[Sequence[Cost]]) -> list[float]:
        return [statistics.median(getattr(cost, clock) for cost in one) for one in of]

    return [a / b for a, b in zip(medians(rounds), medians(ours), strict=True)]


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
