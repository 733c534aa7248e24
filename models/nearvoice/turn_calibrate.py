"""Labelled turns in, the threshold of each language that gives the wanted TPR out.

Rates are estimated by cross-validation: a threshold that is measured on the turns that it was
chosen on looks better than it is.
"""

from __future__ import annotations

import bisect
import decimal
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import turn_rates
from .turn_file import LabelledTurn
from .turn_rates import Rate, Scores
from .turn_text import plain

FEWEST_COMPLETE, FEWEST_UNFINISHED = 100, 50
"""Turns of a language without which it gets no threshold, whatever the TPR is."""
FOLDS = 5
"""Parts that the turns are cut into: a threshold chosen on all but one is measured on that one."""
_WIDE_TNR = 0.2
"""Width of an interval that says little."""
_WIDE_MISSES = 3.0
"""Times as many turns as wanted may be taken for unfinished, for all that is known."""


class Point(NamedTuple):
    """A threshold, and how well it tells complete turns from unfinished ones."""

    threshold: float
    tpr: Rate
    """Share of complete turns that are seen to be."""
    tnr: Rate
    """Share of unfinished turns that are waited for."""


@dataclass(frozen=True)
class Calibration:
    """What was found for a language."""

    complete: Scores
    """Probabilities of its complete turns, float64[n]."""
    unfinished: Scores
    auc: float
    chosen: Point
    """The threshold that gives the wanted TPR; its rates are cross-validated."""
    current: Point
    """The threshold that the bundle has; its rates are those of all turns."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What :func:`calibrate` found."""

    wanted: float
    """TPR."""
    languages: Mapping[str, Calibration]
    refused: Mapping[str, str]
    """Languages of too few turns -> how many there are, and how many are needed."""

    @property
    def thresholds(self) -> dict[str, float]:
        """What ``unlikely_threshold`` of the plugin takes."""
        return {name: found.chosen.threshold for name, found in self.languages.items()}


def fewest_complete(wanted: float) -> int:
    """Return how many complete turns a TPR needs: it misses one of so many."""
    return max(FEWEST_COMPLETE, math.ceil(1 / (1 - wanted) - 1e-6))


def calibrate(
    turns: Sequence[LabelledTurn],
    probabilities: npt.ArrayLike,
    wanted: float,
    current: Callable[[str], float],
) -> Result:
    """Choose a threshold for each language.

    Args:
        turns: Labelled.
        probabilities: That each of them has ended, float64[n].
        wanted: TPR, above 0 and below 1.
        current: Language -> the threshold that it has now.
    """
    scores = np.asarray(probabilities, np.float64)
    ended = np.array([turn.complete for turn in turns], bool)
    spoken = np.array([turn.language for turn in turns])
    languages, refused = {}, {}
    for language in sorted(set(spoken.tolist())):
        own = spoken == language
        complete, unfinished = scores[own & ended], scores[own & ~ended]
        if (lack := _lack(len(complete), len(unfinished), wanted)) is not None:
            refused[language] = lack
            continue
        said = [turn for turn in turns if turn.language == language]
        languages[language] = _of_language(
            complete, unfinished, wanted, current(language), _cut_warning(said)
        )
    return Result(wanted, languages, refused)


def _lack(complete: int, unfinished: int, wanted: float) -> str | None:
    needed = fewest_complete(wanted)
    if complete >= needed and unfinished >= FEWEST_UNFINISHED:
        return None
    return (
        f"too few turns: {complete} complete of at least {needed}, "
        f"{unfinished} unfinished of at least {FEWEST_UNFINISHED}"
    )


def _of_language(
    complete: Scores, unfinished: Scores, wanted: float, current: float, cut: str | None
) -> Calibration:
    chosen = Point(_choose(complete, wanted), *_cross_validated(complete, unfinished, wanted))
    warnings = [_wide_warning(chosen, wanted), cut]
    return Calibration(
        complete,
        unfinished,
        turn_rates.auc(complete, unfinished),
        chosen,
        Point(current, turn_rates.tpr(complete, current), turn_rates.tnr(unfinished, current)),
        tuple(warning for warning in warnings if warning is not None),
    )


def _choose(complete: Scores, wanted: float) -> float:
    """Return the threshold, rounded down to four digits, so that no more turns are under it."""
    exact = turn_rates.threshold_for(complete, wanted)
    digits = decimal.Context(prec=4, rounding=decimal.ROUND_FLOOR)
    return float(digits.create_decimal_from_float(exact))


def _cross_validated(complete: Scores, unfinished: Scores, wanted: float) -> tuple[Rate, Rate]:
    """Return TPR and TNR, each turn measured with a threshold that it had no part in."""
    fold, other = _folds(len(complete)), _folds(len(unfinished))
    chosen = np.array([_choose(complete[fold != part], wanted) for part in range(FOLDS)])
    return (
        turn_rates.tpr(complete - chosen[fold], 0.0),
        turn_rates.tnr(unfinished - chosen[other], 0.0),
    )


def _folds(n: int) -> npt.NDArray[np.int64]:
    """Return the part that each of n turns is in: at random, and the same each time."""
    return np.random.default_rng(0).permutation(n) % FOLDS


def _wide_warning(chosen: Point, wanted: float) -> str | None:
    missed, allowed = 1 - chosen.tpr.low, 1 - wanted
    if missed <= _WIDE_MISSES * allowed and chosen.tnr.high - chosen.tnr.low <= _WIDE_TNR:
        return None
    return (
        f"wide intervals: up to {missed:.1%} of complete turns may be held back, and {allowed:.1%} "
        "are wanted; more turns narrow them"
    )


def _cut_warning(turns: Sequence[LabelledTurn]) -> str | None:
    """Say that most unfinished turns are beginnings of complete ones, if they are."""
    whole = sorted({_words(turn) for turn in turns if turn.complete})
    unfinished = [_words(turn) for turn in turns if not turn.complete]
    cut = sum(_begins_one(words, whole) for words in unfinished)
    if cut * 2 <= len(unfinished):
        return None
    return (
        f"{cut} of {len(unfinished)} unfinished turns are beginnings of complete ones: if a rule "
        "cut them, the pauses of callers will give another TNR"
    )


def _words(turn: LabelledTurn) -> str:
    return plain(turn.messages[-1]["content"])


def _begins_one(words: str, whole: Sequence[str]) -> bool:
    at = bisect.bisect_left(whole, words)
    return at < len(whole) and whole[at].startswith(words)
