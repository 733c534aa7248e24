"""How good speech probabilities are against labels: frame by frame, and event by event.

numpy in, plain numbers out; frames are of 10 ms, times in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .data import FRAME_SECONDS, HOP, RATE, Clip, Labels, Segment

Scores = npt.NDArray[np.floating]
"""Probabilities, or any scores that are higher where speech is likelier; floating[n]."""

# ---- frames -----------------------------------------------------------------------------------


def to_grid(probabilities: Scores, window_seconds: float, frames: int) -> Scores:
    """Put the probabilities of windows on the grid of labels, with no compensation of lag.

    Window ``i`` is the sound from ``i * window_seconds`` to ``(i + 1) * window_seconds``. A frame
    of 10 ms gets the probability of the window that contains its middle: never of a later one,
    although the window may end after the frame. Frames beyond the last window get that of the last.

    Args:
        probabilities: floating[windows], at least one.
        window_seconds: From one probability to the next.
        frames: Frames wanted.

    Returns:
        floating[frames].

    Raises:
        ValueError: There is no probability.
    """
    if not len(probabilities):
        raise ValueError("no window was scored")
    middles = (np.arange(frames) + 0.5) * FRAME_SECONDS
    windows = np.floor(middles / window_seconds).astype(int)
    on_grid: Scores = probabilities[np.minimum(windows, len(probabilities) - 1)]
    return on_grid


def on_grid(
    clips: Sequence[Clip], probabilities: Sequence[Scores], window_seconds: float
) -> tuple[Labels, Scores]:
    """Return the labels of clips in a row, and the probabilities of their windows beside them."""
    scores = [
        to_grid(said, window_seconds, len(clip.labels))
        for clip, said in zip(clips, probabilities, strict=True)
    ]
    return np.concatenate([clip.labels for clip in clips]), np.concatenate(scores)


def roc_auc(labels: Labels, scores: Scores) -> float:
    """Return how often a speech frame scores above another, ties counting half (Mann-Whitney).

    Raises:
        ValueError: There is no speech, or nothing but speech.
    """
    positives, negatives = _counts(labels)
    _, place, equal = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(equal) - (equal - 1) / 2
    above = rank[place[labels]].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def average_precision(labels: Labels, scores: Scores) -> float:
    """Return the sum of precision times gained recall over falling thresholds, not interpolated.

    Raises:
        ValueError: There is no speech, or nothing but speech.
    """
    curve = _curve(labels, scores)
    gained = np.diff(curve.hits, prepend=0) / curve.hits[-1]
    return float(np.sum(gained * curve.hits / (curve.hits + curve.alarms)))


class AtThreshold(NamedTuple):
    """What deciding at one threshold gives; each from 0 to 1, and 0 where nothing is divided by."""

    f1: float
    precision: float
    recall: float
    false_positive_rate: float


def at_threshold(labels: Labels, scores: Scores, threshold: float = 0.5) -> AtThreshold:
    """Return the figures when a frame is speech from ``threshold`` on.

    Raises:
        ValueError: There is no speech, or nothing but speech.
    """
    positives, negatives = _counts(labels)
    said = scores >= threshold
    hits, alarms = int((said & labels).sum()), int((said & ~labels).sum())
    return AtThreshold(
        f1=2 * hits / (positives + hits + alarms),
        precision=hits / (hits + alarms) if hits else 0.0,
        recall=hits / positives,
        false_positive_rate=alarms / negatives,
    )


def best_f1(labels: Labels, scores: Scores) -> tuple[float, float]:
    """Return the highest F1 that any threshold gives, and the highest threshold that gives it.

    Raises:
        ValueError: There is no speech, or nothing but speech.
    """
    curve = _curve(labels, scores)
    f1 = 2 * curve.hits / (curve.hits[-1] + curve.hits + curve.alarms)
    best = int(np.argmax(f1))
    return float(f1[best]), float(curve.thresholds[best])


def figures(labels: Labels, scores: Scores) -> dict[str, float]:
    """Return every figure above, those at a threshold at 0.5, rounded to four places.

    Raises:
        ValueError: There is no speech, or nothing but speech.
    """
    at_half = at_threshold(labels, scores)
    best, threshold = best_f1(labels, scores)
    found = {
        "auc": roc_auc(labels, scores),
        "ap": average_precision(labels, scores),
        "f1": at_half.f1,
        "precision": at_half.precision,
        "recall": at_half.recall,
        "fpr": at_half.false_positive_rate,
        "best_f1": best,
        "best_threshold": threshold,
    }
    return {name: round(value, 4) for name, value in found.items()}


def mean(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over some rows, rounded to four places."""
    listed = list(rows)
    return {name: round(float(np.mean([row[name] for row in listed])), 4) for name in listed[0]}


