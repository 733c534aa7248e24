"""A calibration in, a picture out: for each language what waiting more often costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .turn_calibrate import Calibration, Point, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
"""Panels side by side, at most."""
_CURVE, _CHOSEN, _CURRENT = "#555555", "#0072b2", "#d55e00"
"""Blue and vermilion of Okabe and Ito: told apart by everyone, and by their marks in print."""


def draw(result: Result, path: Path, title: str) -> None:
    """Save, as PNG, a panel for each language: TNR over TPR, as the threshold changes.

    The bars of the two points are their 95 % intervals. The curve is of all turns, and so a little
    better than the point that was cross-validated.

    Raises:
        OSError: ``path`` cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}):
        _figure(result, title).savefig(path, format="png", dpi=100)


def _figure(result: Result, title: str) -> Figure:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(result.languages))
    rows = -(-len(result.languages) // columns)
    figure = Figure(figsize=(1 + 5 * columns, 2 + 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, (language, found) in zip(panels, result.languages.items(), strict=False):
        _panel(panel, language, found, result.wanted)
    for panel in panels[len(result.languages) :]:
        panel.set_axis_off()
    marks, names = panels[0].get_legend_handles_labels()
    figure.legend(marks, names, loc="outside lower center", ncols=3, fontsize=13)
    figure.suptitle(title, fontsize=16)
    return figure


def _panel(panel: Axes, language: str, found: Calibration, wanted: float) -> None:
    tpr, tnr = curve(found)
    panel.plot(tpr, tnr, color=_CURVE)
    panel.axvline(wanted, color=_CURVE, linestyle=":", label=f"wanted TPR {wanted:g}")
    _mark(
        panel, found.current, "current", color=_CURRENT, marker="s", markersize=13, fillstyle="none"
    )
    _mark(panel, found.chosen, "chosen (cross-validated)", color=_CHOSEN, marker="o", markersize=7)
    left = min(wanted, found.chosen.tpr.low, found.current.tpr.low)
    panel.set_xlim(max(0.0, 1 - 1.5 * (1 - left)), 1.0)
    panel.set_ylim(0.0, 1.0)
    panel.locator_params(axis="x", nbins=5)
    panel.set_title(f"{language}, AUC {found.auc:.3f}", fontsize=15, loc="left")
    panel.set_xlabel("TPR: complete turns taken at once", fontsize=13)
    panel.set_ylabel("TNR: unfinished turns waited for", fontsize=13)
    panel.tick_params(labelsize=11)
    panel.grid(alpha=0.3)


def curve(found: Calibration) -> tuple[list[float], list[float]]:
    """Return TPR and TNR at each threshold that tells two turns apart, from the highest TPR on."""
    complete, unfinished = np.sort(found.complete), np.sort(found.unfinished)
    thresholds = np.append(np.unique(np.concatenate((complete, unfinished))), np.inf)
    tpr = 1 - np.searchsorted(complete, thresholds) / len(complete)
    tnr = np.searchsorted(unfinished, thresholds) / len(unfinished)
    return tpr.tolist(), tnr.tolist()


def _mark(panel: Axes, point: Point, name: str, **look: Any) -> None:  # noqa: ANN401
    across, up = (
        [[rate.value - rate.low], [rate.high - rate.value]] for rate in (point.tpr, point.tnr)
    )
    panel.errorbar(
        [point.tpr.value],
        [point.tnr.value],
        xerr=across,
        yerr=up,
        capsize=3,
        linestyle="none",
        label=name,
        **look,
    )
