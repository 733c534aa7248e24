"""What a caller felt, from what happened in calls: cut off, kept waiting, talked over."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import eot_bench
from .call_build import IMPATIENT
from .call_session import LAG, Turns
from .eot_bench import DELAYS, THRESHOLDS, TIMEOUTS, WAITS, Floats, Policies

NEAR = 1.5
"""Seconds after speech in which an interruption is not a false one."""
BUDGETS = np.round(np.arange(0.0, 0.501, 0.02), 2)
"""Shares of false cut-offs that the curve is drawn at."""


class Silence(NamedTuple):
    """After a piece of speech."""

    ends_turn: bool
    start: float
    end: float
    """When the caller goes on; infinity if never."""
    until: float
    """When the next piece is over."""


class Seen(NamedTuple):
    """What a session made of a silence, in seconds since its start."""

    silence: Silence
    ready: float
    """When it could have decided: end of speech found, words and prediction there."""
    p: float | None
    """Of the end of the turn."""
    commit: float | None
    """When it took the turn as ended."""


# ---- one call ---------------------------------------------------------------------------------


def silences(turns: Turns) -> list[Silence]:
    """Return the silence after every piece."""
    pieces = [(piece, piece is turn[-1]) for turn in turns for piece in turn]
    following: list[dict[str, Any]] = [piece for piece, _ in pieces[1:]]
    last = {"start": math.inf, "end": math.inf}
    return [
        Silence(ends, piece["end"], after["start"], after["end"])
        for (piece, ends), after in zip(pieces, [*following, last], strict=True)
    ]


def seen(turns: Turns, happened: Mapping[str, Any]) -> Iterator[Seen]:
    """Yield what a session made of every silence of a call."""
    for silence in silences(turns):
        found = _within(happened["silence"], silence.start, silence.end)
        predicted = _within(happened["predictions"], silence.start, silence.end)
        commits = _within(happened["commits"], silence.start, silence.until)
        known = [found[0][0] if found else math.inf, silence.start + LAG]
        known += [predicted[-1][0]] if predicted else []
        yield Seen(
            silence,
            max(known) - silence.start,
            predicted[-1][1] if predicted else None,
            commits[0][0] - silence.start if commits else None,
        )


def _within(events: Sequence[Sequence[Any]], start: float, end: float) -> list[Sequence[Any]]:
    return [event for event in events if start <= event[0] < end]


def lost(turns: Turns, happened: Mapping[str, Any]) -> int:
    """Return the number of turns of which words never reached the agent."""
    said = " ".join(text for _, text in happened["commits"])
    return sum(any(piece["text"] not in said for piece in turn) for turn in turns)


def barge_ins(turns: Turns, happened: Mapping[str, Any]) -> list[float | None]:
    """Return, for each turn that begins while the agent speaks, when it falls silent; or None."""
    delays: list[float | None] = []
    for turn in turns:
        start = turn[0]["start"]
        for begun, over, interrupted in happened["replies"]:
            if begun < start < over:
                delays.append(over - start if interrupted else None)
    return delays


def false_interruptions(turns: Turns, happened: Mapping[str, Any]) -> int:
    """Return how often the agent fell silent though nobody had just spoken."""
    pieces = [piece for turn in turns for piece in turn]
    return sum(
        interrupted and not any(piece["start"] <= over <= piece["end"] + NEAR for piece in pieces)
        for _, over, interrupted in happened["replies"]
    )


# ---- all calls --------------------------------------------------------------------------------


def figures(calls: Sequence[tuple[Turns, Mapping[str, Any]]], detects: bool) -> dict[str, Any]:
    """Return the figures of a system.

    Args:
        calls: Turns, and what happened.
        detects: Whether it predicts the end of a turn, rather than waits always as long.
    """
    found = [one for turns, happened in calls for one in seen(turns, happened)]
    holds = [one for one in found if not one.silence.ends_turn]
    waited = [
        one.commit
        for one in found
        if one.silence.ends_turn and one.commit is not None and _in_time(one)
    ]
    barged = [one for turns, happened in calls for one in barge_ins(turns, happened)]
    heeded = [delay for delay in barged if delay is not None]
    cut = sum(one.commit is not None for one in holds)
    return {
        "holds": len(holds),
        "ends": sum(one.silence.ends_turn for one in found),
        "false_cutoffs": {"value": _share(cut, len(holds)), "interval": wilson(cut, len(holds))},
        "latency_ms_median": _ms(statistics.median(waited)) if waited else None,
        "latency_ms_p90": _ms(float(np.percentile(waited, 90))) if waited else None,
        "answered": len(waited),
        "turns_lost": sum(lost(*one) for one in calls),
        "barge_ins": len(barged),
        "barge_ins_missed": len(barged) - len(heeded),
        "barge_in_ms_median": _ms(statistics.median(heeded)) if heeded else None,
        "barge_in_ms_p90": _ms(float(np.percentile(heeded, 90))) if heeded else None,
        "false_interruptions": sum(false_interruptions(*one) for one in calls),
        **_operating(policies(found, detects)),
    }


def _in_time(one: Seen) -> bool:
    return one.commit is not None and one.commit < one.silence.end - one.silence.start


def policies(found: Sequence[Seen], detects: bool) -> Policies:
    """Return what every policy would have done, by eot-bench's sweep of threshold, delay, timeout.

    A session acts no sooner than it is ready, whatever the policy.
    """
    ready = np.array([one.ready for one in found])
    ready = np.where(np.isinf(ready), IMPATIENT, ready)
    p = np.array([np.nan if one.p is None else one.p for one in found])
    held = np.array([one.silence.end - one.silence.start for one in found])
    ends = np.array([one.silence.ends_turn for one in found])
    if not detects:
        acts = np.maximum(WAITS[:, None], ready)
        nan = np.full(len(WAITS), math.nan)
        return _policies(nan, WAITS, WAITS, acts, held, ends, np.zeros(acts.shape, bool))
    grid = [(t, d, o) for o in TIMEOUTS for d in DELAYS for t in THRESHOLDS]
    threshold, delay, timeout = np.array(grid).T
    late = ~(p > threshold[:, None])  # also where there is no prediction
    acts = np.maximum(np.where(late, timeout[:, None], delay[:, None]), ready)
    return _policies(threshold, delay, timeout, acts, held, ends, late)


def _policies(
    threshold: Floats,
    delay: Floats,
    timeout: Floats,
    acts: Floats,
    held: Floats,
    ends: Any,  # noqa: ANN401 - bool[n]
    late: Any,  # noqa: ANN401 - bool[policies, n]
) -> Policies:
    cut = (held[~ends] > acts[:, ~ends]).mean(1)
    waits = acts[:, ends].mean(1)
    return Policies(threshold, delay, timeout, cut, waits, late[:, ends].mean(1))


def _operating(swept: Policies) -> dict[str, Any]:
    soon = eot_bench.soonest(swept, 0.05)
    row: dict[str, Any] = {"latency_ms at 5 %": None if soon is None else _ms(soon.mean_latency)}
    for milliseconds in (300, 800, 1200):
        safe = eot_bench.safest(swept, milliseconds / 1000)
        share = None if safe is None else round(safe.cutoff_rate, 4)
        row[f"cutoff at {milliseconds} ms"] = share
    points = [(float(budget), eot_bench.soonest(swept, float(budget))) for budget in BUDGETS]
    row["curve"] = [
        [budget, round(point.mean_latency, 3)] for budget, point in points if point is not None
    ]
    return row


def wilson(hits: int, n: int, z: float = 1.96) -> list[float]:
    """Return Wilson's interval of 95 % of a share."""
    if not n:
        return [0.0, 1.0]
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]


def _share(hits: int, n: int) -> float | None:
    return round(hits / n, 4) if n else None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
