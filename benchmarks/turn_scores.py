"""Every system that reads a turn and says how likely it is over, and its answers to pairs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_bundle import Bundle
from nearvoice.turn_memory import Memory
from nearvoice.turn_rates import calibrated, threshold_for

from . import data, turn_pairs, turn_rule, turn_systems
from .data import MissingDataError
from .systems import MISSING
from .turn_pairs import Pair
from .turn_words import Words

OURS, ALONE, WORDS = "nearvoice", "nearvoice, without what was said before", "counting words"
NETWORK, TABLE = "nearvoice, network alone", "nearvoice, table of last words alone"
RULE, SILENCE = "punctuation and length", "silence only"
LIVEKIT = {"livekit": "livekit multilingual", "livekit-en": "livekit English"}
"""Name of a model for ``TurnDetector.load`` -> row."""
SMART = turn_systems.SMART
HEARS = {SMART: {"missing": "hears: needs sound, see turn-eot"}}
TPRS = (0.993, 0.95)
"""That thresholds are chosen for."""
_LARGE = 500
"""Pairs of a language that LiveKit's are asked, whose network takes fifty times as long."""
_EVERY = 10.0
"""Seconds from one line to the next that says how far it is."""

Scores = npt.NDArray[np.float64]
Thresholds = dict[str, float]
"""By language."""


class Scored(NamedTuple):
    """P(end of turn) of pairs: float64[n] each."""

    complete: Scores
    cut: Scores


