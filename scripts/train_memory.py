"""Count which last words end turns: the table that a turn detector has beside its network.

    python -m scripts.train_memory train.jsonl.xz OUT --without koziev cod --talk 20

OUT is a checkpoint folder; ``memory.npy`` and ``memory.json`` are written into it. The weights are
of a logistic regression, averaged over stochastic gradient descent.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import SGDClassifier

from nearvoice.turn_memory import (
    BUCKETS,
    OPENING,
    PLACES,
    SHAPE,
    SILENT,
    features,
    hashed,
    opening,
    place,
)
from nearvoice.turn_text import plain
from scripts import turn_corpus, turn_talk
from scripts.turn_corpus import Dialogue

CUTS = 2
"""Of each turn, at a random word."""
FEWEST = 3
"""Turns and cuts that a feature must be in."""
SHORTEST = 3
"""Words, or characters where words have no spaces, of a turn with nothing before it."""
EPOCHS = 6
ALPHA = 2e-6
"""Weight of the L2 penalty."""
OPENED = 60
"""Draws of our own dialogues that openings are taken from."""
KEPT = 700_000
"""Features, those that weigh most."""
UNKNOWN = 0.15
"""Share of turns whose language is not told."""


Hashes = npt.NDArray[np.uint64]
Weights = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]
Row = tuple[str, str, str, bool]
"""Text, what was said before, language, and whether the text is a whole turn."""


class Examples(NamedTuple):
    """Turns and cuts of them, as hashed features."""

    hashes: Hashes
    """Of all, one after another."""
    starts: _Places
    """Where those of each begin, and the end."""
    ended: npt.NDArray[np.bool_]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="dialogues, JSON lines, perhaps .xz")
    parser.add_argument("out", type=Path, help="folder of the checkpoint")
    parser.add_argument("--without", nargs="*", default=[], metavar="SRC", help="sources left out")
    parser.add_argument("--talk", type=int, default=0, metavar="N", help="of our own dialogues")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found = [d for d in turn_corpus.read(options.data) if d.src not in options.without]
    found += turn_talk.dialogues(options.seed, options.talk)
    chance = random.Random(options.seed)
    chance.shuffle(found)
    examples = collect(cut(found, chance))
    print(f"{len(examples.ended)} turns and cuts, {len(examples.hashes)} features", flush=True)
    opened = [*found, *turn_talk.dialogues(options.seed, OPENED if options.talk else 0)]
    write(*train(examples, options.seed), openings(opened), options.out)


def cut(dialogues: Iterable[Dialogue], chance: random.Random) -> Iterator[Row]:
    """Yield the user's turns and cuts of them, plain."""
    for dialogue in dialogues:
        turns = [(role, plain(text)) for role, text in dialogue.turns]
        for at, (role, text) in enumerate(turns):
            spaced = dialogue.lang not in ("ja", "zh")
            words = text.split() if spaced else list(text)
            before = turns[at - 1][1] if at else ""
            if role != "user" or len(words) < (1 if before else SHORTEST):
                continue
            language = "" if chance.random() < UNKNOWN else dialogue.lang
            yield text, before, language, True
            for _ in range(CUTS if len(words) > 1 else 0):
                some = words[: chance.randint(1, len(words) - 1)]
                yield (" " if spaced else "").join(some).strip(), before, language, False


def openings(dialogues: Iterable[Dialogue]) -> set[int]:
    """Return the hashed features of short turns that open conversations, and are whole."""
    said: Counter[tuple[str, str]] = Counter()
    for dialogue in dialogues:
        (role, text), own = dialogue.turns[0], dialogue.src == turn_talk.SOURCE
        words = plain(text).split() if dialogue.lang not in ("ja", "zh") else [plain(text)]
        if role == "user" and (own or len(dialogue.turns) > 1) and 0 < len(words) <= OPENING:
            said[dialogue.lang, " ".join(words)] += FEWEST if own else 1
    often = [(language, text) for (language, text), count in said.items() if count >= FEWEST]
    return {hashed(opening(text, spoken)) for language, text in often for spoken in (language, "")}


def collect(rows: Iterable[Row]) -> Examples:
    """Return the features of rows."""
    hashes, counts, ended = [], [], []
    for text, before, language, whole in rows:
        own = [hashed(feature) for feature in features(text, before, language)]
        hashes.append(np.array(own, np.uint64))
        counts.append(len(own))
        ended.append(whole)
    starts = np.concatenate(([0], np.cumsum(counts)))
    return Examples(np.concatenate(hashes), starts, np.array(ended))


def train(examples: Examples, seed: int) -> tuple[Hashes, Weights]:
    """Return the features that are often enough, and the weight of each."""
    known, inverse, counts = np.unique(examples.hashes, return_inverse=True, return_counts=True)
    often = counts >= FEWEST
    index = np.where(often, np.cumsum(often) - 1, -1)[inverse]
    of = np.repeat(np.arange(len(examples.ended)), np.diff(examples.starts))[index >= 0]
    ones, shape = np.ones(len(of), np.float32), (len(examples.ended), int(often.sum()))
    model = SGDClassifier(
        loss="log_loss", alpha=ALPHA, max_iter=EPOCHS, tol=None, random_state=seed, average=True
    )
    model.fit(
        csr_matrix((ones, (of, index[index >= 0])), shape),
        examples.ended,
        sample_weight=np.where(examples.ended, 1.0, 1 / CUTS),
    )
    print(f"{len(known)} features, {often.sum()} often enough", flush=True)
    return known[often], model.coef_[0]


def write(known: Hashes, weights: Weights, silent: Collection[int], out: Path) -> None:
    """Write the table; where a bucket is full, what weighs least is left out.

    Args:
        known: Hashed features.
        weights: Of each.
        silent: Hashed features of turns that the table says nothing of.
        out: The folder.
    """
    heaviest = np.argsort(-np.abs(weights))[:KEPT]
    unit = float(np.abs(weights).max()) / 127
    small = np.round(weights / unit).astype(np.int8)
    table = np.zeros(SHAPE, np.uint8)
    taken = np.zeros(BUCKETS, np.int64)
    everything = [*dict.fromkeys(sorted(silent), SILENT).items()]
    everything += zip(known[heaviest].tolist(), small[heaviest].tolist(), strict=True)
    for number, weight in everything:
        bucket, check = place(number)
        at = taken[bucket]
        if weight and at < PLACES and check not in table[bucket, :at]:
            table[bucket, at], table[bucket, PLACES + at] = check, weight % 256
            taken[bucket] += 1
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "memory.npy", table)
    (out / "memory.json").write_text(json.dumps({"unit": unit}), "utf-8")
    print(f"{taken.sum()} of {len(everything)} features in {BUCKETS} buckets, unit {unit:.4f}")


if __name__ == "__main__":
    main()
