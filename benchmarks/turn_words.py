"""The baseline of a turn detector: a logistic regression on the last words, which knows no more.

Its features are hashed: the last one to three words and one to eight characters, the six last words
in any order, the first words, how many there are, and how the turn before begins.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice.turn_text import plain

from . import turn_pairs
from .turn_pairs import Pair

EXAMPLES = 900_000
"""That it is trained on: a complete turn, and two cuts of it, at a time."""
UNTRAINED = ("koziev", "cod", turn_pairs.HEARD)
"""Sources that ours is not trained on either: a doubtful licence, or kept for the test."""
_FEATURES = 2**22
_SPACELESS = ("ja", "zh")

Scores = npt.NDArray[np.float64]


class Words:
    """The trained baseline.

    Args:
        weights: Of each feature, float64[features].
        shift: Added to their sum, float64[1].
    """

    def __init__(self, weights: Scores, shift: Scores) -> None:
        self._weights, self._shift = weights, float(shift[0])

    def score(self, pairs: Sequence[Pair], *, complete: bool) -> Scores:
        """Return P(end of turn) of each complete turn, or of each cut."""
        texts = []
        for pair in pairs:
            before = pair.before[-1][1] if pair.before else ""
            text = pair.complete if complete else pair.cut
            texts.append(_features(text, before, pair.language))
        logits = _hashed(texts) @ self._weights + self._shift
        scores: Scores = 1 / (1 + np.exp(-logits))
        return scores


def learn(folder: Path, examples: int = EXAMPLES) -> dict[str, Scores]:
    """Return what :class:`Words` takes, learned anew.

    Raises:
        ImportError: scikit-learn is not installed.
        benchmarks.data.MissingDataError: The training set is not in the data folder.
    """
    from sklearn.linear_model import SGDClassifier

    texts, ends = [], []
    for text, before, language, ended in _examples(folder, examples):
        texts.append(_features(text, before, language))
        ends.append(ended)
    model: Any = SGDClassifier(
        loss="log_loss", alpha=2e-6, max_iter=6, tol=None, random_state=0, average=True
    )
    model.fit(_hashed(texts), ends)
    return {"weights": model.coef_[0], "shift": model.intercept_}


def _hashed(texts: Sequence[str]) -> Any:  # noqa: ANN401 - a sparse matrix of scipy
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        n_features=_FEATURES,
        token_pattern=r"\S+",
        lowercase=False,
        alternate_sign=False,
        norm=None,
        binary=True,
    ).transform(texts)


def _examples(folder: Path, most: int) -> Iterator[tuple[str, str, str, bool]]:
    """Yield text, what was said before, language, and whether the text is a whole turn."""
    chance = random.Random(0)
    rows = [r for r in turn_pairs.rows(folder, turn_pairs.TRAIN) if r["src"] not in UNTRAINED]
    chance.shuffle(rows)
    count = 0
    for row in rows:
        turns, language = row["turns"], row["lang"]
        users = [at for at, (role, _) in enumerate(turns) if role == "user"]
        for at in chance.sample(users, min(4, len(users))):
            before = plain(turns[at - 1][1]) if at else ""
            words, joint = _words(plain(turns[at][1]), language)
            if len(words) < 3:
                continue
            yield joint.join(words), before, language, True
            for _ in range(2):
                cut = joint.join(words[: chance.randint(1, len(words) - 1)])
                yield cut, before, language, False
            count += 3
        if count >= most:
            return


def _words(text: str, language: str) -> tuple[list[str], str]:
    return (list(text), "") if language in _SPACELESS else (text.split(), " ")


def _features(text: str, before: str, language: str) -> str:
    words = text.split()
    found = [f"S{n}_{'_'.join(words[-n:])}" for n in (1, 2, 3)]
    found += [f"C_{text[-n:].replace(' ', '_')}" for n in range(1, 9)]
    found += [f"B_{word}" for word in words[-6:]]
    found += [f"N{min(len(words), 15)}", f"L_{language}"]
    found.append(f"F_{'_'.join(words[:2])}_{min(len(words), 8)}")
    if before:
        asked = before.split()
        found.append(f"P_{'_'.join(asked[:2])}|{min(len(words), 3)}")
    return " ".join(found)
