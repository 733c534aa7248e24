"""How well a turn detector tells complete turns from cut ones, in each language."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nearvoice.turn import locate

from . import turn_figures, turn_pairs, turn_scores, turn_systems
from .turn_figures import Measured
from .turn_pairs import Pair
from .turn_scores import OURS, TPRS, WORDS, Reader


def accuracy(folder: Path) -> dict[str, Any]:
    """Return the figures of each system: of each language, source, and their mean."""
    pairs = [*turn_pairs.of_test(folder), *turn_pairs.of_heard(folder)]
    dev = turn_pairs.of_dev(folder)
    systems: dict[str, Any] = {}
    measured: dict[str, Measured] = {}
    for name, reader in turn_scores.load(turn_scores.readers(folder)):
        if not isinstance(reader, Reader):
            systems[name] = reader
            continue
        measured[name] = _measure(reader, pairs, dev)
        systems[name] = measured[name].rows
        print(f"{name}: {systems[name]['mean']}", file=sys.stderr)
    if OURS in measured and WORDS in measured:
        turn_figures.compare(measured[OURS], measured[WORDS], "above words")
    return {
        "task": "turn",
        "what": f"complete turns against cuts of them, {len(pairs)} pairs in "
        f"{len({pair.language for pair in pairs})} languages; TNR is the share of cuts that are "
        "held back where TPR of the turns are not; intervals of 95 %, by dialogue",
        "model": model(),
        "systems": systems | turn_scores.HEARS,
    }


def model() -> dict[str, str]:
    """Return which weights ours has."""
    return turn_systems.bundle() | {"licence": locate("nearvoice").licence}


def _measure(reader: Reader, pairs: Sequence[Pair], dev: Sequence[Pair]) -> Measured:
    pairs, dev = reader.of(pairs), reader.of(dev)
    on_dev = reader.score(dev)
    thresholds = {f"dev {tpr}": turn_scores.thresholds(dev, on_dev, tpr) for tpr in TPRS}
    if reader.bundle is not None:
        thresholds["shipped"] = reader.shipped([pair.language for pair in pairs])
    return Measured(pairs, reader.score(pairs), thresholds)


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
