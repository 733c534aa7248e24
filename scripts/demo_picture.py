"""A call in, one picture that shows it at a glance out: sound, probability, what was done."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from tests.offline.call import (
    Call,
    Heard,
    ReplyEnded,
    ReplyStarted,
    TurnCommitted,
    TurnPredicted,
)

DETECTED, SOUND, PROBABILITY = "#f6b26b", "#777777", "#1f5fa8"
TURN, REPLY, CUT = "#2a7f3f", "#7b4fa3", "#c0392b"
SPEAKERS = ("#1f5fa8", "#b5446e", "#3c8d7d", "#8a6d1f")
PAPER = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8}
MANY = 40
"""Transcripts beyond which they would cover each other: then only their marks are drawn."""


@dataclass(frozen=True)
class Picture:
    """What to draw."""

    title: str
    samples: npt.NDArray[np.int16]
    rate: int
    call: Call
    thresholds: tuple[float, float]
    """Probability that starts speech, and the one under which it ends."""
    turns: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Labelled speech of each speaker; empty without labels."""
    note: str = ""
    """A line under the title."""

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return len(self.samples) / self.rate

    @property
    def last(self) -> float:
        """Seconds until the last thing that happened."""
        return max([self.duration, *(entry.at for entry in self.call.timeline)])


def draw(picture: Picture, path: Path) -> None:
    """Save the picture as PNG."""
    with mpl.rc_context({"text.parse_math": False}):  # a dollar in a name is a dollar
        _figure(picture).savefig(path, dpi=110)


def _figure(picture: Picture) -> Figure:
    figure = Figure(figsize=(16, 9), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[2.8, 1.8, 3.4])
    _sound(panels[0], picture)
    _probability(panels[1], picture)
    _session(panels[2], picture)
    for panel in panels:
        panel.set_xlim(0, picture.last * 1.05)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=11)
        for start, end in picture.call.segments(picture.duration):
            panel.axvspan(start, end, color=DETECTED, alpha=0.28, linewidth=0, zorder=0)
    panels[2].set_xlabel("seconds of the call", fontsize=12)
    if 20 < picture.last <= 60:
        panels[2].xaxis.set_major_locator(MultipleLocator(2))
    figure.suptitle(f"{picture.title}\n", fontsize=17, fontweight="bold")
    figure.text(0.5, 0.945, picture.note, ha="center", fontsize=12, color="#444444")
    figure.legend(loc="outside lower center", ncols=1 + len(picture.turns), fontsize=12)
    return figure


def _sound(panel: Axes, picture: Picture) -> None:
    """Draw the waveform, and each speaker's labelled turns as bars above it."""
    seconds, low, high = _envelope(picture.samples, picture.rate)
    panel.fill_between(seconds, low, high, color=SOUND, linewidth=0)
    panel.axvspan(-2, -1, color=DETECTED, alpha=0.5, label="speech, as the VAD detects it")
    for row, (speaker, turns) in enumerate(sorted(picture.turns.items())):
        bars = [(start, end - start) for start, end in turns]
        colour = SPEAKERS[row % len(SPEAKERS)]
        place = (1.1 + 0.22 * row, 0.16)
        panel.broken_barh(bars, place, color=colour, label=f"labels: {speaker} speaks")
    panel.set_ylim(-1.05, 1.15 + 0.22 * max(1, len(picture.turns)))
    panel.set_yticks([])
    panel.set_ylabel("sound", fontsize=12)


def _probability(panel: Axes, picture: Picture) -> None:
    seconds = [second for second, _ in picture.call.probabilities]
    values = [value for _, value in picture.call.probabilities]
    panel.plot(seconds, values, color=PROBABILITY, linewidth=1.4)
    start, end = picture.thresholds
    for level, style, says in ((start, "--", "starts"), (end, ":", "ends")):
        panel.axhline(level, color="black", linestyle=style, linewidth=1.1)
        place = panel.get_yaxis_transform()
        panel.text(1.005, level, f"{level:g} {says}", transform=place, va="center", fontsize=11)
    panel.set_ylim(-0.03, 1.05)
    panel.set_ylabel("probability\nof speech", fontsize=12)


def _session(panel: Axes, picture: Picture) -> None:
    """Draw transcripts, predictions, committed turns and the agent's replies, one row each."""
    call = picture.call
    _transcripts(panel, call.of(Heard), picture.last)
    _predictions(panel, call.of(TurnPredicted), picture.last)
    for turn in call.of(TurnCommitted):
        panel.axvline(turn.at, color=TURN, linewidth=1.2, alpha=0.6, zorder=1)
        panel.plot(turn.at, 2.0, marker="D", color=TURN, markersize=9)
    for started, ended in zip(call.of(ReplyStarted), call.of(ReplyEnded), strict=False):
        colour = CUT if ended.interrupted else REPLY
        panel.broken_barh([(started.at, ended.at - started.at)], (0.8, 0.4), color=colour)
        words = "cut off by the user" if ended.interrupted else "replied in full"
        panel.text(
            ended.at + picture.last * 0.005, 1.0, words, va="center", fontsize=10, color=colour
        )
    panel.set_ylim(0.4, 7.6)
    rows = ["agent replies", "turn committed", "turn ended?", "transcript heard"]
    panel.set_yticks([1.0, 2.0, 3.0, 4.0], rows)


def _predictions(panel: Axes, predictions: list[TurnPredicted], last: float) -> None:
    """Draw a circle for each prediction, full if the turn has ended, and its probability."""
    for entry in predictions:
        fill = TURN if entry.ended else "white"
        panel.plot(entry.at, 3.0, marker="o", color=TURN, markerfacecolor=fill, markersize=8)
        if len(predictions) <= MANY:
            words = f"{entry.probability:.2f}"
            panel.text(entry.at + last * 0.005, 3.0, words, va="center", fontsize=10, color=TURN)


def _transcripts(panel: Axes, heard: list[Heard], last: float) -> None:
    """Draw a mark for each transcript, and left of it its words at the lowest free height."""
    letter = last / 190  # seconds that a letter of this size covers
    free_from = [-1e9] * 4
    for entry in heard:
        panel.plot(entry.at, 4.0, marker="v", color="#444444", markersize=7)
        if len(heard) > MANY:
            continue
        words = textwrap.shorten(entry.text, 48, placeholder=" …")
        text = textwrap.fill(words, max(16, len(words) // 2 + 4))
        begins = entry.at - letter * max(len(row) for row in text.splitlines())
        fits = [level for level, free in enumerate(free_from) if free <= begins]
        level = fits[0] if fits else int(np.argmin(free_from))
        free_from[level] = entry.at + letter
        height = 4.55 + 0.78 * level
        panel.plot(
            [entry.at, entry.at], [4.0, height + 0.2], color="#999999", linewidth=0.8, zorder=1
        )
        panel.text(
            entry.at - letter / 2, height, text, ha="right", va="center", fontsize=9.5, bbox=PAPER
        )


def _envelope(samples: npt.NDArray[np.int16], rate: int) -> tuple[Any, Any, Any]:
    """Return the seconds, lowest and highest value of short stretches, the loudest scaled to 1."""
    size = max(1, len(samples) // 4000)
    rows = samples[: len(samples) // size * size].reshape(-1, size) / 32768
    loudest = max(float(np.abs(rows).max(initial=0.0)), 1e-3)
    return np.arange(len(rows)) * size / rate, rows.min(1) / loudest, rows.max(1) / loudest
