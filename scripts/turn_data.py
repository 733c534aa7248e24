"""Builds the turn detector's corpus from public repositories.

    python -m scripts.turn_data OUT
    python -m scripts.turn_data OUT --mirror FOLDER     # of git repositories owner+name

OUT gets ``train``, ``dev`` and ``test.jsonl.xz``, each row a dialogue or a single turn;
``eval_dev`` and ``eval_test.jsonl.xz``, complete turns with a cut of each; and ``manifest.json``,
with licences and counts. The same each time. A run that is stopped goes on when the command is
given again: what was fetched is not fetched again. Phrases of Japanese and Chinese are found with
``budoux``.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import json
import lzma
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from nearvoice.turn_text import plain
from scripts.turn_parsers import Turns
from scripts.turn_repositories import HOST, MissingSourceError, files
from scripts.turn_sources import LANGUAGES, SOURCES, Source

SPLITS = ("train", "dev", "test")
SEEDS = {"train": 0, "dev": 2, "test": 1}
"""Of the order of the records, and of the cuts."""
LEAKS = 20
"""Characters from which on a sentence that is tested is not trained on."""
OF_A_DIALOGUE = 3
"""Turns that pairs are made of, at most."""
OF_A_SOURCE = 1_500
"""Pairs of a language and source, at most."""
CONTEXT = 5
"""Turns before it that a pair has, at most."""

_SENTENCE_END = ".?!\u3002\uff1f\uff01\u2026\uff61\u0964"
_COMMA = ",;:\uff0c\u3001\uff1b\uff1a\u2014\u2013-"
_CLOSING = "\"'\u201d\u2019\uff09)\u300d\u300f "

Phrases = Callable[[str], list[str]]
"""Text -> the phrases it is made of, which together are the text."""


class Record(NamedTuple):
    """A dialogue, or a single turn."""

    src: str
    lang: str
    id: str
    turns: Turns

    def words(self) -> tuple[str, ...]:
        """Return the language and what is said, without case and punctuation."""
        return (self.lang, *(plain(text) for _, text in self.turns))

    def as_row(self) -> dict[str, Any]:
        """Return what is written of it."""
        return self._asdict()


Corpus = dict[str, list[Record]]
"""Split -> records."""


# ---- records ----------------------------------------------------------------------------------


def split_of(key: str) -> str:
    """Return the split that all dialogues with this key belong to."""
    place = int.from_bytes(hashlib.sha1(key.encode()).digest()[:4], "big") % 1000
    return "test" if place < 70 else "dev" if place < 90 else "train"


def collect(
    sources: Iterable[Source], cache: Path, mirror: Path | None = None, host: str = HOST
) -> Corpus:
    """Read the sources; a dialogue is kept once in a split, a single turn once in all of them.

    Args:
        sources: In the order in which they may keep a dialogue that several have.
        cache: Folder that repositories are fetched into.
        mirror: Folder of repositories to read instead.
        host: What is fetched from.

    Raises:
        MissingSourceError: One cannot be had.
    """
    corpus: Corpus = {split: [] for split in SPLITS}
    known: set[tuple[str, ...]] = set()
    for source in sources:
        count = 0
        for split, record in _read(source, cache, mirror, host):
            words = record.words() if len(record.turns) == 1 else (split, *record.words())
            if words not in known:
                known.add(words)
                corpus[split].append(record)
                count += 1
        print(f"{source.name}: {count} records", flush=True)
    corpus["train"] = [*_without(corpus["train"], corpus["test"])]
    for split, records in corpus.items():
        random.Random(SEEDS[split]).shuffle(records)
    return corpus


def _read(
    source: Source, cache: Path, mirror: Path | None, host: str
) -> Iterator[tuple[str, Record]]:
    for pin in source.pins:
        for path, content in files(pin, cache, mirror, host):
            for parsed in source.parse(path, content):
                turns = _merged(parsed.turns)
                if turns and parsed.lang in LANGUAGES:
                    key = parsed.together or f"{source.name}:{parsed.id}"
                    split = "test" if source.test else split_of(key)
                    yield split, Record(source.name, parsed.lang, parsed.id, turns)


def _merged(said: Turns) -> Turns:
    """Return turns with single spaces, those with words; what one side says in several is one."""
    turns: Turns = []
    for role, raw in said:
        text = re.sub(r"\s+", " ", raw).strip()
        if not plain(text):
            continue
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]} {text}")
        else:
            turns.append((role, text))
    return turns


def _without(train: Iterable[Record], test: Sequence[Record]) -> Iterator[Record]:
    """Yield the records of train but dialogues that are tested, and turns tested somewhere."""
    dialogues = {record.words() for record in test}
    turns = {(record.lang, plain(text)) for record in test for _, text in record.turns}
    for record in train:
        words = record.words()
        leaks = len(words) == 2 and len(words[1]) >= LEAKS and words in turns
        if words not in dialogues and not leaks:
            yield record


# ---- pairs ------------------------------------------------------------------------------------


class _Said:
    """How often something is said in the corpus, as a whole turn or as the beginning of one."""

    def __init__(self, records: Iterable[Record]) -> None:
        turns: defaultdict[str, list[str]] = defaultdict(list)
        for record in records:
            turns[record.lang] += [plain(text) for _, text in record.turns]
        self._turns = {language: sorted(texts) for language, texts in turns.items()}

    def whole(self, language: str, text: str) -> int:
        """Return how many turns are this."""
        turns = self._turns.get(language, [])
        return bisect.bisect_right(turns, text) - bisect.bisect_left(turns, text)

    def begins(self, language: str, text: str) -> int:
        """Return how many turns begin with this and go on."""
        turns = self._turns.get(language, [])
        spaced = "" if language in ("ja", "zh") else " "
        first = bisect.bisect_right(turns, text) if not spaced else 0
        start = max(first, bisect.bisect_left(turns, text + spaced))
        return bisect.bisect_left(turns, text + spaced + "\U0010ffff") - start


def phrases_of(language: str) -> Phrases:
    """Return what splits text of a language that has no spaces.

    Raises:
        MissingSourceError: ``budoux`` is not installed.
    """
    try:
        budoux: Any = import_module("budoux")
    except ImportError as error:
        why = "pairs of Japanese and Chinese need budoux: pip install budoux"
        raise MissingSourceError(why) from error
    if language == "ja":
        found: Phrases = budoux.load_default_japanese_parser().parse
    else:
        found = budoux.load_default_simplified_chinese_parser().parse
    return found


def pairs(
    records: Sequence[Record], known: Iterable[Record], seed: int, phrases: dict[str, Phrases]
) -> list[dict[str, Any]]:
    """Return complete turns of the user, each with a cut of it at a random word.

    Args:
        records: Whose turns.
        known: What is looked into for whether the cut is a turn too.
        seed: Of the order and of the cuts.
        phrases: What splits text of the languages that have no spaces.
    """
    random_ = random.Random(seed)
    said = _Said(known)
    shuffled = list(records)
    random_.shuffle(shuffled)
    taken: Counter[tuple[str, str]] = Counter()
    rows = []
    for record in shuffled:
        users = [i for i, (role, _) in enumerate(record.turns) if role == "user"]
        random_.shuffle(users)
        for i in users[:OF_A_DIALOGUE]:
            if taken[record.lang, record.src] < OF_A_SOURCE:
                row = _pair(record, i, random_, said, phrases)
                if row is not None:
                    taken[record.lang, record.src] += 1
                    rows.append(row)
    random_.shuffle(rows)
    return rows


def _pair(
    record: Record, turn: int, random_: random.Random, said: _Said, phrases: dict[str, Phrases]
) -> dict[str, Any] | None:
    """Return a pair of one turn; None where it has too few words."""
    raw = record.turns[turn][1]
    split = phrases.get(record.lang, str.split)
    words = [word for word in split(raw) if plain(word)]
    if len(words) < 3:
        return None
    count = random_.randint(1, len(words) - 1)
    cut = plain(("" if record.lang in phrases else " ").join(words[:count]))
    text = plain(raw)
    if cut == text:
        return None
    last = words[count - 1].rstrip(_CLOSING)[-1:]
    whole, begins = said.whole(record.lang, cut), said.begins(record.lang, cut)
    ends = last != "" and last in _SENTENCE_END
    return {
        "lang": record.lang,
        "src": record.src,
        "ctx": [[role, plain(text)] for role, text in record.turns[max(0, turn - CONTEXT) : turn]],
        "text": text,
        "cut": cut,
        "raw": raw,
        "k": count,
        "n": len(words),
        "cut_sent_end": ends,
        "cut_comma": last != "" and last in _COMMA,
        "raw_punct": raw.rstrip(_CLOSING)[-1:] in _SENTENCE_END,
        "cut_full": whole,
        "cut_prefix": begins,
        "cut_ambig": ends or (whole >= 2 and whole >= 0.15 * (whole + begins)),
    }


# ---- files ------------------------------------------------------------------------------------


def manifest(sources: Iterable[Source], corpus: Corpus) -> dict[str, Any]:
    """Return where each source is from, under which licence, and how much of it there is."""
    counts: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for split, records in corpus.items():
        for record in records:
            of = counts[record.src].setdefault(
                record.lang, {"chars": 0, **{s: {"records": 0, "turns": 0} for s in SPLITS}}
            )
            of["chars"] += sum(len(text) for _, text in record.turns)
            of[split]["records"] += 1
            of[split]["turns"] += len(record.turns)
    return {
        source.name: {
            "via": [f"github:{pin.repository}@{pin.commit}" for pin in source.pins],
            "paths": sorted({pin.paths for pin in source.pins}),
            "licence": source.licence,
            "kind": source.kind,
            "tier": source.tier,
            "langs": dict(sorted(counts[source.name].items())),
        }
        for source in sources
    }


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines, compressed."""
    part = path.with_name(path.name + ".part")
    with lzma.open(part, "wt", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.replace(path)


def build(
    out: Path,
    sources: Sequence[Source],
    cache: Path,
    mirror: Path | None = None,
    host: str = HOST,
) -> Corpus:
    """Write the corpus of these sources.

    Raises:
        MissingSourceError: A source, or budoux, cannot be had.
    """
    out.mkdir(parents=True, exist_ok=True)
    corpus = collect(sources, cache, mirror, host)
    languages = {record.lang for split in ("dev", "test") for record in corpus[split]}
    phrases = {language: phrases_of(language) for language in sorted({"ja", "zh"} & languages)}
    for split, records in corpus.items():
        write(out / f"{split}.jsonl.xz", (record.as_row() for record in records))
    known = corpus["train"] + corpus["dev"]
    for split in ("dev", "test"):
        rows = pairs(corpus[split], known, SEEDS[split], phrases)
        write(out / f"eval_{split}.jsonl.xz", rows)
    text = json.dumps(manifest(sources, corpus), indent=1, ensure_ascii=False)
    (out / "manifest.json").write_text(text + "\n", "utf-8")
    return corpus


def chosen(names: Collection[str] | None, tier_b: bool) -> list[Source]:
    """Return the sources of these names, or all; those of tier B only if they are wanted.

    Raises:
        MissingSourceError: There is none of that name.
    """
    known = {source.name for source in SOURCES}
    if unknown := set(names or ()) - known:
        raise MissingSourceError(f"no source {', '.join(sorted(unknown))}: {', '.join(known)}")
    doubtful = {source.name for source in SOURCES if source.tier != "A"}
    if refused := set() if tier_b else set(names or ()) & doubtful:
        raise MissingSourceError(f"{', '.join(sorted(refused))}: of tier B, so give --tier-b, too")
    return [
        source
        for source in SOURCES
        if (tier_b or source.tier == "A") and (not names or source.name in names)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.turn_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--sources", nargs="*", metavar="NAME", help="these only")
    parser.add_argument("--tier-b", action="store_true", help="also sources that are in doubt")
    parser.add_argument("--mirror", type=Path, help="folder of git repositories owner+name")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("out/turn-sources"),
        help="folder that repositories are fetched into (default: out/turn-sources)",
    )
    options = parser.parse_args(arguments)
    try:
        sources = chosen(options.sources, options.tier_b)
        corpus = build(options.out, sources, options.cache, options.mirror)
    except MissingSourceError as error:
        raise SystemExit(f"turn_data: {error}") from error
    for split, records in corpus.items():
        print(f"{split}: {len(records)} records, {sum(len(r.turns) for r in records)} turns")


if __name__ == "__main__":
    main()
