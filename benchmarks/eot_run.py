"""The task ``turn-eot``: predict, keep what was predicted, score what was kept."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import resample, to_float32
from nearvoice.turn import TurnDetector

from . import eot_bench, eot_data, turn_systems
from .eot_bench import Operating, Point, Policies, Spans
from .eot_data import Turn
from .systems import MISSING
from .turn_accuracy import model

OURS, WAITS, SMART = f"nearvoice, words {eot_bench.LAG} s late", "VAD only", turn_systems.SMART
SCORE_POINT = 0.2
"""Seconds of silence after which smart-turn is asked, once."""
MEAN = "mean"
_EVERY = 10.0
"""Seconds from one line to the next that says how far it is."""

Probability = Callable[[Turn, Point], "float | None"]


class System(NamedTuple):
    """What is asked at a moment of a turn."""

    ask: Probability
    """None where it says nothing."""
    score_point: float | None = None
    """As :func:`benchmarks.eot_bench.spans` takes it."""


def run(folder: Path | None, out: Path) -> dict[str, Any]:
    """Return the figures of each system, by language.

    Args:
        folder: The data set.
        out: Where predictions are kept: ``LANGUAGE/SYSTEM/predictions.parquet``.
    """
    paths = eot_data.files(folder)
    eot_data.parquet_library()
    systems, missing = load()
    predict(eot_data.turns(folder), systems, out)
    rows = {name: score(out, name, system) for name, system in systems.items()}
    found = {WAITS: waiting(out, next(iter(systems))), **rows}
    return {
        "task": "turn-eot",
        "what": "how soon, or how often too early, an agent would answer with each detector: "
        f"eot-bench, {len(paths)} files",
        "model": model(),
        "systems": found | missing,
    }


def load() -> tuple[dict[str, System], dict[str, dict[str, str]]]:
    """Return what could be loaded, and a row that says why for what could not."""
    found, missing = {OURS: ours()}, {}
    try:
        found[SMART] = smart()
    except MISSING as error:
        missing[SMART] = {"missing": turn_systems.reason(SMART, error)}
    return found, missing


def ours() -> System:
    """Return our detector, which reads what a recogniser has; before the first word it is sure."""
    detector = TurnDetector.load("nearvoice")

    def ask(turn: Turn, point: Point) -> float:
        said = eot_bench.heard(turn, point.timestamp)
        if not said:
            return 0.0  # whoever has said nothing has not finished
        messages = [*turn.messages, {"role": "user", "content": said}]
        return detector.predict(messages, turn.language)

    return System(ask)


def smart() -> System:
    """Return smart-turn, which hears the turn up to a moment of the silence.

    Raises:
        ImportError: It is not installed.
    """
    hears = turn_systems.smart(np.zeros(128_000, np.int16))[SMART].ask

    def ask(turn: Turn, point: Point) -> float | None:
        if abs(point.silence_dur - SCORE_POINT) > eot_bench.EPS:
            return None
        pcm, rate = turn.sound()
        heard = resample(pcm[: math.floor(point.timestamp * rate)], rate, 16_000)
        answer: Any = hears(to_float32(heard))
        return float(answer["probability"])

    return System(ask, SCORE_POINT)


# ---- predict ----------------------------------------------------------------------------------


def predict(turns: Iterable[Turn], systems: Mapping[str, System], out: Path) -> None:
    """Ask every system at every moment, and keep what they say instead of what others said."""
    for old in out.glob("*/*/predictions.parquet"):
        old.unlink()
    said: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    shown = time.monotonic()
    for number, turn in enumerate(turns):
        moments = eot_bench.points(turn)
        for name, system in systems.items():
            answers = [point._replace(p_eot=system.ask(turn, point)) for point in moments]
            said[turn.language, name] += answers
        if time.monotonic() - shown >= _EVERY:
            shown = time.monotonic()
            print(f"turn-eot: {number + 1} turns", file=sys.stderr)
    for (language, name), points in said.items():
        write(_path(out, language, name), points)


def write(path: Path, points: Iterable[Point]) -> None:
    """Write predictions as eot-bench has them."""
    arrow = importlib.import_module("pyarrow")
    columns = dict(zip(Point._fields, zip(*points, strict=True), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    eot_data.parquet_library().write_table(arrow.table(columns), path)


def read(path: Path) -> list[Point]:
    """Return the predictions that were written."""
    rows = eot_data.parquet_library().read_table(path).to_pylist()
    return [Point(**{name: row[name] for name in Point._fields}) for row in rows]


def _path(out: Path, language: str, name: str) -> Path:
    plain = "-".join(name.replace(",", " ").replace(".", " ").split())
    return out / language / plain / "predictions.parquet"


def _kept(out: Path, name: str) -> dict[str, list[Point]]:
    """Return the predictions of a system, by language."""
    pattern = _path(Path(), "*", name).as_posix()
    return {path.parent.parent.name: read(path) for path in sorted(out.glob(pattern))}


# ---- score ------------------------------------------------------------------------------------


def score(out: Path, name: str, system: System) -> dict[str, Any]:
    """Return the figures of a system, of each language and their mean."""
    rows = {}
    for language, points in _kept(out, name).items():
        found = eot_bench.spans(points, system.score_point)
        detector = {
            "auc": _short(eot_bench.auc(found)),
            "average precision": _short(eot_bench.average_precision(found)),
        }
        rows[language] = _row(found, eot_bench.sweep(found, system.score_point)) | detector
    return {MEAN: _mean(rows), **rows}


def waiting(out: Path, name: str) -> dict[str, Any]:
    """Return the figures of waiting always as long, over the silences that a system was asked."""
    rows = {}
    for language, points in _kept(out, name).items():
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
