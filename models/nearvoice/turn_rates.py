"""Probabilities of complete and of unfinished turns in, how well a threshold tells them apart out.

A turn counts as ended where its probability is not under the threshold, as in LiveKit's session.
TPR is the share of complete turns that are seen to be; TNR that of unfinished ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
"""Probabilities, float64[n]."""


class Rate(NamedTuple):
    """A share of n, with Wilson's 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def auc(complete: Scores, unfinished: Scores) -> float:
    """Return how often a complete turn scores above an unfinished one; a draw counts half.

    NaN if there is none of either.
    """
    n, m = len(complete), len(unfinished)
    if not n or not m:
        return math.nan
    scores = np.concatenate((complete, unfinished))
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # from 1; draws share their mean
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def threshold_for(complete: Scores, tpr: float) -> float:
    """Return the highest threshold under which at most ``1 - tpr`` of the complete turns are.

    Raises:
        ValueError: There are none, or ``tpr`` is not above 0 and at most 1.
    """
    if not len(complete) or not 0.0 < tpr <= 1.0:
        raise ValueError(f"tpr must be above 0 and at most 1, got {tpr}, of {len(complete)} turns")
    found = max(1, math.ceil(tpr * len(complete) - 1e-9))
    return float(np.sort(complete)[-found])


def tpr(complete: Scores, threshold: float) -> Rate:
    """Return the share of complete turns at or above the threshold."""
    return _rate(int((complete >= threshold).sum()), len(complete))


def tnr(unfinished: Scores, threshold: float) -> Rate:
    """Return the share of unfinished turns under the threshold."""
    return _rate(int((unfinished < threshold).sum()), len(unfinished))


def tnr_at(complete: Scores, unfinished: Scores, at: float) -> float:
    """Return the TNR with the threshold that gives these complete turns a TPR of ``at``."""
    return tnr(unfinished, threshold_for(complete, at)).value


def _rate(k: int, n: int, z: float = 1.959964) -> Rate:
    if not n:
        return Rate(math.nan, 0.0, 1.0, 0)
    share = k / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Rate(share, max(0.0, middle - half), min(1.0, middle + half), n)


def ece(complete: Scores, unfinished: Scores, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal width; NaN if there are no turns."""
    scores = np.concatenate((complete, unfinished))
    if not len(scores):
        return math.nan
    truth = np.concatenate((np.ones(len(complete)), np.zeros(len(unfinished))))
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [abs(scores[place == b].sum() - truth[place == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(scores))


def calibrated(probability: float, scale: float, shift: float) -> float:
    """Return a probability whose logit is scaled, then shifted."""
    p = min(max(probability, 1e-7), 1 - 1e-7)
    logit = scale * math.log(p / (1 - p)) + shift
    return 0.5 + 0.5 * math.tanh(logit / 2)  # the sigmoid, which does not overflow
