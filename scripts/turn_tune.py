"""A network and labelled turns in; its thresholds, its calibration, and what int8 costs it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice.turn_network import Ids, TurnNetwork
from nearvoice.turn_rates import auc, calibrated, threshold_for, tnr_at
from nearvoice.turn_window import Window
from scripts.turn_corpus import conversation

FEWEST = 150
"""Pairs of a language that a threshold of its own is chosen from."""
_SCALES = (0.05, 20.0)
"""Of a calibration, least and largest: beyond, the turns are all alike, or too few."""


class Labelled:
    """Complete turns, each with a cut of it, as the token ids that are read in a call.

    Args:
        pairs: Of :func:`scripts.turn_corpus.pairs`.
        window: Of the bundle.
    """

    def __init__(self, pairs: Sequence[dict[str, Any]], window: Window) -> None:
        self.languages = np.array([pair["lang"] for pair in pairs])
        self.prompts: list[tuple[Ids, Ids]] = []
        """Of the complete turn, and of its cut."""
        for pair in pairs:
            whole, cut = (tuple(window.ids(conversation(pair, of))) for of in ("text", "cut"))
            self.prompts.append((whole, cut))


class Scores:
    """What a network makes of them: probabilities."""

    def __init__(self, labelled: Labelled, network: TurnNetwork) -> None:
        self.languages = labelled.languages
        self.complete = np.empty(len(labelled.prompts))
        self.unfinished = np.empty(len(labelled.prompts))
        for at, (whole, cut) in enumerate(labelled.prompts):
            read = network.read(cut)
            self.unfinished[at] = read.probability
            self.complete[at] = network.read(whole, read).probability

    def of(self, language: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return those of one language."""
        own = self.languages == language
        return self.complete[own], self.unfinished[own]


def compare(precise: Scores, small: Scores) -> str:
    """Return the lines that say what int8 costs."""
    both = [np.concatenate((s.complete, s.unfinished)) for s in (precise, small)]
    aucs = [auc(s.complete, s.unfinished) for s in (precise, small)]
    tnrs = [tnr_at(s.complete, s.unfinished, 0.95) for s in (precise, small)]
    return (
        f"{apart(*both)}; AUC {aucs[0]:.4f} to {aucs[1]:.4f}, "
        f"TNR at TPR .95 {tnrs[0]:.3f} to {tnrs[1]:.3f}"
    )


def apart(precise: npt.NDArray[np.float64], small: npt.NDArray[np.float64]) -> str:
    """Return the words that say how far the probabilities of the same prompts are apart."""
    by = np.abs(precise - small)
    return f"int8: {len(by)} prompts, probabilities {by.mean():.4f} apart, {by.max():.3f} at most"


def fields(scores: Scores, tpr: float) -> dict[str, Any]:
    """Return the fields of ``turn.json`` that are chosen on labelled turns.

    Thresholds are of calibrated probabilities: of a language's own calibration, or of all turns'.
    """
    thresholds = {}
    everything = _calibrate(scores.complete, scores.unfinished, instead=(1.0, 0.0))
    calibration = {"*": everything}
    for language in sorted(set(scores.languages.tolist())):
        complete, unfinished = scores.of(language)
        if len(complete) < FEWEST:
            continue
        own = calibration[language] = _calibrate(complete, unfinished, instead=everything)
        thresholds[language] = _threshold(complete, tpr, own)
    return {
        "threshold": _threshold(scores.complete, tpr, everything),
        "thresholds": thresholds,
        "calibration": {language: list(pair) for language, pair in calibration.items()},
    }


def _threshold(
    complete: npt.NDArray[np.float64], tpr: float, calibration: tuple[float, float]
) -> float:
    chosen = calibrated(threshold_for(complete, tpr), *calibration)
    return float(np.floor(chosen * 1e5) / 1e5)


def _logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def _calibrate(
    complete: npt.NDArray[np.float64],
    unfinished: npt.NDArray[np.float64],
    instead: tuple[float, float],
) -> tuple[float, float]:
    """Return the scale and shift of the logit that are likeliest, as many complete as unfinished.

    ``instead`` where the scale would be none of ``_SCALES``.

    Platt's method (1999), by Newton's steps, none longer than 1, towards targets that are not quite
    0 and 1.
    """
    x = _logit(np.concatenate((complete, unfinished)))
    n, m = len(complete), len(unfinished)
    y = np.concatenate((np.full(n, (n + 1) / (n + 2)), np.full(m, 1 / (m + 2))))
    weight = np.concatenate((np.full(n, 0.5 / n), np.full(m, 0.5 / m)))
    both = np.stack((x, np.ones_like(x)), 1)
    found = np.array([1.0, 0.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(both @ found, -30, 30)))
        slope = both.T @ (weight * (p - y))
        curve = (both * (weight * p * (1 - p))[:, None]).T @ both + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        found -= step / max(1.0, float(np.abs(step).max()))
    scale, shift = round(float(found[0]), 4), round(float(found[1]), 4)
    return (scale, shift) if _SCALES[0] <= scale <= _SCALES[1] else instead
