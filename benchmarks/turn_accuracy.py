"""How well a turn detector tells complete turns from cut ones, in each language."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice import turn_rates
from nearvoice.digest import sha256
from nearvoice.turn import TurnDetector

from . import turn_pairs
from .turn_pairs import Pair
from .turn_words import Words

EACH = 1_000
"""Pairs of a language, at most."""
OURS, ALONE, WORDS = "nearvoice", "nearvoice, without what was said before", "counting words"
FEW = 50
"""Pairs of a source under which it has no row."""

Scores = npt.NDArray[np.float64]
Score = Callable[[Sequence[Pair], bool], Scores]
"""Pairs, and whether the complete turns or the cuts are meant, to P(end of turn)."""


def accuracy(folder: Path) -> dict[str, Any]:
    """Return the figures of each system, by language and by source."""
    pairs = turn_pairs.pairs(folder, EACH)
    detector = TurnDetector.load()
    thresholds = {pair.language: detector.bundle.threshold_for(pair.language) for pair in pairs}
    systems: dict[str, Any] = {}
    for name, load in _systems(folder, detector).items():
        try:
            score = load()
        except ImportError as error:
            systems[name] = {"missing": str(error)}
            continue
        ours = thresholds if name != WORDS else None
        systems[name] = _rows(pairs, score(pairs, True), score(pairs, False), ours)
        print(f"{name}: {systems[name]['mean']}", file=sys.stderr)
    bundle = detector.bundle
    return {
        "task": "turn",
        "what": f"complete turns against cuts of them, {len(pairs)} pairs in {len(thresholds)} "
        "languages; TNR is the share of cuts that are held back where TPR of the turns are not",
        "model": {
            "name": bundle.name,
            "version": bundle.version,
            "licence": bundle.licence,
            "sha256": sha256(bundle.model),
        },
        "systems": systems,
    }


def _systems(folder: Path, detector: TurnDetector) -> dict[str, Callable[[], Score]]:
    def words() -> Score:
        trained = Words(folder)
        return lambda pairs, complete: trained.score(pairs, complete=complete)

    return {
        OURS: lambda: lambda pairs, complete: _ours(detector, pairs, complete, with_before=True),
        ALONE: lambda: lambda pairs, complete: _ours(detector, pairs, complete, with_before=False),
        WORDS: words,
    }


def _ours(
    detector: TurnDetector, pairs: Sequence[Pair], complete: bool, *, with_before: bool
) -> Scores:
    scores = np.empty(len(pairs))
    for at, pair in enumerate(pairs):
        before = [{"role": r, "content": t} for r, t in pair.before if with_before]
        text = pair.complete if complete else pair.cut
        messages = [*before, {"role": "user", "content": text}]
        scores[at] = detector.predict(messages, pair.language)
    return scores


def _rows(
    pairs: Sequence[Pair], complete: Scores, cut: Scores, thresholds: dict[str, float] | None
) -> dict[str, Any]:
    languages = np.array([pair.language for pair in pairs])
    sources = np.array([f"{pair.language} {pair.source}" for pair in pairs])
    clear = np.array([not pair.ambiguous for pair in pairs])
    rows: dict[str, Any] = {}
    for language in sorted(set(languages.tolist())):
        own = languages == language
        row = _figures(complete[own], cut[own]) | {
            "strict": _figures(complete[own & clear], cut[own & clear])
        }
        if thresholds is not None:
            row["shipped"] = _at(complete[own], cut[own], thresholds[language])
        rows[language] = row
    by_source = {
        source: _figures(complete[sources == source], cut[sources == source])
        for source in sorted(set(sources.tolist()))
        if (sources == source).sum() >= FEW
    }
    mean = {key: _mean(rows, key) for key in ("auc", "tnr at .993", "tnr at .95", "ece")}
    return {"mean": mean, **rows, "by source": by_source}


def _mean(rows: dict[str, Any], key: str) -> float:
    return round(float(np.mean([row[key] for row in rows.values()])), 4)


def _figures(complete: Scores, cut: Scores) -> dict[str, float]:
    return {
        "n": len(complete),
        "auc": round(turn_rates.auc(complete, cut), 4),
        "tnr at .993": round(turn_rates.tnr_at(complete, cut, 0.993), 4),
        "tnr at .95": round(turn_rates.tnr_at(complete, cut, 0.95), 4),
        "ece": round(turn_rates.ece(complete, cut), 4),
    }


def _at(complete: Scores, cut: Scores, threshold: float) -> dict[str, Any]:
    """Return the rates with the shipped threshold, chosen on other turns; 95 % intervals."""
    rates = {"tpr": turn_rates.tpr(complete, threshold), "tnr": turn_rates.tnr(cut, threshold)}
    return {"threshold": threshold} | {
        name: {key: round(value, 4) for key, value in rate._asdict().items()}
        for name, rate in rates.items()
    }


def report(result: dict[str, Any]) -> str:
    """Return a line for each system and language."""
    lines = [f"{'':42}{'AUC':>8}{'TNR .993':>10}{'TNR .95':>9}{'shipped TPR':>13}{'TNR':>7}"]
    for name, rows in result["systems"].items():
        if "missing" in rows:
            lines.append(f"{name}: {rows['missing']}")
            continue
        for language, row in rows.items():
            if language != "by source":
                lines.append(_line(f"{name}, {language}", row))
    return "\n".join(lines)


def _line(name: str, row: dict[str, Any]) -> str:
    line = f"{name:42}{row['auc']:8.3f}{row['tnr at .993']:10.3f}{row['tnr at .95']:9.3f}"
    if "shipped" in row:
        shipped = row["shipped"]
        line += f"{shipped['tpr']['value']:13.3f}{shipped['tnr']['value']:7.3f}"
    return line
