"""A network and labelled turns in; its thresholds, its calibration, and what int8 costs it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice.turn_network import TurnNetwork
from nearvoice.turn_prompt import Reader
from nearvoice.turn_rates import auc, threshold_for, tnr_at
from nearvoice.turn_text import Turn

FEWEST = 200
"""Pairs of a language that a threshold of its own is chosen from."""


class Scores:
    """Probabilities of complete turns and of cuts of them."""

    def __init__(
        self,
        pairs: Sequence[dict[str, Any]],
        reader: Reader,
        network: TurnNetwork,
        max_tokens: int,
    ) -> None:
        self.languages = np.array([pair["lang"] for pair in pairs])
        self.complete = np.empty(len(pairs))
        self.unfinished = np.empty(len(pairs))
        for at, pair in enumerate(pairs):
            before = [Turn(role, text) for role, text in pair["ctx"] if text]
            # the shorter first: the longer goes on from it
            cut, whole = (
                tuple(reader.ids([*before, Turn("user", pair[which])])[-max_tokens:])
                for which in ("cut", "text")
            )
            read = network.read(cut)
            self.unfinished[at] = read.probability
            self.complete[at] = network.read(whole, read).probability

    def of(self, language: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return those of one language."""
        own = self.languages == language
        return self.complete[own], self.unfinished[own]


def compare(exact: Scores, small: Scores) -> str:
    """Return the lines that say what int8 costs."""
    both = [np.concatenate((s.complete, s.unfinished)) for s in (exact, small)]
    apart = np.abs(both[0] - both[1])
    aucs = [auc(s.complete, s.unfinished) for s in (exact, small)]
    tnrs = [tnr_at(s.complete, s.unfinished, 0.95) for s in (exact, small)]
    return (
        f"int8: {len(both[0])} prompts, probabilities {apart.mean():.4f} apart, {apart.max():.3f} at "
        f"most; AUC {aucs[0]:.4f} to {aucs[1]:.4f}, TNR at TPR .95 {tnrs[0]:.3f} to {tnrs[1]:.3f}"
    )


def fields(scores: Scores, tpr: float) -> dict[str, Any]:
    """Return the fields of ``turn.json`` that are chosen on labelled turns."""
    calibration, thresholds = {}, {}
    everything = _calibrate(scores.complete, scores.unfinished)
    for language in sorted(set(scores.languages.tolist())):
        complete, unfinished = scores.of(language)
        if len(complete) < FEWEST:
            continue
        scale, shift = calibration[language] = _calibrate(complete, unfinished)
        chosen = _calibrated(threshold_for(complete, tpr), scale, shift)
        thresholds[language] = _rounded_down(chosen)
    known = list(thresholds.values())
    return {
        "threshold": float(np.median(known)) if known else 0.5,
        "thresholds": thresholds,
        "calibration": {**{k: list(v) for k, v in calibration.items()}, "*": list(everything)},
    }


def _rounded_down(value: float) -> float:
    return float(np.floor(value * 1e5) / 1e5)


def _logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def _calibrated(p: float, scale: float, shift: float) -> float:
    return float(1 / (1 + np.exp(-(scale * _logit(np.array(p)) + shift))))


def _calibrate(
    complete: npt.NDArray[np.float64], unfinished: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Return the scale and shift of the logit that are likeliest, as many complete as unfinished.

    Platt's method (1999), by Newton's steps.
    """
    x = _logit(np.concatenate((complete, unfinished)))
    y = np.concatenate((np.ones(len(complete)), np.zeros(len(unfinished))))
    weight = np.where(y == 1, 0.5 / len(complete), 0.5 / len(unfinished))
    both = np.stack((x, np.ones_like(x)), 1)
    found = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(both @ found, -30, 30)))
        slope = both.T @ (weight * (p - y))
        curve = (both * (weight * p * (1 - p))[:, None]).T @ both + 1e-9 * np.eye(2)
        found -= np.linalg.solve(curve, slope)
    return round(float(found[0]), 4), round(float(found[1]), 4)
