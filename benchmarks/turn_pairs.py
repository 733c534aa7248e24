"""Complete turns, each with a cut of it and what was said before: the set that ``turn`` is on.

Nothing of it is in this repository: docs/turn-model.md says from which public corpora it is made.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .data import MissingDataError

TEST, TRAIN = "turn/eval_test.jsonl.xz", "turn/train.jsonl.xz"
"""Inside the data folder."""


class Pair(NamedTuple):
    """A turn of a user, in words as a recogniser without punctuation has them."""

    language: str
    source: str
    before: tuple[tuple[str, str], ...]
    """Role and text of each turn before."""
    complete: str
    cut: str
    """Its beginning, up to a word picked at random."""
    ambiguous: bool
    """Whether the cut may well be a complete turn: it ends a sentence, or others said just that."""


def pairs(folder: Path, each: int) -> list[Pair]:
    """Return the first pairs of every language, at most ``each``.

    Raises:
        MissingDataError: The set is not in the data folder.
    """
    taken: Counter[str] = Counter()
    found = []
    for row in rows(folder, TEST):
        if taken[row["lang"]] < each:
            taken[row["lang"]] += 1
            found.append(_pair(row))
    return found


def _pair(row: dict[str, Any]) -> Pair:
    before = tuple((role, text) for role, text in row["ctx"] if text)
    ambiguous = row["cut_ambig"] or row["cut_sent_end"]
    return Pair(row["lang"], row["src"], before, row["text"], row["cut"], ambiguous)


def rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of the data folder.

    Raises:
        MissingDataError: It is not there.
    """
    path = folder / name
    if not path.exists():
        raise MissingDataError(
            f"there is no {path}: docs/turn-model.md says what it is made of, and in which form"
        )
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
