"""Ways to choose the threshold of each window of a stream: fixed ones, the learnt one, a crude one.

The constants of :mod:`nearvoice.threshold` were found on AMI's train and development excerpts and
on other calls than those of :mod:`benchmarks.quiet_sets`; the TEN set and AMI's test excerpts had
no part in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nearvoice.speech import Boundary, SpeechDetector, SpeechOptions
from nearvoice.threshold import DEACTIVATION, AdaptiveThreshold

from . import hearing
from .data import Segment
from .hearing import WINDOW
from .metrics import Scores


class Rule(NamedTuple):
    """A way to choose the threshold of each window of one stream."""

    thresholds: Callable[[Scores], Scores]
    """P(speech) of all windows of a stream, raw -> activation thresholds, each from the past."""
    deactivation: float | None
    """Per activation threshold; None for what a fixed threshold has by default."""


def _fixed(threshold: float) -> Callable[[Scores], Scores]:
    return lambda probabilities: np.full(len(probabilities), threshold)


def crude(probabilities: Scores) -> Scores:
    """Three times the lower quartile of the last 29 s, from .03 to .5; .5 for the first 2 s.

    It is taken anew every tenth window.
    """
    thresholds = np.full(len(probabilities), 0.5)
    for i in range(60, len(probabilities), 10):
        quartile = float(np.quantile(probabilities[max(0, i - 900) : i], 0.25))
        thresholds[i : i + 10] = min(0.5, max(0.03, 3 * quartile))
    return thresholds


def learnt(probabilities: Scores) -> Scores:
    """Those of :class:`AdaptiveThreshold`."""
    threshold = AdaptiveThreshold()
    return np.array([threshold.step(probability) for probability in probabilities.tolist()])


RULES = {
    **{f"fixed {threshold}": Rule(_fixed(threshold), None) for threshold in (0.5, 0.3, 0.2, 0.1)},
    **{
        f"fixed {threshold}, deactivation {DEACTIVATION * threshold:.2f}": Rule(
            _fixed(threshold), DEACTIVATION
        )
        for threshold in (0.2, 0.1)
    },
    "crude": Rule(crude, DEACTIVATION),
    "auto": Rule(learnt, DEACTIVATION),
}


def decide(rule: Rule, probabilities: Scores) -> list[Segment]:
    """Return when the policy, its other options at their defaults, says START and END.

    An END that never came is infinity.
    """
    detector = SpeechDetector(WINDOW)
    changes: list[tuple[Boundary, float]] = []
    before = -1.0
    thresholds = rule.thresholds(probabilities).tolist()
    for probability, threshold in zip(probabilities.tolist(), thresholds, strict=True):
        if threshold != before:
            off = None if rule.deactivation is None else rule.deactivation * threshold
            detector.options = SpeechOptions(
                activation_threshold=threshold, deactivation_threshold=off
            )
            before = threshold
        if change := detector.step(probability).change:
            changes.append((change.boundary, detector.timestamp))
    return hearing.paired(changes)
