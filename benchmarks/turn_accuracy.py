"""How well a turn detector tells complete turns from cut ones, in each language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nearvoice.turn import locate

from . import turn_figures, turn_pairs, turn_predict, turn_scores, turn_systems
from .settings import Settings
from .store import Store
from .turn_figures import Measured
from .turn_pairs import Pair
from .turn_predict import Item, Known
from .turn_scores import OURS, WORDS, Scored, Thresholds

EACH = 60
"""Pairs of each language, and of what was heard, in a quick run."""
TEST, HEARD, DEV = "test", "heard", "dev"
"""Parts of the data; thresholds are chosen on the last."""
SYSTEMS = (
    *(OURS, turn_scores.ALONE, turn_scores.NETWORK, turn_scores.TABLE),
    *(WORDS, turn_scores.RULE, turn_scores.SILENCE, *turn_scores.LIVEKIT.values()),
)


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Ask every system about every pair, in processes.

    Raises:
        MissingDataError: The pairs are not in the data folder.
    """
    each = EACH if settings.quick else None
    asked = parts(store.folder, settings.data, each)
    found = turn_predict.known(settings, store, SYSTEMS)
    store.note(
        {
            "model": model(),
            "each": each,
            "examples": turn_predict.examples(settings),
            "shipped": shipped(settings, store, found, sorted(asked[TEST])),
            "systems": found,
        }
    )
    turn_predict.ask(settings, store, found, [*asked.values()], "turn")


def parts(folder: Path, data: Path, each: int | None) -> dict[str, dict[str, Item]]:
    """Return the pairs by part and language.

    Args:
        folder: Of the store.
        data: The data folder.
        each: Pairs of each that are taken; None for all.
    """
    sets = {
        TEST: turn_pairs.of_test(data),
        HEARD: turn_pairs.of_heard(data),
        DEV: turn_pairs.of_dev(data),
    }
    return {part: turn_predict.items(folder, part, pairs, each) for part, pairs in sets.items()}


def dev(folder: Path, settings: Settings) -> dict[str, Item]:
    """Return the pairs that thresholds are chosen on, as :func:`parts` has them.

    Raises:
        MissingDataError: They are not in the data folder.
    """
    each = EACH if settings.quick else None
    return turn_predict.items(folder, DEV, turn_pairs.of_dev(settings.data), each)


def shipped(
    settings: Settings, store: Store, found: Mapping[str, Known], languages: Sequence[str]
) -> dict[str, Thresholds]:
    """Return the thresholds of the systems that come with some."""
    every = turn_scores.systems(settings.folder, store, turn_predict.examples(settings))
    own = {name: every[name].shipped(languages) for name in found if "label" in found[name]}
    return {name: of for name, of in own.items() if of}


def model() -> dict[str, str]:
    """Return which weights ours has."""
    return turn_systems.bundle() | {"licence": locate("nearvoice").licence}


# ---- score ------------------------------------------------------------------------------------


def score(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of each system: of each language, source, and their mean.

    Raises:
        MissingDataError: The pairs are not in the data folder.
        MissingPredictionError: A system was not asked about them.
    """
    about = store.about()
    asked = parts(store.folder, settings.data, about["each"])
    measured = {
        name: _measure(store, known, asked, about["shipped"].get(name))
        for name, known in about["systems"].items()
        if "label" in known
    }
    if OURS in measured and WORDS in measured:
        turn_figures.compare(measured[OURS], measured[WORDS], "above words")
    rows = {
        name: measured[name].rows if name in measured else known
        for name, known in about["systems"].items()
    }
    pairs = [*_pairs(asked[TEST]), *_pairs(asked[HEARD])]
    return {
        "task": "turn",
        "what": f"complete turns against cuts of them, {len(pairs)} pairs in "
        f"{len({pair.language for pair in pairs})} languages; TNR is the share of cuts that are "
        "held back where TPR of the turns are not; intervals of 95 %, by dialogue",
        "model": about["model"],
        "datasets": {part: described(own) for part, own in asked.items()},
        "counting words learned from": about["examples"],
        "systems": rows | turn_scores.HEARS,
    }


def described(asked: Mapping[str, Item]) -> dict[str, Any]:
    """Return how many pairs a part of the data has, and its SHA-256."""
    pairs = _pairs(asked)
    return {"n": len(pairs), "sha256": turn_predict.digest(pairs)}


def _pairs(asked: Mapping[str, Item]) -> list[Pair]:
    return [pair for item in asked.values() for pair in item.pairs]


def _measure(
    store: Store,
    known: Known,
    asked: Mapping[str, Mapping[str, Item]],
    shipped: Thresholds | None,
) -> Measured:
    on_dev = answers(store, known, asked[DEV])
    thresholds = turn_scores.thresholds({of[0].language: said.complete for of, said in on_dev})
    if shipped is not None:
        thresholds["shipped"] = shipped
    own = (answers(store, known, asked[part]) for part in (TEST, HEARD))
    return Measured(*joined(chain.from_iterable(own)), thresholds)


def answers(
    store: Store, known: Known, asked: Mapping[str, Item]
) -> Iterator[tuple[Sequence[Pair], Scored]]:
    """Yield the pairs of each item that a system was asked, and its answers.

    Raises:
        MissingPredictionError: It was not asked yet.
    """
    for item in asked.values():
        if (found := turn_predict.answers(store, known, item)) is not None:
            yield found


def joined(found: Iterator[tuple[Sequence[Pair], Scored]]) -> tuple[list[Pair], Scored]:
    """Return all pairs that a system was asked, and its answers."""
    pairs, answers = zip(*found, strict=True)
    complete, cut = (np.concatenate(each) for each in zip(*answers, strict=True))
    return [*chain.from_iterable(pairs)], Scored(complete, cut)


# ---- report -----------------------------------------------------------------------------------

COLUMNS = {
    "pairs": ("n",),
    "AUC": ("auc",),
    "from": ("interval", "auc", 0),
    "to": ("interval", "auc", 1),
    "TNR .993": ("tnr at .993",),
    "TNR .95": ("tnr at .95",),
    "strict": ("strict", "tnr at .95"),
    "ECE": ("ece",),
    "dev .993 TPR": ("dev 0.993", "tpr", "value"),
    "TNR": ("dev 0.993", "tnr", "value"),
    "dev .95 TPR": ("dev 0.95", "tpr", "value"),
    "TNR ": ("dev 0.95", "tnr", "value"),
    "over words": ("above words", "auc", "value"),
}
"""Heading -> where in a row its figure is."""


def report(result: dict[str, Any]) -> str:
    """Return a line for each system and language, and for each source of ours."""
    width = max(len(f"{name}, {turn_figures.OTHERS}") for name in result["systems"]) + 2
    lines = [" " * width + "".join(f"{heading.rstrip():>13}" for heading in COLUMNS)]
    for name, rows in result["systems"].items():
        if "missing" in rows:
            lines.append(f"{name}: {rows['missing']}")
            continue
        shown = {key: row for key, row in rows.items() if key != "by source"}
        if name == OURS:
            shown |= rows["by source"]
        lines += [_line(f"{name}, {key}", row, width) for key, row in shown.items()]
    return "\n".join(lines)


def _line(name: str, row: dict[str, Any], width: int) -> str:
    return f"{name:{width}}" + "".join(f"{_cell(row, path):>13}" for path in COLUMNS.values())


def _cell(row: Any, path: Sequence[str | int]) -> str:  # noqa: ANN401 - a part of JSON
    for key in path:
        if isinstance(key, str) and key not in row:
            return ""
        row = row[key]
    return f"{row:.3f}" if isinstance(row, float) else str(row)
