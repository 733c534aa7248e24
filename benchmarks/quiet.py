"""What fixed thresholds and the learnt one make of clean, noisy, quiet and far speech."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearvoice.silero import SileroVAD
from nearvoice.speech import SpeechOptions

from . import data, hearing, metrics, systems
from .hearing import WINDOW
from .metrics import Scores
from .quiet_sets import AFTER, Set, group, sets, silent
from .settings import Settings
from .store import Store
from .thresholds import RULES, Rule, decide, learnt

WHAT = (
    "recall, false positive rate and F1 of 10 ms frames, raw probability against threshold, no lag "
    "compensated; events of the policy with its defaults; each clip a new stream but for 'one "
    "call', 'call' and 'far'; starts per minute of sound without speech"
)


MINUTES = 10.0
"""Of each noise without speech."""


def predict(settings: Settings, store: Store) -> None:
    """Keep what the network says of each window of every set, and of noises without speech.

    Raises:
        MissingDataError: A labelled set is not in the data folder.
    """
    network = systems.model(16_000, "auto")
    spoken, noises = [], []
    for name, streams in sets(settings.data):
        spoken.append(name)
        print(name, file=sys.stderr)
        store.arrays(SPEECH, name, lambda streams=streams: _said(network, streams))  # type: ignore[misc]
    for name, sound, _ in silent(data.ten(settings.data), MINUTES):
        noises.append(name)
        print(name, file=sys.stderr)
        store.arrays(NOISE, name, lambda sound=sound: {"0": hearing.probabilities(network, sound)})  # type: ignore[misc]
    store.note(
        {"kernel": network.kernel, "us_per_window": _cost(), "sets": spoken, "noises": noises}
    )


SPEECH, NOISE = "speech", "noise"


def _said(network: SileroVAD, streams: Set) -> dict[str, Scores]:
    return {
        str(at): hearing.probabilities(network, clip.samples) for at, clip in enumerate(streams)
    }


def score(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of every way to choose a threshold, on every set.

    Raises:
        MissingDataError: A labelled set, which has the labels, is not in the data folder.
    """
    about = store.about()
    described: dict[str, dict[str, float]] = {}
    figures: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in RULES}
    for name, streams in sets(settings.data):
        heard = [*store.arrays(SPEECH, name).values()]
        described[name] = _ceiling(streams, heard)
        for rule, how in RULES.items():
            figures[rule][name] = _figures(how, streams, heard)
    starts: dict[str, dict[str, dict[str, float]]] = {name: {} for name in RULES}
    for name, _, begin in silent(data.ten(settings.data), MINUTES):
        said = store.arrays(NOISE, name)["0"]
        for rule, how in RULES.items():
            starts[rule][name] = _starts(how, said, begin)
    return {
        "task": "vad-quiet",
        "what": WHAT,
        "kernel": about["kernel"],
        "us_per_window": about["us_per_window"],
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
