"""Systems in turn, round after round, and the figures of their rounds."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from . import systems

Spread = dict[str, float]
"""Of a figure over the rounds: median, min and max."""


def turns(rounds: int, names: Iterable[str], what: str) -> Iterator[tuple[int, str]]:
    """Yield (round, name), every name in turn, and say on stderr how far it is."""
    for turn in range(rounds):
        for name in names:
            yield turn, name
        print(f"{what}: round {turn + 1} of {rounds}", file=sys.stderr)


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
