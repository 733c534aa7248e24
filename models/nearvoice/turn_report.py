"""A calibration in, the lines that people read and the figures that programs read out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import __version__
from .turn_calibrate import Calibration, Point, Result
from .turn_rates import Rate

_NOTES = (
    "TPR: the share of complete turns that are taken at once; TNR: that of unfinished turns that",
    "are waited for. Those of a chosen threshold are cross-validated: it is chosen on four fifths",
    "of the turns and measured on the rest, in five ways. Those of the current one are of all.",
)


def lines(result: Result) -> Iterator[str]:
    """Yield what people read."""
    for language, found in result.languages.items():
        yield ""
        yield from _found(language, found)
    if result.refused:
        yield ""
    yield from (f"{language}  {lack}" for language, lack in result.refused.items())
    if result.languages:
        yield ""
        yield from _NOTES


def _found(language: str, found: Calibration) -> Iterator[str]:
    yield (
        f"{language}  {len(found.complete)} complete and {len(found.unfinished)} unfinished turns, "
        f"AUC {found.auc:.3f}"
    )
    yield f"    {'':9}{'threshold':10}  {'TPR (95 %)':22}  TNR (95 %)"
    yield _point("chosen", found.chosen)
    yield _point("current", found.current)
    yield from (f"    warning: {warning}" for warning in found.warnings)


def _point(name: str, point: Point) -> str:
    return f"    {name:9}{point.threshold:<10.4g}  {_rate(point.tpr)}  {_rate(point.tnr)}"


def _rate(rate: Rate) -> str:
    return f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f})"


def figures(result: Result, model: str) -> dict[str, Any]:
    """Return what programs read, for JSON.

    Args:
        result: The calibration.
        model: Name and version of what was calibrated.
    """
    return {
        "nearvoice": __version__,
        "model": model,
        "wanted_tpr": result.wanted,
        "unlikely_threshold": result.thresholds,
        "languages": {
            language: {
                "complete": len(found.complete),
                "unfinished": len(found.unfinished),
                "auc": found.auc,
                "chosen": _point_figures(found.chosen),
                "current": _point_figures(found.current),
                "warnings": found.warnings,
            }
            for language, found in result.languages.items()
        },
        "refused": dict(result.refused),
    }


def _point_figures(point: Point) -> dict[str, Any]:
    rates = {"tpr": point.tpr, "tnr": point.tnr}
    return {"threshold": point.threshold} | {
        name: {"value": rate.value, "low": rate.low, "high": rate.high}
        for name, rate in rates.items()
    }
