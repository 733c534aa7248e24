"""How far a figure is to be trusted: intervals from dialogues drawn again, with replacement.

Pairs of one dialogue resemble each other, so whole dialogues are drawn, and each pair counts as
often as its dialogue was.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 500
_AT_ONCE = 50
"""Resamples: what is computed of 10,000 pairs then fits in a few megabytes."""

Scores = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int64]
"""int64[resamples, n]: how often each pair counts."""


def weights(dialogues: Sequence[str], name: str, count: int = RESAMPLES) -> Weights:
    """Return how often each pair is drawn.

    Args:
        dialogues: Of each pair.
        name: Of what is resampled: the same name and dialogues, the same draws.
        count: Of resamples.
    """
    found, place = np.unique(np.asarray(dialogues), return_inverse=True)
    chance = np.random.default_rng(zlib.crc32(name.encode()))
    size = len(found)
    drawn = [np.bincount(chance.integers(size, size=size), minlength=size) for _ in range(count)]
    return np.stack(drawn)[:, place]


def auc(complete: Scores, cut: Scores, weights: Weights) -> Scores:
    """Return :func:`nearvoice.turn_rates.auc` of each resample: float64[resamples].

    Args:
        complete: float64[n].
        cut: float64[n], of the same pairs.
        weights: Of the pairs.
    """
    order = np.argsort(cut)
    under, upto = (np.searchsorted(cut[order], complete, side) for side in ("left", "right"))
    found = []
    for part in _parts(weights):
        below = _cumulated(part[:, order])
        wins = (below[:, under] + below[:, upto]) / 2  # a draw counts half
        found.append((part * wins).sum(1) / part.sum(1).astype(float) ** 2)
    return np.concatenate(found)


def tnr_at(complete: Scores, cut: Scores, weights: Weights, at: float) -> Scores:
    """Return :func:`nearvoice.turn_rates.tnr_at` of each resample: float64[resamples].

    The threshold is chosen anew in each.
    """
    highest_first, order = np.argsort(-complete), np.argsort(cut)
    under = np.searchsorted(cut[order], complete[highest_first], "left")
    found = []
    for part in _parts(weights):
        total = part.sum(1, keepdims=True)
        wanted = np.maximum(1, np.ceil(at * total - 1e-9))
        last = (part[:, highest_first].cumsum(1) < wanted).sum(1)
        below = _cumulated(part[:, order])
        found.append(below[np.arange(len(part)), under[last]] / total[:, 0])
    return np.concatenate(found)


def interval(figures: Scores) -> tuple[float, float]:
    """Return the 95 % interval of a figure of every resample."""
    low, high = np.quantile(figures, (0.025, 0.975))
    return float(low), float(high)


def _parts(weights: Weights) -> list[Weights]:
    return np.array_split(weights, -(-len(weights) // _AT_ONCE))


def _cumulated(weights: Weights) -> Weights:
    """Return int64[resamples, n + 1]: the weight of the first k, for each k."""
    return np.concatenate((np.zeros((len(weights), 1), np.int64), weights.cumsum(1)), 1)
