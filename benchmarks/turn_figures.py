"""Probabilities of pairs in; figures of each language and source, with intervals, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice import turn_rates

from . import turn_bootstrap, turn_pairs
from .turn_bootstrap import Weights
from .turn_pairs import Pair
from .turn_scores import Scored, Thresholds

HEARD = f"real recognised speech ({turn_pairs.HEARD})"
"""Row of what a recogniser wrote, which counts in no language."""
MEAN, OTHERS = "mean", "mean without en"
"""Rows: over all languages, and over all but English, of which there is most to learn from."""
SOURCES = "by source"
FEW = 50
"""Pairs under which a source, or what has something before it, has no row."""
LONG = "cuts of three words or more"
"""Part of a row: complete turns of the set have three words at least, so that the number of words
alone tells the shorter cuts apart. Six characters where words have no spaces."""
_SPACELESS = ("ja", "zh")
INTERVALS = ("auc", "tnr at .993", "tnr at .95")
COMPARED = ("auc", "tnr at .95")

Places = npt.NDArray[np.intp]
Resampled = dict[str, npt.NDArray[np.float64]]
"""Figure -> float64[resamples]."""


class Measured:
    """The figures of one system.

    Args:
        pairs: What it was asked.
        scored: What it answered.
        thresholds: Name -> of each language; what they were chosen on is not among the pairs.
    """

    def __init__(
        self, pairs: Sequence[Pair], scored: Scored, thresholds: Mapping[str, Thresholds]
    ) -> None:
        self._pairs, self._scored, self._thresholds = pairs, scored, thresholds
        self.resampled: dict[str, Resampled] = {}
        """Of each language, of ``HEARD`` and of the means."""
        self.rows: dict[str, Any] = {MEAN: {}, OTHERS: {}}
        """JSON."""
        languages = dict(_languages(pairs))
        for name, own in languages.items():
            self.rows[name] = self._row(name, own)
        self._mean(MEAN, sorted(languages))
        self._mean(OTHERS, sorted(languages.keys() - {"en"}))
        heard = _places(pair.source == turn_pairs.HEARD for pair in pairs)
        if len(heard):
            self.rows[HEARD] = self._row(HEARD, heard)
        self.rows[SOURCES] = {name: self._row(name, own) for name, own in _sources(pairs)}

    def _row(self, name: str, own: Places) -> dict[str, Any]:
        complete, cut = self._scored.complete[own], self._scored.cut[own]
        pairs = [self._pairs[at] for at in own]
        weights = turn_bootstrap.weights([pair.dialogue for pair in pairs], name)
        resampled = self.resampled[name] = _resampled(complete, cut, weights)
        clear = _places(not pair.ambiguous for pair in pairs)
        answers = _places(bool(pair.before) for pair in pairs)
        row = {
            "dialogues": len({pair.dialogue for pair in pairs}),
            **_figures(complete, cut),
            "interval": _intervals(resampled),
            "strict": _figures(complete[clear], cut[clear]),
        }
        if (longer := _places(_is_long(pair) for pair in pairs)).size:
            row[LONG] = _apart(complete, cut[longer])
        if len(answers) >= FEW:
            row["with something before"] = _figures(complete[answers], cut[answers])
        return row | self._achieved(pairs[0].language, complete, cut)

    def _achieved(
        self, language: str, complete: turn_rates.Scores, cut: turn_rates.Scores
    ) -> dict[str, Any]:
        return {
            name: achieved(complete, cut, of[language])
            for name, of in self._thresholds.items()
            if language in of
        }

    def _mean(self, name: str, languages: Sequence[str]) -> None:
        """Add a mean over languages, each of which was resampled by itself."""
        if not languages:
            del self.rows[name]
            return
        keys = (*INTERVALS, "ece")
        rows = [self.rows[language] for language in languages]
        self.resampled[name] = {
            key: np.mean([self.resampled[language][key] for language in languages], 0)
            for key in INTERVALS
        }
        self.rows[name] = {
            **{key: _short(np.mean([row[key] for row in rows])) for key in keys},
            "interval": _intervals(self.resampled[name]),
        }
        longer = [row[LONG] for row in rows if LONG in row]
        if longer:
            self.rows[name][LONG] = {
                key: _short(np.mean([part[key] for part in longer])) for key in INTERVALS
            }


def compare(own: Measured, other: Measured, name: str) -> None:
    """Add to the rows of one system how far it is above another that was asked the same pairs."""
    for key, resampled in own.resampled.items():
        rows = own.rows if key in own.rows else own.rows[SOURCES]
        others = other.rows if key in other.rows else other.rows[SOURCES]
        rows[key][name] = {
            figure: _difference(
                rows[key][figure] - others[key][figure],
                resampled[figure] - other.resampled[key][figure],
            )
            for figure in COMPARED
        }


def achieved(
    complete: turn_rates.Scores, cut: turn_rates.Scores, threshold: float
) -> dict[str, Any]:
    """Return the rates with a threshold that was chosen on other turns; Wilson's intervals."""
    rates = {"tpr": turn_rates.tpr(complete, threshold), "tnr": turn_rates.tnr(cut, threshold)}
    return {"threshold": round(threshold, 6)} | {name: rounded(r) for name, r in rates.items()}


