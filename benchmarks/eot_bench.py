"""eot-bench's protocol and metrics: silences in, how soon or how often an agent would speak out.

As https://github.com/livekit/eot-bench had them in 2026. A policy answers when the detector has
been over a threshold and a delay has passed, and at the latest after a timeout. In a silence
within a turn ("hold") an answer cuts the user off; after the last ("eot") the user waits for it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearvoice import turn_rates

from .eot_data import Turn

STEP = 0.1
"""Seconds from one prediction to the next."""
SHORTEST = 0.1
"""Seconds under which a silence is none."""
LAG = 0.5
"""Seconds after a word until a recogniser has it."""
HOLDS = (0.2, 5.0)
"""Seconds: silences within a turn that count."""
THRESHOLDS = np.round(np.arange(0.0, 1.01, 0.01), 2)
DELAYS = np.round(np.arange(0.2, 1.01, 0.1), 2)
TIMEOUTS = np.round(np.arange(1.0, 3.51, 0.5), 2)
WAITS = np.round(np.arange(0.2, 3.51, 0.1), 2)
"""Seconds that the policy without a detector waits."""
CUTOFFS = (0.02, 0.05, 0.10)
LATENCIES = (0.3, 0.6)
"""Budgets of an operating point."""
FRONTIER = np.round(np.arange(0.0, 0.101, 0.001), 6)
"""Cutoff budgets that the frontier's latency is the mean over."""
EOT, HOLD = "eot", "hold"
EPS = 1e-9

Floats = npt.NDArray[np.float64]


class Point(NamedTuple):
    """A moment in a silence, with eot-bench's columns."""

    id: str
    language: str
    span_index: int
    timestamp: float
    """Seconds in the recording."""
    silence_dur: float
    """Seconds since the silence began."""
    p_eot: float | None
    """None where the system is not asked."""
    label: str


class Policies(NamedTuple):
    """Every policy, and what it does: float64[n] each."""

    threshold: Floats
    """NaN without a detector."""
    delay: Floats
    timeout: Floats
    cutoff_rate: Floats
    """Share of the silences within turns in which it speaks."""
    mean_latency: Floats
    """Seconds after the ends of turns."""
    timeout_rate: Floats
    """Share of the ends of turns that the detector missed."""


class Operating(NamedTuple):
    """One policy."""

    threshold: float
    delay: float
    timeout: float
    cutoff_rate: float
    mean_latency: float
    timeout_rate: float


class Spans(NamedTuple):
    """The silences that count, and what a detector made of them."""

    duration: Floats
    """Seconds, to the last prediction: float64[n]."""
    eot: npt.NDArray[np.bool_]
    score: Floats
    """The one number for each that AUC is of; NaN if it has none."""
    fires: Floats
    """Seconds until it is over each of ``THRESHOLDS``, infinity if never: float64[101, n]."""


# ---- protocol ---------------------------------------------------------------------------------


def points(turn: Turn) -> list[Point]:
    """Return every moment of a turn at which a system is asked, before it has been."""
    found = []
    for index, (start, end) in enumerate(turn.silences):
        if end - start < SHORTEST - EPS:
            continue
        label = EOT if index == len(turn.silences) - 1 else HOLD
        for at in grid(start, end):
            silent = round(at - start, 6)
            found.append(Point(turn.id, turn.language, index, at, silent, None, label))
    return found


def grid(start: float, end: float) -> list[float]:
    """Return the moments of a silence: one every 100 ms, and its end."""
    found = [start + at * STEP for at in range(math.floor((end - start) / STEP) + 1)]
    return found if found[-1] > end - EPS else [*found, end]


def heard(turn: Turn, at: float, lag: float = LAG) -> str:
    """Return the words that a recogniser has at a moment."""
    return " ".join(word.text for word in turn.words if word.end <= at - lag)


# ---- metrics ----------------------------------------------------------------------------------


def spans(predictions: Iterable[Point], score_point: float | None = None) -> Spans:
    """Return what a detector made of each silence.

    Args:
        predictions: Of one language.
        score_point: Seconds of silence after which a system gives its one answer; None for one that
            answers all the time.

    Raises:
        ValueError: There is no silence within a turn, or none after one, or one has no answer.
    """
    of_span: defaultdict[tuple[str, int], list[Point]] = defaultdict(list)
    for point in predictions:
        of_span[point.id, point.span_index].append(point)
    kept = [sorted(own, key=lambda p: p.silence_dur) for own in of_span.values() if _counts(own)]
    eot = np.array([own[0].label == EOT for own in kept], bool)
    if eot.all() or not eot.any():
        raise ValueError("there must be silences within turns and after them")
    answers = [_answers(own, score_point) for own in kept]
    return Spans(
        np.array([own[-1].silence_dur for own in kept]),
        eot,
        np.array([scores.max(initial=-1.0) if len(scores) else math.nan for _, scores in answers]),
        np.stack([_fires(times, scores) for times, scores in answers], 1),
    )


