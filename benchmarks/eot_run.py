"""The task ``turn-eot``: figures of what was predicted, as eot-bench has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import eot_bench
from .eot_bench import Operating, Point, Policies, Spans
from .eot_predict import OURS, kept, predict
from .settings import Settings
from .store import Store

__all__ = ["predict", "report", "score"]

WAITS, MEAN = "VAD only", "mean"


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of each system, by language.

    Raises:
        MissingPredictionError: A system was not asked about all turns.
    """
    about = store.about()
    found = {
        name: kept(store, known["label"], about["items"])
        for name, known in about["systems"].items()
    }
    rows = {name: scored(of, about["systems"][name]["score point"]) for name, of in found.items()}
    return {
        "task": "turn-eot",
        "what": "how soon, or how often too early, an agent would answer with each detector: "
        f"eot-bench, {about['files']} files",
        "model": about["model"],
        "dataset": about["dataset"],
        "systems": {WAITS: waiting(found[OURS]), **rows, **about["missing"]},
    }


def scored(
    predictions: Mapping[str, Sequence[Point]], score_point: float | None = None
) -> dict[str, Any]:
    """Return the figures of a system, of each language and their mean."""
    rows = {}
    for language, points in predictions.items():
        found = eot_bench.spans(points, score_point)
        detector = {
            "auc": _short(eot_bench.auc(found)),
            "average precision": _short(eot_bench.average_precision(found)),
        }
        rows[language] = _row(found, eot_bench.sweep(found, score_point)) | detector
    return {MEAN: _mean(rows), **rows}


def waiting(predictions: Mapping[str, Sequence[Point]]) -> dict[str, Any]:
    """Return the figures of waiting always as long, over the silences that a system was asked."""
    rows = {}
    for language, points in predictions.items():
        found = eot_bench.spans(points)
        rows[language] = _row(found, eot_bench.waiting(found))
    return {MEAN: _mean(rows), **rows}


def _row(found: Spans, policies: Policies) -> dict[str, Any]:
    row: dict[str, Any] = {
        "silences after turns": int(found.eot.sum()),
        "silences within turns": int((~found.eot).sum()),
    }
    chosen: dict[str, Any] = {}
    for budget in eot_bench.LATENCIES:
        name = f"cutoff at {budget * 1000:.0f} ms"
        best = eot_bench.safest(policies, budget)
        row[name] = None if best is None else _short(best.cutoff_rate)
        chosen[name] = _policy(best)
    for budget in eot_bench.CUTOFFS:
        name = f"latency at {budget:.0%}"
        best = eot_bench.soonest(policies, budget)
        row[name] = None if best is None else _short(best.mean_latency)
        chosen[name] = _policy(best)
    row["frontier latency"] = _short(eot_bench.frontier(policies))
    return row | {"policies": chosen}


def _policy(best: Operating | None) -> dict[str, float | None] | None:
    if best is None:
        return None
    return {name: _short(value) for name, value in best._asdict().items()}


def _mean(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the means over languages; None where one has no figure."""
    figures = {
        name: [row[name] for row in rows.values()]
        for name in next(iter(rows.values()), {})
        if name != "policies" and not name.startswith("silences")
    }
    return {
        name: None if None in values else _short(float(np.mean(values)))
        for name, values in figures.items()
    }


def _short(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


# ---- report -----------------------------------------------------------------------------------

COLUMNS = ("cutoff at 300 ms", "cutoff at 600 ms", "latency at 5%", "latency at 10%", "auc")


def report(result: dict[str, Any]) -> str:
    """Return a line for each system and language."""
    width = max(map(len, result["systems"])) + len(f", {MEAN}") + 2
    lines = [" " * width + "".join(f"{heading:>18}" for heading in COLUMNS)]
    for name, rows in result["systems"].items():
        if "missing" in rows:
            lines.append(f"{name}: {rows['missing']}")
            continue
        for language, row in rows.items():
            cells = (_cell(row.get(column)) for column in COLUMNS)
            lines.append(f"{f'{name}, {language}':{width}}" + "".join(f"{c:>18}" for c in cells))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
