"""A network and labelled turns in; its thresholds, its calibration, and what int8 costs it out.

Where there is a table of last words, how much it counts beside the network is chosen here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearvoice import turn_bundle
from nearvoice.turn_memory import Memory
from nearvoice.turn_network import Ids, TurnNetwork
from nearvoice.turn_rates import auc, calibrated, threshold_for, tnr_at
from nearvoice.turn_text import Turn
from nearvoice.turn_window import Window
from scripts.turn_corpus import conversation

FEWEST = 150
"""Pairs of a language that a threshold of its own is chosen from."""
POINTS = (0.95,)
"""TPR of the other thresholds of a bundle."""
LARGEST_SHARE = 1.0
"""Of a table of last words: beyond, too little is heard of what was said before."""
_SCALES = (0.05, 20.0)
"""Of a calibration, least and largest: beyond, the turns are all alike, or too few."""


Both = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Of complete turns, and of cuts."""


class Said(NamedTuple):
    """What a table of last words is asked about."""

    text: str
    before: str
    language: str


def _before(turns: Sequence[Turn]) -> str:
    return turns[-2].content if len(turns) > 1 else ""


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
        self.said: list[tuple[Said, Said]] = []
        """As the table is asked about them."""
        for pair in pairs:
            turns = [window.turns(conversation(pair, of)) for of in ("text", "cut")]
            whole, cut = (tuple(window.fit(said)) for said in turns)
            self.prompts.append((whole, cut))
            both = [Said(said[-1].content, _before(said), pair["lang"]) for said in turns]
            self.said.append((both[0], both[1]))


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
        self.untold = self.complete, self.unfinished
        """The same where nobody says which language is spoken."""

    def remember(self, labelled: Labelled, memory: Memory) -> dict[str, float]:
        """Let a table of last words count; return how much by language, likeliest for its turns."""
        told = _asked(memory, labelled.said)
        untold = _asked(memory, [[s._replace(language="") for s in both] for both in labelled.said])
        network = _logit(np.stack((self.complete, self.unfinished)))
        shares = {"*": _share(network, untold)}
        table = shares["*"] * untold
        self.untold = tuple(_sigmoid(network + table))
        for language in sorted(set(self.languages.tolist())):
            own = self.languages == language
            if own.sum() >= FEWEST:
                shares[language] = _share(network[:, own], told[:, own])
                table[:, own] = shares[language] * told[:, own]
        self.complete, self.unfinished = _sigmoid(network + table)
        return shares

    def summary(self) -> str:
        """Return the words that say how well they are told apart, means of the languages."""
        rates = []
        for language in sorted(set(self.languages.tolist())):
            both = self.of(language)
            rates.append((auc(*both), tnr_at(*both, 0.993), tnr_at(*both, 0.95)))
        mean, at_most, at_95 = np.mean(rates, 0)
        return f"AUC {mean:.4f}, TNR {at_most:.3f} and {at_95:.3f}"

    def of(self, language: str) -> Both:
        """Return those of one language, or of all where nobody says which, ``*``."""
        if language == "*":
            return self.untold
        own = self.languages == language
        return self.complete[own], self.unfinished[own]


def table_of(checkpoint: Path, labelled: Labelled) -> tuple[Memory, float]:
    """Return a checkpoint's table of last words, counted in full in each language, and its unit."""
    unit = json.loads((checkpoint / "memory.json").read_text("utf-8"))["unit"]
    languages = {"*", *labelled.languages.tolist()}
    return Memory(checkpoint / turn_bundle.MEMORY, dict.fromkeys(languages, unit)), unit


def _asked(memory: Memory, said: Sequence[Sequence[Said]]) -> npt.NDArray[np.float64]:
    """Return a table's logits, float64[2, n], of complete turns and of cuts."""
    return np.array([[memory.logit(*each) for each in both] for both in said]).T