def _counts(own: Sequence[Point]) -> bool:
    shortest, longest = HOLDS
    silent = max(point.silence_dur for point in own)
    return own[0].label == EOT or shortest - EPS <= silent <= longest + EPS


def _answers(own: Sequence[Point], score_point: float | None) -> tuple[Floats, Floats]:
    """Return when a system answered in a silence, and what."""
    found = [(point.silence_dur, point.p_eot) for point in own if point.p_eot is not None]
    if score_point is not None:
        found = [(at, p) for at, p in found if at >= score_point - EPS][:1]
        if any(at > score_point + EPS for at, _ in found) or (
            not found and own[-1].silence_dur >= score_point - EPS
        ):
            raise ValueError(f"{own[0].id}: no answer after {score_point} s of silence")
    if not found and own[0].label == EOT:
        raise ValueError(f"{own[0].id}: no answer at the end of the turn")
    times, scores = np.array(found, float).reshape(-1, 2).T
    return times, scores


def _fires(times: Floats, scores: Floats) -> Floats:
    """Return when the first answer is over each threshold: float64[101]."""
    highest = np.maximum.accumulate(scores)
    first = np.searchsorted(highest, THRESHOLDS, "right")  # over it, not at it
    return np.append(times, math.inf)[first]


def sweep(found: Spans, score_point: float | None = None) -> Policies:
    """Return what every policy with this detector does."""
    rows = [
        _policies(found, float(delay), float(timeout))
        for delay in DELAYS
        for timeout in TIMEOUTS
        if (score_point or 0.0) - EPS <= delay <= timeout + EPS
    ]
    return Policies(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _policies(found: Spans, delay: float, timeout: float) -> Policies:
    """Return the policies of all thresholds with one delay and one timeout."""
    held, acts = found.duration[~found.eot], np.maximum(delay, found.fires)
    cut = (held > acts[:, ~found.eot] + EPS) | (held > timeout + EPS)
    detected = acts[:, found.eot] <= timeout + EPS
    waited = np.where(detected, acts[:, found.eot], timeout)
    same = np.ones(len(THRESHOLDS))
    return Policies(
        THRESHOLDS,
        delay * same,
        timeout * same,
        cut.mean(1),
        waited.mean(1),
        (~detected).mean(1),
    )


def waiting(found: Spans, waits: Floats = WAITS) -> Policies:
    """Return what policies do that wait, always as long, and ask no detector."""
    held = found.duration[~found.eot]
    cut = (held > waits[:, None] + EPS).mean(1)
    return Policies(np.full(len(waits), math.nan), waits, waits, cut, waits, np.zeros(len(waits)))


def soonest(policies: Policies, cutoff: float) -> Operating | None:
    """Return the policy that answers soonest and cuts off no larger share; None if all do."""
    p = policies
    order = (p.mean_latency, p.cutoff_rate, p.timeout_rate, p.timeout, p.delay, p.threshold)
    return _first(policies, p.cutoff_rate <= cutoff + EPS, order)


def safest(policies: Policies, latency: float) -> Operating | None:
    """Return the policy that cuts off least and has users wait no longer; None if all do."""
    p = policies
    order = (p.cutoff_rate, p.mean_latency, -p.threshold, p.delay, p.timeout)
    return _first(policies, p.mean_latency <= latency + EPS, order)


def _first(
    policies: Policies, allowed: npt.NDArray[np.bool_], order: Sequence[Floats]
) -> Operating | None:
    places = np.flatnonzero(allowed)
    if not len(places):
        return None
    best = places[np.lexsort([column[places] for column in reversed(order)])[0]]
    return Operating(*(float(column[best]) for column in policies))


def frontier(policies: Policies) -> float:
    """Return the mean of the soonest latencies for cutoffs of 0 to 10 %; NaN if none can be had."""
    found = [soonest(policies, float(budget)) for budget in FRONTIER]
    latencies = [point.mean_latency for point in found if point is not None]
    return float(np.mean(latencies)) if latencies else math.nan


def auc(found: Spans) -> float:
    """Return how often a turn's end scores above a silence within one."""
    known = ~np.isnan(found.score)
    return turn_rates.auc(found.score[known & found.eot], found.score[known & ~found.eot])


def average_precision(found: Spans) -> float:
    """Return the area under precision over recall, in steps."""
    known = ~np.isnan(found.score)
    eot = found.eot[known]
    if not eot.any():
        return math.nan
    order = np.argsort(-found.score[known], kind="stable")
    scores, hits = found.score[known][order], eot[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of equal scores
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())
