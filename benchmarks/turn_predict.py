"""Pairs in, answers of every system kept: in processes, a file for each system and item."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import processes, turn_scores
from .settings import Settings
from .store import Store
from .systems import MISSING
from .turn_pairs import Pair
from .turn_scores import ALONE, LIVEKIT, NETWORK, OURS, RULE, SILENCE, TABLE, WORDS, Answers, Scored
from .turn_words import EXAMPLES

MADE = 1
"""Higher each time another question is put of the same pairs: answers of before are not used."""
QUICK_EXAMPLES = 90_000
"""That counting words learns from in a quick run."""
TOGETHER = (
    (WORDS, TABLE, RULE, SILENCE),
    (OURS, ALONE, NETWORK),
    *((n,) for n in LIVEKIT.values()),
)
"""Systems that one process asks: those of the second share a network, and read each turn once."""

Known = dict[str, Any]
"""Of a system, for a score: "label", "languages" and "shipped", or why it is "missing"."""


class Item(NamedTuple):
    """Pairs of a language that are asked, and kept, together."""

    folder: Path
    """Of the store."""
    name: str
    """With a digest of the pairs."""
    pairs: Sequence[Pair]

    @property
    def language(self) -> str:
        """Of the pairs."""
        return self.pairs[0].language


class Unit(NamedTuple):
    """What a process is given."""

    data: Path | None
    words: Path
    """Folder of the store that counting words keeps what it learned in."""
    examples: int
    systems: Mapping[str, Known]
    items: Sequence[Item]

    def missing(self, item: Item) -> list[str]:
        """Return the systems that have not been asked an item, and know its language."""
        return [
            name
            for name, known in self.systems.items()
            if _speaks(known, item)
            and not Store(item.folder).path(known["label"], item.name, "npz").exists()
        ]


def items(
    folder: Path, part: str, pairs: Iterable[Pair], each: int | None = None
) -> dict[str, Item]:
    """Return the pairs of a part of the data by language, the first ``each`` or all."""
    by_language: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_language.setdefault(pair.language, []).append(pair)
    taken = {language: own[:each] for language, own in sorted(by_language.items())}
    return {
        language: Item(folder, f"{part} {language} {digest(own)[:12]}", own)
        for language, own in taken.items()
    }


def digest(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of what systems are asked of pairs."""
    asked = [MADE, *([p.language, p.before, p.complete, p.cut] for p in pairs)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


# ---- asking -----------------------------------------------------------------------------------


def known(settings: Settings, kept: Store, names: Iterable[str]) -> dict[str, Known]:
    """Return what a score must know of systems, and why others are missing.

    Args:
        settings: Of the run.
        kept: Where counting words keeps what it learned.
        names: Of systems.
    """
    every = turn_scores.systems(settings.folder, kept, examples(settings))
    return {name: _known(name, every[name], settings.quick) for name in names}


def examples(settings: Settings) -> int:
    """Return how many examples counting words learns from."""
    return QUICK_EXAMPLES if settings.quick else EXAMPLES


def _known(name: str, system: turn_scores.System, quick: bool) -> Known:
    if quick and name in LIVEKIT.values():
        return {"missing": "takes minutes: not in a quick run"}
    try:
        version = system.version()
    except MISSING as error:
        return {"missing": str(error)}
    asked = f", {system.most} pairs" if system.most else ""
    return {"label": f"{name}, {version}{asked}", "languages": system.languages}


def ask(
    settings: Settings,
    kept: Store,
    found: Mapping[str, Known],
    asked: Sequence[Mapping[str, Item]],
    what: str,
) -> None:
    """Ask every system that is there what it has not been asked, the longest first.

    Args:
        settings: Of the run.
        kept: As :func:`known` takes it.
        found: What that returned.
        asked: Language -> item, of each part of the data.
        what: Name of the bar.
    """
    every = [item for part in asked for item in part.values()]
    there = {name: known for name, known in found.items() if "label" in known}
    unit = Unit(settings.folder, kept.folder, examples(settings), there, every)
    units = [own for own in _units(unit) if any(map(own.missing, own.items))]
    processes.each(run, units, settings.jobs, what)


def _units(every: Unit) -> Iterator[Unit]:
    sizes: Counter[str] = Counter()
    for item in every.items:
        sizes[item.language] += len(item.pairs)
    for names in TOGETHER:
        unit = every._replace(systems={n: k for n, k in every.systems.items() if n in names})
        if WORDS in names:  # quick, but for what it learns first
            yield unit
            continue
        for language, _ in sizes.most_common():
            yield unit._replace(items=[i for i in every.items if i.language == language])


def run(unit: Unit) -> None:
    """Have the systems of a unit answer its pairs, and keep what they say."""
    every = turn_scores.systems(unit.data, Store(unit.words), unit.examples)
    said: Answers = {}
    wanted = {name for item in unit.items for name in unit.missing(item)}
    loaded = {name: every[name].load(said) for name in unit.systems if name in wanted}
    for item in unit.items:
        for name in unit.missing(item):
            scored = loaded[name](item.pairs[: every[name].most])
            Store(item.folder).arrays(unit.systems[name]["label"], item.name, scored._asdict)
        said.clear()  # the same answers, whatever else the process was asked


def _speaks(system: Known, item: Item) -> bool:
    return system["languages"] is None or item.language in system["languages"]


# ---- what was answered ------------------------------------------------------------------------


def answers(store: Store, system: Known, item: Item) -> tuple[list[Pair], Scored] | None:
    """Return the pairs that a system was asked of an item, and its answers; None if none.

    Raises:
        MissingPredictionError: It has not been asked yet.
    """
    if not _speaks(system, item):
        return None
    scored = Scored(**store.arrays(system["label"], item.name))
    return list(item.pairs[: len(scored.cut)]), scored