def rounded(rate: turn_rates.Rate) -> dict[str, float]:
    """Return a rate for JSON."""
    return {key: round(value, 4) for key, value in rate._asdict().items()}


def _is_long(pair: Pair) -> bool:
    if pair.language in _SPACELESS:
        return len(pair.cut.replace(" ", "")) >= 6
    return len(pair.cut.split()) >= 3


def _languages(pairs: Sequence[Pair]) -> Iterator[tuple[str, Places]]:
    for language in sorted({pair.language for pair in pairs}):
        own = _places(p.language == language and p.source != turn_pairs.HEARD for p in pairs)
        if len(own):
            yield language, own


def _sources(pairs: Sequence[Pair]) -> Iterator[tuple[str, Places]]:
    names = [f"{pair.language} {pair.source}" for pair in pairs]
    for name in sorted(set(names)):
        own = _places(other == name for other in names)
        if len(own) >= FEW and not name.endswith(f" {turn_pairs.HEARD}"):
            yield name, own


def _places(wanted: Iterator[bool]) -> Places:
    return np.flatnonzero(np.fromiter(wanted, bool))


def _figures(complete: turn_rates.Scores, cut: turn_rates.Scores) -> dict[str, float]:
    if not len(complete):
        return {"n": 0}
    return {
        "n": len(complete),
        **_apart(complete, cut),
        "ece": _short(turn_rates.ece(complete, cut)),
    }


def _apart(complete: turn_rates.Scores, cut: turn_rates.Scores) -> dict[str, float]:
    return {
        "auc": _short(turn_rates.auc(complete, cut)),
        "tnr at .993": _short(turn_rates.tnr_at(complete, cut, 0.993)),
        "tnr at .95": _short(turn_rates.tnr_at(complete, cut, 0.95)),
    }


def _resampled(complete: turn_rates.Scores, cut: turn_rates.Scores, weights: Weights) -> Resampled:
    return {
        "auc": turn_bootstrap.auc(complete, cut, weights),
        "tnr at .993": turn_bootstrap.tnr_at(complete, cut, weights, 0.993),
        "tnr at .95": turn_bootstrap.tnr_at(complete, cut, weights, 0.95),
    }


def _intervals(resampled: Resampled) -> dict[str, list[float]]:
    return {
        key: [_short(end) for end in turn_bootstrap.interval(figures)]
        for key, figures in resampled.items()
    }


def _difference(value: float, resampled: npt.NDArray[np.float64]) -> dict[str, float]:
    low, high = turn_bootstrap.interval(resampled)
    return {"value": _short(value), "low": _short(low), "high": _short(high)}


def _short(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
