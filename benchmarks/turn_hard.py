"""Pairs written by hand that differ by the tail: how often a detector decides rightly.

``turn_hard/`` has a file of each language. A pair is a turn that has ended and one that clearly has
not, after the same words of the agent; each side is a decision.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice import turn_rates
from nearvoice.turn_text import plain

from . import data, turn_accuracy, turn_predict, turn_scores
from .settings import Settings
from .store import Store
from .turn_figures import rounded
from .turn_pairs import Pair
from .turn_predict import Item, Known
from .turn_scores import ALONE, OURS, RULE, WORDS, Scored, Thresholds

FOLDER = Path(__file__).with_name("turn_hard")
LANGUAGES = ("de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pt", "ru", "tr", "zh")
PHENOMENA = (
    *("numbers", "names", "fillers", "conjunctions", "one-word"),
    *("questions", "politeness", "clauses"),
)
COLUMNS = ("phenomenon", "before", "complete", "incomplete")
SHIPPED, HALF = "shipped", "0.5"
"""Thresholds: those that come with a system, and the one that calibration is for."""
SYSTEMS = (OURS, ALONE, WORDS, RULE)
_CALIBRATED = (OURS, ALONE, RULE)
"""Systems whose 0.5 means something."""


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Ask the systems about the pairs, and about the dev turns that thresholds are chosen on.

    Answers to dev turns are kept with those of ``turn``. Without a data folder there are none of
    them, nor counting words.
    """
    turn = Store(store.folder.with_name("turn"))
    asked, dev = of_files(store.folder), _dev(settings, turn)
    found = turn_predict.known(settings, turn, SYSTEMS)
    store.note(
        {
            "model": turn_accuracy.model(),
            "shipped": turn_accuracy.shipped(settings, turn, found, [*asked]),
            "dev": {language: item.name for language, item in dev.items()},
            "dev dataset": turn_accuracy.described(dev),
            "counting words learned from": turn_predict.examples(settings),
            "systems": found,
        }
    )
    turn_predict.ask(settings, turn, found, [asked, dev], "turn-hard")


def of_files(folder: Path) -> dict[str, Item]:
    """Return the pairs of the files by language; ``folder`` is that of the store."""
    pairs = [pair for language in languages() for pair in read(language)]
    return turn_predict.items(folder, "hard", pairs)


def _dev(settings: Settings, turn: Store) -> dict[str, Item]:
    """Return what thresholds are chosen on; nothing without a data folder."""
    try:
        return turn_accuracy.dev(turn.folder, settings)
    except data.MissingDataError as error:
        print(f"turn-hard: no thresholds from dev turns: {error}", file=sys.stderr)
        return {}


# ---- the files --------------------------------------------------------------------------------


def languages(folder: Path = FOLDER) -> list[str]:
    """Return the languages that there are pairs of."""
    return sorted(path.stem for path in folder.glob("*.tsv"))


def read(language: str, folder: Path = FOLDER) -> list[Pair]:
    """Return the pairs of a language, as a recogniser without punctuation has them.

    ``source`` is the phenomenon.

    Raises:
        ValueError: A line is not one of four fields, or has an empty one that must not be.
    """
    pairs = []
    for row in rows(folder / f"{language}.tsv"):
        before = (("assistant", plain(row["before"])),) if row["before"] else ()
        complete, cut = plain(row["complete"]), plain(row["incomplete"])
        pairs.append(Pair(language, row["phenomenon"], before, complete, cut))
    return pairs


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the lines of a file as they are written.

    Raises:
        ValueError: As :func:`read`.
    """
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if tuple(row) != COLUMNS or None in row.values():
                raise ValueError(f"{path.name}: {row} has other columns than {COLUMNS}")
            if not plain(row["complete"]) or not plain(row["incomplete"]):
                raise ValueError(f"{path.name}: {row} says nothing")
            yield row


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the share of right decisions of each system, by language and by phenomenon.

    Raises:
        MissingPredictionError: A system was not asked about the pairs, or about the dev turns.
    """
    about, asked = store.about(), of_files(store.folder)
    described = turn_accuracy.described(asked)
    return {
        "task": "turn-hard",
        "what": f"{described['n']} pairs written by hand in {len(asked)} languages, a complete "
        "turn and one that is not: the share of right decisions",
        "model": about["model"],
        "datasets": {"hard": described, "dev": about["dev dataset"]},
        "counting words learned from": about["counting words learned from"],
        "systems": {
            name: _system(name, known, about, asked, store) if "label" in known else known
            for name, known in about["systems"].items()
        },
    }