class _Curve(NamedTuple):
    """Hits and false alarms at every distinct score, falling: [m] each."""

    thresholds: Scores
    hits: npt.NDArray[np.int64]
    alarms: npt.NDArray[np.int64]


def _curve(labels: Labels, scores: Scores) -> _Curve:
    _counts(labels)
    order = np.argsort(-scores, kind="stable")
    falling, speech = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    hits = np.cumsum(speech, dtype=np.int64)[last]
    return _Curve(falling[last], hits, last + 1 - hits)


def _counts(labels: Labels) -> tuple[int, int]:
    positives = int(labels.sum())
    if not 0 < positives < len(labels):
        raise ValueError("labels need both speech and something else")
    return positives, len(labels) - positives


# ---- events -----------------------------------------------------------------------------------


def segments(labels: Labels, bridge: float = 0.0) -> list[Segment]:
    """Return the labelled segments, those joined that a pause shorter than ``bridge`` s parts."""
    edges = np.flatnonzero(np.diff(labels.astype(np.int8), prepend=0, append=0))
    joined: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        if joined and (start - joined[-1][1]) * HOP / RATE < bridge:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [Segment(start * HOP / RATE, end * HOP / RATE) for start, end in joined]


@dataclass
class Events:
    """What a voice activity detector did to the segments of some clips; add them up with ``+=``."""

    segments: int = 0
    """Labelled, after bridging."""
    missed: int = 0
    """Labelled, and not touched by any detected one."""
    false: int = 0
    """Detected, and touching no labelled one."""
    splits: int = 0
    """Detected beyond the first within one labelled segment."""
    merged: int = 0
    """Labelled, and begun while the one before had not been ended."""
    start_latencies: list[float] = field(default_factory=list)
    """Seconds from the start of a labelled segment to the START it caused; below 0 when early."""
    end_latencies: list[float] = field(default_factory=list)
    """Seconds from the end of a labelled segment to the next END; those merged wait for long."""

    def __iadd__(self, other: Events) -> Events:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def summary(self) -> dict[str, float | None]:
        """Return the counts, and median and 90th percentile of the latencies in milliseconds."""
        return {
            "segments": self.segments,
            "found": self.segments - self.missed,
            "missed": self.missed,
            "false": self.false,
            "splits": self.splits,
            "merged": self.merged,
            "start_ms_median": _percentile(self.start_latencies, 50),
            "start_ms_p90": _percentile(self.start_latencies, 90),
            "end_ms_median": _percentile(self.end_latencies, 50),
            "end_ms_p90": _percentile(self.end_latencies, 90),
        }


def events(labels: Labels, decided: Sequence[Segment], min_silence: float) -> Events:
    """Hold the decisions of a detector against the labels of one clip.

    Labelled pauses shorter than ``min_silence`` are bridged first: a detector that waits for so
    much silence cannot know of them. A decided segment touches a labelled one when they overlap
    after the silence that the detector waited for is taken off its end.

    Args:
        labels: bool[frames].
        decided: When START and END were said, in order; an END never said is infinity, and has no
            latency.
        min_silence: Seconds of silence that the detector waits for.
    """
    spoken = segments(labels, bridge=min_silence)
    heard = [Segment(s, max(s + FRAME_SECONDS, e - min_silence)) for s, e in decided]
    touching = [
        [i for i, one in enumerate(heard) if one.start < end and one.end > start]
        for start, end in spoken
    ]
    result = Events(segments=len(spoken))
    result.false = len(heard) - len({i for found in touching for i in found})
    before: int | None = None
    for (start, end), found in zip(spoken, touching, strict=True):
        if not found:
            result.missed += 1
            continue
        result.splits += len(found) - 1
        if found[0] == before:
            result.merged += 1
        else:
            result.start_latencies.append(decided[found[0]].start - start)
        if np.isfinite(decided[found[-1]].end):
            result.end_latencies.append(decided[found[-1]].end - end)
        before = found[-1]
    return result


def _percentile(seconds: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(seconds, percent)) * 1e3, 1) if seconds else None
