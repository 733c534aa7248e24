"""Complete turns, each with a cut of it and what was said before: the set that ``turn`` is on.

Nothing of it is in this repository: docs/turn-data.md says how it is made of public corpora.
"""

from __future__ import annotations

import json
import lzma
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nearvoice.turn_text import plain

from .data import MissingDataError

TEST, DEV, TRAIN = "turn/eval_test.jsonl.xz", "turn/eval_dev.jsonl.xz", "turn/train.jsonl.xz"
"""Inside the data folder."""
DIALOGUES = "turn/test.jsonl.xz"
"""The dialogues that the turns of ``TEST`` are of."""
HEARD = "dstc10"
"""The source that a recogniser wrote; nothing is trained on it, and it counts in no language."""
MOST_HEARD = 1_500
"""Pairs of it."""
_BEFORE = 5
"""Turns before that are kept."""
_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "…", "।")  # noqa: RUF001


class Pair(NamedTuple):
    """A turn of a user, in words as a recogniser without punctuation has them."""

    language: str
    source: str
    before: tuple[tuple[str, str], ...]
    """Role and text of each turn before."""
    complete: str
    cut: str
    """Its beginning, up to a word picked at random."""
    ambiguous: bool = False
    """Whether the cut may well be a complete turn: it ends a sentence, or others said just that."""
    dialogue: str = ""
    """What it is a part of: pairs of one dialogue are not independent."""


def of_test(folder: Path) -> list[Pair]:
    """Return the pairs that are measured on, each with its dialogue, without ``HEARD``.

    Raises:
        MissingDataError: The set, or its dialogues, are not in the data folder.
    """
    dialogues = _Dialogues(rows(folder, DIALOGUES))
    return [_pair(row, dialogues.of(row)) for row in rows(folder, TEST) if row["src"] != HEARD]


def of_dev(folder: Path) -> list[Pair]:
    """Return the pairs that thresholds are chosen on, without ``HEARD``.

    Raises:
        MissingDataError: The set is not in the data folder.
    """
    return [_pair(row, "") for row in rows(folder, DEV) if row["src"] != HEARD]


def of_heard(folder: Path, most: int = MOST_HEARD) -> list[Pair]:
    """Return a pair of every turn of two words or more that a recogniser wrote, at most ``most``.

    They are of all dialogues of ``HEARD``, whichever set they are in.

    Raises:
        MissingDataError: One of the sets is not in the data folder.
    """
    names = (TRAIN, "turn/dev.jsonl.xz", DIALOGUES)
    found = [row for name in names for row in rows(folder, name, source=HEARD)]
    chance = random.Random(0)
    chance.shuffle(found)
    said = {plain(text) for row in found for role, text in row["turns"] if role == "user"}
    return list(islice((pair for row in found for pair in _cuts(row, said, chance)), most))


def _cuts(row: dict[str, Any], said: set[str], chance: random.Random) -> Iterator[Pair]:
    turns = row["turns"]
    for at, (role, text) in enumerate(turns):
        words = [word for word in text.split() if plain(word)]
        if role != "user" or len(words) < 2:
            continue
        raw = words[: chance.randint(1, len(words) - 1)]
        before = tuple((who, plain(what)) for who, what in turns[max(0, at - _BEFORE) : at])
        cut = plain(" ".join(raw))
        ambiguous = raw[-1].endswith(_SENTENCE_ENDS) or cut in said
        yield Pair(row["lang"], HEARD, before, plain(text), cut, ambiguous, row["id"])


def _pair(row: dict[str, Any], dialogue: str) -> Pair:
    before = tuple((role, text) for role, text in row["ctx"] if text)
    ambiguous = row["cut_ambig"] or row["cut_sent_end"]
    return Pair(row["lang"], row["src"], before, row["text"], row["cut"], ambiguous, dialogue)


class _Dialogues:
    """Finds the dialogue of a turn: pairs have none of its names, so it is found by its words."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self._places: defaultdict[tuple[str, str, str], list[_Place]] = defaultdict(list)
        for record in records:
            for at, (role, text) in enumerate(record["turns"]):
                if role == "user":
                    place = _Place(_dialogue(record), record["turns"][max(0, at - _BEFORE) : at])
                    self._places[record["lang"], record["src"], text].append(place)

    def of(self, row: dict[str, Any]) -> str:
        """Return the dialogue of a pair; by itself, if it is of none that is known."""
        places = self._places.get((row["lang"], row["src"], row["raw"]), [])
        for place in places:
            if len(places) == 1 or place.said() == row["ctx"]:
                return place.dialogue
        return f"{row['src']} {row['raw']}"


class _Place(NamedTuple):
    """Where a turn stands."""

    dialogue: str
    before: Sequence[Sequence[str]]

    def said(self) -> list[list[str]]:
        return [[role, plain(text)] for role, text in self.before]


def _dialogue(record: dict[str, Any]) -> str:
    name: str = record["id"]
    if record["src"] == "multidogo":  # one record for each turn
        name = name.rpartition("#")[0]
    return f"{record['src']} {name}"


def rows(folder: Path, name: str, *, source: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of the data folder, of one source or of all.

    Raises:
        MissingDataError: It is not there.
    """
    with lzma.open(path(folder, name), "rt", encoding="utf-8") as lines:
        for line in lines:
            if source is None or f'"{source}"' in line:
                row = json.loads(line)
                if source in (None, row["src"]):
                    yield row


def path(folder: Path, name: str) -> Path:
    """Return where a file of the data folder is.

    Raises:
        MissingDataError: It is not there.
    """
    found = folder / name
    if not found.exists():
        raise MissingDataError(
            f"there is no {found}: python -m scripts.turn_data makes it, see docs/turn-data.md"
        )
    return found