class Reader(NamedTuple):
    """A system that could be loaded."""

    score: Callable[[Sequence[Pair]], Scored]
    bundle: Bundle | None = None
    """With the thresholds that it comes with, if it does."""
    languages: tuple[str, ...] | None = None
    """That it knows; None for all."""
    most: int | None = None
    """Pairs of a language that it is asked; None for all."""

    def of(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Return the pairs that it is asked: of each language, and of what was heard, the first."""
        taken: dict[tuple[str, bool], int] = {}
        kept = []
        for pair in pairs:
            if self.languages is not None and pair.language not in self.languages:
                continue
            group = pair.language, pair.source == turn_pairs.HEARD
            taken[group] = taken.get(group, 0) + 1
            if self.most is None or taken[group] <= self.most:
                kept.append(pair)
        return kept

    def shipped(self, languages: Sequence[str]) -> Thresholds:
        """Return the thresholds that it comes with; none if it comes with none."""
        if self.bundle is None:
            return {}
        return {language: self.bundle.threshold_for(language) for language in languages}


def load(
    loaders: Mapping[str, Callable[[], Reader]],
) -> Iterator[tuple[str, Reader | dict[str, str]]]:
    """Yield each system, or a row that says why it cannot be had."""
    for name, loader in loaders.items():
        try:
            yield name, loader()
        except MISSING as error:
            yield name, {"missing": str(error)}


def readers(folder: Path | None) -> dict[str, Callable[[], Reader]]:
    """Return what loads each system.

    Args:
        folder: The data folder, which counting words learns from.
    """
    known: _Known = {}  # most turns have nothing before them: what is asked twice is the same
    return {
        OURS: lambda: ours("nearvoice", OURS, known=known),
        ALONE: lambda: ours("nearvoice", ALONE, with_before=False, known=known),
        NETWORK: lambda: ours(replace(locate("nearvoice"), memory=None), NETWORK)._replace(
            bundle=None  # its thresholds are of both together
        ),
        TABLE: table,
        WORDS: lambda: words(folder),
        RULE: rule,
        SILENCE: silence,
        LIVEKIT["livekit"]: lambda: ours("livekit", LIVEKIT["livekit"])._replace(most=_LARGE),
        LIVEKIT["livekit-en"]: lambda: ours("livekit-en", LIVEKIT["livekit-en"])._replace(
            languages=("en",), most=_LARGE
        ),
    }


def dev_thresholds(reader: Reader, dev: Sequence[Pair], tpr: float) -> Thresholds:
    """Return the threshold of each language that gives its dev turns this TPR."""
    return thresholds(dev, reader.score(dev), tpr)


def thresholds(dev: Sequence[Pair], scored: Scored, tpr: float) -> Thresholds:
    """Return, of each language, the threshold that gives its complete turns this TPR."""
    languages = np.array([pair.language for pair in dev])
    return {
        language: threshold_for(scored.complete[languages == language], tpr)
        for language in sorted(set(languages.tolist()))
    }


# ---- systems ----------------------------------------------------------------------------------


_Said = tuple[tuple[str, str], ...]
_Known = dict[tuple[_Said, str], float]
"""What was said, and the language, to the answer."""


def ours(
    model: str | Bundle, name: str, *, with_before: bool = True, known: _Known | None = None
) -> Reader:
    """Return a bundle as our detector reads it.

    Args:
        model: As ``TurnDetector.load`` takes it.
        name: Of the system.
        with_before: Whether it is told what was said before.
        known: What it has answered before; kept up to date.

    Raises:
        FileNotFoundError: It has not been downloaded.
    """
    detector = TurnDetector.load(model)
    answers = {} if known is None else known

    def ask(before: _Said, text: str, language: str) -> float:
        said = (*before, ("user", text))
        if (said, language) not in answers:
            chat = [{"role": role, "content": what} for role, what in said]
            answers[said, language] = detector.predict(chat, language)
        return answers[said, language]

    def score(pairs: Sequence[Pair]) -> Scored:
        complete, cut = np.empty(len(pairs)), np.empty(len(pairs))
        for at, pair in enumerate(progress(pairs, name)):
            before = pair.before if with_before else ()
            # the cut first: what was read of it, the complete turn goes on from
            cut[at] = ask(before, pair.cut, pair.language)
            complete[at] = ask(before, pair.complete, pair.language)
        return Scored(complete, cut)

    return Reader(score, detector.bundle)


def table() -> Reader:
    """Return our table of last words by itself, with no network beside it."""
    bundle = locate("nearvoice")
    if bundle.memory is None:
        raise MissingDataError("the weights that are shipped have no table of last words")
    memory = Memory(bundle.memory, bundle.memory_units)

    def ask(pair: Pair, text: str) -> float:
        before = pair.before[-1][1] if pair.before else ""
        return calibrated(0.5, 1.0, memory.logit(text, before, pair.language))

    return Reader(
        lambda pairs: Scored(
            np.array([ask(pair, pair.complete) for pair in pairs]),
            np.array([ask(pair, pair.cut) for pair in pairs]),
        )
    )


def words(folder: Path | None) -> Reader:
    """Return the counts of words, learned anew.

    Raises:
        nearvoice.MissingDataError: There is nothing to learn from.
    """
    print(f"{WORDS}: learns", file=sys.stderr)
    learned = Words(data.data_folder(folder))
    return Reader(
        lambda pairs: Scored(
            learned.score(pairs, complete=True), learned.score(pairs, complete=False)
        )
    )


def rule() -> Reader:
    """Return the rule of punctuation, last word and length."""
    return Reader(
        lambda pairs: Scored(
            np.array([turn_rule.of_pair(pair, complete=True) for pair in pairs]),
            np.array([turn_rule.of_pair(pair, complete=False) for pair in pairs]),
        )
    )


def silence() -> Reader:
    """Return what knows no words, such as a delay that is always the same."""
    return Reader(lambda pairs: Scored(np.full(len(pairs), 0.5), np.full(len(pairs), 0.5)))


_Item = TypeVar("_Item")


def progress(items: Sequence[_Item], what: str) -> Iterator[_Item]:
    """Yield the items, and say on stderr from time to time how far it is and how long it takes."""
    began = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - said >= _EVERY:
            said = now
            left = (now - began) / done * (len(items) - done)
            print(f"{what}: {done:,} of {len(items):,}, {left:.0f} s left", file=sys.stderr)
        yield item
