"""Systems in turn, round after round, and the figures of their rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from . import systems
from .progress import track
from .store import Store

Spread = dict[str, float]
"""Of a figure over the rounds: median, min and max."""


def turns(rounds: int, names: Collection[str], what: str) -> Iterator[tuple[int, str]]:
    """Yield (round, name), every name in turn, and draw a bar that says how far it is."""
    order = [(turn, name) for turn in range(rounds) for name in names]
    yield from track(order, what)


def measure(
    store: Store,
    what: str,
    names: Collection[str],
    rounds: int,
    ask: Callable[[str], Any],
    warm_up: bool = False,
) -> None:
    """Measure every system in turn, round after round, but for what the store has.

    Args:
        store: Keeps what was measured, under "``what``, round N".
        what: The condition that is measured, one of perhaps several of the task.
        names: Systems.
        rounds: Turns of each.
        ask: Measures one system once and returns JSON.
        warm_up: Whether each is asked once before, for nothing.
    """
    missing = [
        name
        for turn in range(rounds)
        for name in names
        if not store.path(name, _item(what, turn), "json").exists()
    ]
    if warm_up and missing:
        for name in names:
            ask(name)
    for turn, name in turns(rounds, names, what):
        store.json(name, _item(what, turn), lambda name=name: ask(name))  # type: ignore[misc]


def measured(store: Store, what: str, names: Collection[str], rounds: int) -> dict[str, list[Any]]:
    """Return what :func:`measure` kept: system -> a value for each round."""
    return {name: [store.json(name, _item(what, turn)) for turn in range(rounds)] for name in names}


def _item(what: str, turn: int) -> str:
    return f"{what}, round {turn + 1}"


def spread(values: Sequence[float]) -> Spread:
    """Return median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def ratios(costs: Mapping[str, Sequence[float]], name: str, prefix: str = "") -> dict[str, Spread]:
    """Return the spread of a system's costs over those of each official VAD in the same round.

    Args:
        costs: System -> its cost in each round. An official VAD that is not there has no ratio.
        name: The system.
        prefix: What the names of the figures begin with.
    """
    return {
        f"{prefix}{figure}": spread([a / b for a, b in zip(costs[name], costs[peer], strict=True)])
        for figure, peer in (("ratio_to_plugin", systems.PEER), ("ratio_to_native", systems.NATIVE))
        if peer in costs
    }
