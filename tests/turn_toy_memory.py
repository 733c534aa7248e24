"""Tables of last words that have a few features, known exactly."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearvoice.turn_bundle import MEMORY
from nearvoice.turn_memory import PLACES, SHAPE, hashed, place
from tests.turn_toy_network import WORDS, toy

UNITS = {"en": 0.02, "pt": 0.05, "*": 0.01}


def table_of(weights: dict[str, int]) -> npt.NDArray[np.uint8]:
    """Return the table that has these features."""
    table = np.zeros(SHAPE, np.uint8)
    for feature, weight in weights.items():
        bucket, check = place(hashed(feature))
        at = int((table[bucket, :PLACES] > 0).sum())
        table[bucket, at], table[bucket, PLACES + at] = check, weight % 256
    return table


def remembering(folder: Path, **fields: object) -> Path:
    """Write a toy bundle with a table in which every word of the toy weighs something."""
    weights = {
        f"{language}{kind}{word}": (at * 37 + ord(kind) + len(language)) % 255 - 127
        for language in ("", "en", "pt")
        for kind in "SB"
        for at, word in enumerate(WORDS)
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / MEMORY, table_of({**weights, "N1 True": 90, "enN1 False": -60}))
    return toy(folder, **{"memory_units": UNITS, **fields})  # type: ignore[arg-type]
