"""What fixed thresholds and the learnt one make of clean, noisy, quiet and far speech."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearvoice.speech import SpeechOptions

from . import data, hearing, metrics, systems
from .hearing import WINDOW
from .metrics import Scores
from .quiet_sets import AFTER, Set, group, sets, silent
from .thresholds import RULES, Rule, decide, learnt

WHAT = (
    "recall, false positive rate and F1 of 10 ms frames, raw probability against threshold, no lag "
    "compensated; events of the policy with its defaults; each clip a new stream but for 'one "
    "call', 'call' and 'far'; starts per minute of sound without speech"
)


def quiet(folder: Path, kernel: systems.Kernel = "numpy", minutes: float = 10.0) -> dict[str, Any]:
    """Return the figures of every way to choose a threshold, on every set.

    Args:
        folder: The data folder, see :data:`benchmarks.data.SOURCES`.
        kernel: What runs the network.
        minutes: Of each noise without speech.

    Raises:
        MissingDataError: A labelled set is not in the data folder.
    """
    network = systems.model(16_000, kernel)
    described: dict[str, dict[str, float]] = {}
    figures: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in RULES}
    for name, streams in sets(folder):
        print(name, file=sys.stderr)
        heard = [hearing.probabilities(network, clip.samples) for clip in streams]
        described[name] = _ceiling(streams, heard)
        for rule, how in RULES.items():
            figures[rule][name] = _figures(how, streams, heard)
    starts: dict[str, dict[str, dict[str, float]]] = {name: {} for name in RULES}
    for name, sound, begin in silent(data.ten(folder), minutes):
        print(name, file=sys.stderr)
        said = hearing.probabilities(network, sound)
        for rule, how in RULES.items():
            starts[rule][name] = _starts(how, said, begin)
    return {
        "task": "vad-quiet",
        "what": WHAT,
        "kernel": network.kernel,
        "us_per_window": _cost(),
        "data": {name: source.url for name, source in data.SOURCES.items()},
        "sets": described,
        "systems": {
            name: {
                "speech": {**figures[name], **_means(figures[name])},
                "noise": {**starts[name], **_noise_means(starts[name])},
            }
            for name in RULES
        },
    }


def _cost(rounds: int = 9) -> float:
    """Return the microseconds of one step of the learnt threshold: median of some rounds."""
    heard = np.random.default_rng(0).random(20_000) ** 4
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        learnt(heard)
        took.append((time.perf_counter() - started) / len(heard) * 1e6)
    return round(statistics.median(took), 3)


def _ceiling(streams: Set, heard: Sequence[Scores]) -> dict[str, float]:
    """Say what the set is, and what the best fixed threshold would have given."""
    labels, scores = metrics.on_grid(streams, heard, WINDOW)
    best, threshold = metrics.best_f1(labels, scores)
    return {
        "minutes": round(len(labels) * data.FRAME_SECONDS / 60, 2),
        "speech": round(float(labels.mean()), 3),
        "auc": round(metrics.roc_auc(labels, scores), 4),
        "best_f1": round(best, 4),
        "best_threshold": round(threshold, 4),
        "recall_at_fpr_0.05": round(_recall(labels, scores, 0.05), 4),
    }


def _recall(labels: data.Labels, scores: Scores, false_positive_rate: float) -> float:
    """Return the recall of the fixed threshold with that rate of false positives."""
    threshold = np.quantile(scores[~labels], 1 - false_positive_rate)
    return float(np.mean(scores[labels] > threshold))


def _figures(rule: Rule, streams: Set, heard: Sequence[Scores]) -> dict[str, Any]:
    thresholds = [rule.thresholds(said) for said in heard]
    above = [said - threshold for said, threshold in zip(heard, thresholds, strict=True)]
    frames = metrics.at_threshold(*metrics.on_grid(streams, above, WINDOW), 0.0)
    events = metrics.Events()
    for clip, said in zip(streams, heard, strict=True):
        decided = decide(rule, said)
        events += metrics.events(clip.labels, decided, SpeechOptions().min_silence_duration)
    return {
        "recall": round(frames.recall, 4),
        "fpr": round(frames.false_positive_rate, 4),
        "f1": round(frames.f1, 4),
        "threshold": round(float(np.median(np.concatenate(thresholds))), 3),
        "events": events.summary(),
    }


def _means(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return recall, FPR and F1 averaged over the sets of each group, and events added up."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in figures.items():
        if where := group(name):
            groups.setdefault(where, []).append(row)
    return {
        name: {
            **metrics.mean({key: row[key] for key in _FRAMES} for row in rows),
            **{key: sum(r["events"][key] for r in rows) for key in ("segments", "missed", "false")},
        }
        for name, rows in groups.items()
    }


_FRAMES = ("recall", "fpr", "f1")


def _starts(rule: Rule, said: Scores, begin: float) -> dict[str, float]:
    """Return what the policy makes of the sound after ``begin`` seconds, which is no speech."""
    end = len(said) * WINDOW
    decided = [one for one in decide(rule, said) if one.end > begin]
    speaking = sum(min(one.end, end) - max(one.start, begin) for one in decided)
    return {
        "starts_per_minute": round(
            sum(one.start > begin for one in decided) / ((end - begin) / 60), 3
        ),
        "speaking": round(speaking / (end - begin), 4),
    }


def _noise_means(starts: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the means over noises in which nobody is understood to speak: all but babble."""
    means = {}
    for name, after in (("mean", False), ("mean after a quiet call", True)):
        rows = [
            row
            for noise, row in starts.items()
            if noise.endswith(AFTER) is after and not noise.startswith("babble")
        ]
        means[name] = metrics.mean(rows)
    return means


_NOISE = ("starts_per_minute", "speaking")


def report(result: dict[str, Any]) -> str:
    """Return the result as text: of each set and noise, a line a rule."""
    rules = result["systems"]
    width = max(len(name) for name in rules)
    lines = []
    for part, cells in (("speech", _FRAMES), ("noise", _NOISE)):
        for row in next(iter(rules.values()))[part]:
            lines.append(f"{row}  {result['sets'].get(row, '')}")
            for name, figures in rules.items():
                shown = "  ".join(f"{figures[part][row][cell]:.3f}" for cell in cells)
                lines.append(f"    {name:{width}s}  {shown}")
    return "\n".join(lines)