def _share(network: npt.NDArray[np.float64], table: npt.NDArray[np.float64]) -> float:
    """Return how much a table counts, likeliest, beside a network: logits, float64[2, n]."""
    columns = np.stack((network.ravel(), table.ravel(), np.ones(network.size)), 1)
    own, other, _ = _likeliest(columns, network.shape[1])
    return round(min(max(float(other / own), 0.0), LARGEST_SHARE), 3)


def compare(precise: Scores, small: Scores) -> str:
    """Return the lines that say what int8 costs."""
    both = [np.concatenate((s.complete, s.unfinished)) for s in (precise, small)]
    return f"{apart(*both)}; {precise.summary()} to {small.summary()}"


def apart(precise: npt.NDArray[np.float64], small: npt.NDArray[np.float64]) -> str:
    """Return the words that say how far the probabilities of the same prompts are apart."""
    by = np.abs(precise - small)
    return f"int8: {len(by)} prompts, probabilities {by.mean():.4f} apart, {by.max():.3f} at most"


def fields(scores: Scores, tpr: float) -> dict[str, Any]:
    """Return the fields of ``turn.json`` that are chosen on labelled turns.

    Thresholds are of calibrated probabilities: of a language's own calibration, or of all turns'.
    """
    everything = _calibrate(*scores.of("*"), instead=(1.0, 0.0))
    calibration = {"*": everything}
    for language in sorted(set(scores.languages.tolist())):
        complete, unfinished = scores.of(language)
        if len(complete) >= FEWEST:
            calibration[language] = _calibrate(complete, unfinished, instead=everything)
    thresholds = _thresholds(scores, tpr, calibration)
    return {
        "threshold": thresholds.pop("*"),
        "thresholds": thresholds,
        "points": {
            str(at): {
                language: threshold
                for language, threshold in _thresholds(scores, at, calibration).items()
                if language != "*"
            }
            for at in POINTS
        },
        "calibration": {language: list(pair) for language, pair in calibration.items()},
    }


def _thresholds(
    scores: Scores, tpr: float, calibration: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Return those of each language that has a calibration, and of all, ``*``."""
    return {
        language: _threshold(scores.of(language)[0], tpr, own)
        for language, own in calibration.items()
    }


def _threshold(
    complete: npt.NDArray[np.float64], tpr: float, calibration: tuple[float, float]
) -> float:
    chosen = calibrated(threshold_for(complete, tpr), *calibration)
    return float(np.floor(chosen * 1e5) / 1e5)


def _logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _calibrate(
    complete: npt.NDArray[np.float64],
    unfinished: npt.NDArray[np.float64],
    instead: tuple[float, float],
) -> tuple[float, float]:
    """Return the scale and shift of the logit that are likeliest, as many complete as unfinished.

    ``instead`` where the scale would be none of ``_SCALES``.
    """
    x = _logit(np.concatenate((complete, unfinished)))
    found = _likeliest(np.stack((x, np.ones_like(x)), 1), len(complete))
    scale, shift = round(float(found[0]), 4), round(float(found[1]), 4)
    return (scale, shift) if _SCALES[0] <= scale <= _SCALES[1] else instead


def _likeliest(columns: npt.NDArray[np.float64], complete: int) -> npt.NDArray[np.float64]:
    """Return the weights of columns, float64[n, k], of which the first rows are complete turns.

    Platt's method (1999), by Newton's steps, none longer than 1, towards targets that are not quite
    0 and 1; complete turns weigh as much as the others.
    """
    n, m = complete, len(columns) - complete
    y = np.concatenate((np.full(n, (n + 1) / (n + 2)), np.full(m, 1 / (m + 2))))
    weight = np.concatenate((np.full(n, 0.5 / n), np.full(m, 0.5 / m)))
    found = np.zeros(columns.shape[1])
    found[0] = 1.0
    for _ in range(100):
        p = _sigmoid(columns @ found)
        slope = columns.T @ (weight * (p - y))
        curve = (columns * (weight * p * (1 - p))[:, None]).T @ columns
        step = np.linalg.solve(curve + 1e-9 * np.eye(len(found)), slope)
        found -= step / max(1.0, float(np.abs(step).max()))
    return found
