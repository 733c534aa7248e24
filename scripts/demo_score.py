"""Detected and labelled speech in, their agreement out; segments are (start, end) in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

Segment = tuple[float, float]

FRAME = 0.01
"""Seconds per frame of the frame-level score."""
TOLERANCE = 0.5
"""Seconds between a detected and a labelled boundary up to which they are the same boundary."""


@dataclass(frozen=True)
class Score:
    """How well the detected speech agrees with the labels."""

    frames: int
    """Frames compared, of 10 ms each."""
    agreement: float
    """Share of the frames that are judged as the labels say."""
    precision: float
    """Share of the detected frames that are labelled speech; 1 if none is detected."""
    recall: float
    """Share of the labelled frames that are detected; 1 if none is labelled."""
    labelled: int
    """Labelled stretches of speech, overlapping turns taken together."""
    detected: int
    """Detected segments."""
    missed: list[Segment]
    """Labelled stretches that no detected segment touches."""
    invented: list[Segment]
    """Detected segments that touch no labelled speech."""
    start_latency: float | None
    """Median seconds from a labelled start to the START event; None if no boundary matches."""
    starts: int
    """How many starts that median is over."""
    end_latency: float | None
    """Median seconds from a labelled end to the END event; None if no boundary matches."""
    ends: int
    """How many ends that median is over."""


@dataclass(frozen=True)
class Boundary:
    """A start or end that the VAD announced."""

    second: float
    """Where in the audio it says that the boundary is."""
    announced: float
    """When in the call it said so."""


def union(segments: Iterable[Segment]) -> list[Segment]:
    """Return the same speech as sorted segments that neither overlap nor touch."""
    merged: list[Segment] = []
    for start, end in sorted(segments):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def frames(segments: Iterable[Segment], duration: float) -> npt.NDArray[np.bool_]:
    """Return for each 10 ms of ``duration`` whether its middle lies in a segment."""
    count = round(duration / FRAME)
    middles = (np.arange(count) + 0.5) * FRAME
    speech = np.zeros(count, np.bool_)
    for start, end in segments:
        speech |= (middles >= start) & (middles < end)
    return speech


def latencies(announced: Sequence[Boundary], labelled: Sequence[float]) -> list[float]:
    """Return the seconds from each labelled boundary to the announcement of its match.

    Boundaries are paired one to one, the closest first, never further apart than ``TOLERANCE``.
    """
    pairs = sorted(
        (abs(boundary.second - label), i, j)
        for i, boundary in enumerate(announced)
        for j, label in enumerate(labelled)
    )
    taken: dict[int, int] = {}
    for distance, i, j in pairs:
        if distance <= TOLERANCE and i not in taken and j not in taken.values():
            taken[i] = j
    return [announced[i].announced - labelled[j] for i, j in sorted(taken.items())]


def score(
    detected: Sequence[Segment],
    labelled: Iterable[Segment],
    duration: float,
    *,
    starts: Sequence[Boundary] = (),
    ends: Sequence[Boundary] = (),
) -> Score:
    """Compare detected speech with labelled speech.

    Args:
        detected: What the VAD found.
        labelled: Who speaks when; turns may overlap.
        duration: Seconds of audio to compare over.
        starts: The START events, for the latency.
        ends: The END events, for the latency.
    """
    truth = union(labelled)
    said, true = frames(detected, duration), frames(truth, duration)
    both = int((said & true).sum())
    start_latencies = latencies(starts, [start for start, _ in truth])
    end_latencies = latencies(ends, [end for _, end in truth])
    return Score(
        frames=len(true),
        agreement=float((said == true).mean()) if len(true) else 1.0,
        precision=both / int(said.sum()) if said.any() else 1.0,
        recall=both / int(true.sum()) if true.any() else 1.0,
        labelled=len(truth),
        detected=len(detected),
        missed=untouched(truth, detected),
        invented=untouched(detected, truth),
        start_latency=median(start_latencies) if start_latencies else None,
        starts=len(start_latencies),
        end_latency=median(end_latencies) if end_latencies else None,
        ends=len(end_latencies),
    )


def untouched(segments: Iterable[Segment], others: Sequence[Segment]) -> list[Segment]:
    """Return the segments that no other overlaps."""
    return [
        (start, end)
        for start, end in segments
        if not any(begin < end and start < finish for begin, finish in others)
    ]
