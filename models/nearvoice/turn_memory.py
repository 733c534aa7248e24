"""The last words in, a logit out: what was counted in training, beside what a network makes of it.

A linear model of hashed features: the last one to three words and one to eight characters, the last
six words in any order, how the turn begins and how long it is, whether there was a turn before,
and, of a short one, how that began and ended. A network forgets what is rare; a table does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np

BUCKETS = 2**18
"""Of the table: a feature's is the lowest bits of its hash."""
PLACES = 4
"""Features of a bucket."""
SHAPE = BUCKETS, 2 * PLACES
_SPACELESS = ("ja", "zh")
_LONG = 15
"""Words from which on all turns are as long."""
_SHORT = 3
"""Words up to which a turn is an answer to be read with the question."""
OPENING = 2
"""Words up to which a first turn may be one that opens a conversation, such as "hello"."""
SILENT = -128
"""Weight of such a turn: of it the table says nothing, as most first words are of longer turns."""


class Memory:
    """A table of weights.

    Args:
        path: An array of numpy, uint8[BUCKETS, 2 * PLACES]: of each bucket the checks of its
            features, 0 for none, and then their weights, int8.
        units: Language, such as ``en``, to the logit of a weight of 1; ``*`` for all others.

    Raises:
        ValueError: It is no such array.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, units: Mapping[str, float]) -> None:
        try:
            table = np.lib.format.open_memmap(path, mode="r")
        except OSError:
            raise
        except Exception as error:  # of a damaged header numpy raises nothing narrower
            raise ValueError(f"{path} is no array of numpy: {error}") from error
        if table.dtype != np.uint8 or table.shape != SHAPE:
            raise ValueError(f"{path} is {table.dtype}{list(table.shape)}, not uint8{list(SHAPE)}")
        self._table = table.reshape(-1).data
        self._units = units

    def logit(self, text: str, before: str, language: str | None) -> float:
        """Return the logit that a turn has ended.

        Args:
            text: The turn, plain.
            before: The turn before, plain; empty if there was none.
            language: Such as ``en`` or ``pt-BR``; None where it is not known.
        """
        language = (language or "").lower().split("-")[0]
        if language not in self._units:
            language = ""
        unit = self._units.get(language or "*", 0.0)
        if not unit or (not before and self._weight(opening(text, language)) == SILENT):
            return 0.0
        return unit * sum(map(self._weight, features(text, before, language)))

    def _weight(self, feature: str) -> int:
        bucket, check = place(hashed(feature))
        row = bytes(self._table[2 * PLACES * bucket : 2 * PLACES * (bucket + 1)])
        at = row.find(check, 0, PLACES)
        if at < 0:
            return 0
        weight = row[PLACES + at]
        return weight - 256 if weight > 127 else weight


def place(number: int) -> tuple[int, int]:
    """Return the bucket of a hashed feature, and what tells it from others there: 1 to 255."""
    return number % BUCKETS, number // BUCKETS % 255 + 1


def hashed(feature: str) -> int:
    """Return a number of 64 bits."""
    return int.from_bytes(
        blake2b(feature.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )


def opening(text: str, language: str) -> str:
    """Return the feature of a whole first turn."""
    return f"{language}O{' '.join(text.split())}"


def features(text: str, before: str, language: str) -> Iterator[str]:
    """Yield the features of a turn, each once; ``language`` is empty where it is not known."""
    words, asked = text.split(), before.split()
    text = " ".join(words)
    units = list(text.replace(" ", "")) if language in _SPACELESS else words
    length = min(len(units), _LONG)
    for count in range(1, min(3, len(words)) + 1):
        yield f"{language}S{' '.join(words[-count:])}"
    for count in range(1, min(8, len(text)) + 1):
        yield f"{language}C{text[-count:]}"
    yield from {f"{language}B{word}": None for word in units[-6:]}
    for spoken in {language: None, "": None}:
        yield f"{spoken}N{length} {bool(asked)}"
    yield f"{language}F{' '.join(words[:2])} {min(length, 8)}"
    yield f"{language}P{' '.join(asked[:2])} {min(length, 3)}"
    if length <= _SHORT:
        yield f"{language}A{' '.join(asked[:2])}|{text}"
        yield f"{language}E{' '.join(asked[-2:])}|{text}"