def _system(
    name: str, known: Known, about: Mapping[str, Any], asked: Mapping[str, Item], store: Store
) -> dict[str, Any]:
    pairs, scored = turn_accuracy.joined(turn_accuracy.answers(store, known, asked))
    found: dict[str, Thresholds] = {}
    if name in about["shipped"]:
        found[SHIPPED] = about["shipped"][name]
    if about["dev"]:
        turn = Store(store.folder.with_name("turn"))
        dev = {of: turn.arrays(known["label"], item) for of, item in about["dev"].items()}
        found |= turn_scores.thresholds({of: said["complete"] for of, said in dev.items()})
    if name in _CALIBRATED:
        found[HALF] = dict.fromkeys(asked, 0.5)
    return _rows(pairs, scored, found)


# ---- figures ----------------------------------------------------------------------------------


def _rows(
    pairs: Sequence[Pair], scored: Scored, thresholds: Mapping[str, Thresholds]
) -> dict[str, Any]:
    spoken = np.array([pair.language for pair in pairs])
    phenomena = np.array([pair.source for pair in pairs])
    decided = {name: _Decided(scored, spoken, of) for name, of in thresholds.items()}

    def row(own: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "pairs": int(own.sum()),
            "pair order": _share(scored.complete[own] > scored.cut[own]),
            **{name: found.figures(own) for name, found in decided.items()},
        }

    by_language = {}
    for language in sorted(set(spoken.tolist())):
        of = spoken == language
        by_language[language] = row(of) | {
            "by phenomenon": {
                name: {at: found.share(of & (phenomena == name)) for at, found in decided.items()}
                for name in PHENOMENA
                if (of & (phenomena == name)).any()
            }
        }
    return {
        "all": row(np.ones(len(pairs), bool)),
        "by phenomenon": {n: row(phenomena == n) for n in PHENOMENA if (phenomena == n).any()},
        **by_language,
    }


class _Decided:
    """What a system decides with the threshold of each language."""

    def __init__(
        self, scored: Scored, languages: npt.NDArray[np.str_], thresholds: Thresholds
    ) -> None:
        at = np.array([thresholds.get(language, np.nan) for language in languages.tolist()])
        self._known = ~np.isnan(at)
        self._ended, self._held = scored.complete >= at, scored.cut < at

    def figures(self, own: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Return accuracy, TPR and TNR of some pairs, with Wilson's intervals."""
        own = own & self._known
        ended, held = self._ended[own], self._held[own]
        both = np.concatenate((ended, held))
        return {"accuracy": _share(both), "tpr": _share(ended), "tnr": _share(held)}

    def share(self, own: npt.NDArray[np.bool_]) -> float:
        """Return the accuracy of some pairs."""
        value: float = self.figures(own)["accuracy"]["value"]
        return value


def _share(right: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return how many are right, with Wilson's interval."""
    return rounded(turn_rates.tpr(right.astype(float), 1.0))


# ---- report -----------------------------------------------------------------------------------


def report(result: dict[str, Any]) -> str:
    """Return a line for each system, language and phenomenon."""
    lines = []
    for name, of in result["systems"].items():
        if "missing" in of:
            lines.append(f"{name}: {of['missing']}")
            continue
        shown = {key: row for key, row in of.items() if key != "by phenomenon"}
        shown = {"all": shown.pop("all")} | of["by phenomenon"] | shown
        lines += [f"{f'{name}, {key}':58}{_accuracies(row)}" for key, row in shown.items()]
    return "\n".join(lines)


def _accuracies(row: dict[str, Any]) -> str:
    found = [f"{row['pairs']:5} pairs, in order {row['pair order']['value']:.3f}"]
    for name, figures in row.items():
        if isinstance(figures, dict) and "accuracy" in figures:
            rates = " ".join(f"{figures[key]['value']:.3f}" for key in ("accuracy", "tpr", "tnr"))
            found.append(f"{name}: {rates}")
    return "; ".join(found)
