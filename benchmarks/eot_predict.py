"""eot-bench's turns in, what systems say at each moment of a silence kept.

What is kept is also written as eot-bench's own tools read it:
``eot-bench/LANGUAGE/SYSTEM/predictions.parquet`` beside it.
"""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import resample, to_float32
from nearvoice.turn import TurnDetector, locate

from . import data, eot_bench, eot_data, processes, turn_scores, turn_systems
from .eot_bench import Point
from .eot_data import Turn
from .settings import Settings
from .store import Arrays, Store
from .systems import MISSING
from .turn_accuracy import model

OURS, SMART = f"nearvoice, words {eot_bench.LAG} s late", turn_systems.SMART
SCORE_POINT = 0.2
"""Seconds of silence after which smart-turn is asked, once."""
TOGETHER = 50
"""Turns of a file whose predictions are kept together."""
QUICK = 10
"""Turns of each file in a quick run."""
MADE = 1
"""Higher each time systems are asked otherwise: predictions of before are not used then."""

Probability = Callable[[Turn, Point], "float | None"]


class System(NamedTuple):
    """What is asked at a moment of a turn."""

    version: str
    ask: Probability
    """None where it says nothing."""
    score_point: float | None = None
    """As :func:`benchmarks.eot_bench.spans` takes it."""
    forget: Callable[[], object] = lambda: None
    """Has it forget all that it was asked: what it says of a turn is the same whatever was before,
    though an int8 network says slightly other things of the same words, by what it goes on from."""


class Item(NamedTuple):
    """Some turns of a file."""

    name: str
    first: int
    last: int
    """One behind them."""


class Unit(NamedTuple):
    """What a process is given."""

    folder: Path
    """Of the store."""
    file: Path
    items: Sequence[Item]
    labels: Mapping[str, str]
    """System -> its name in the store."""


# ---- systems ----------------------------------------------------------------------------------


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

    return System(turn_scores.of_bundle(locate("nearvoice")), ask, forget=detector.reset)


def smart() -> System:
    """Return smart-turn, which hears the turn up to a moment of the silence.

    Raises:
        ImportError: It is not installed.
    """
    loaded = turn_systems.smart(np.zeros(128_000, np.int16))[SMART]

    def ask(turn: Turn, point: Point) -> float | None:
        if abs(point.silence_dur - SCORE_POINT) > eot_bench.EPS:
            return None
        pcm, rate = turn.sound()
        heard = resample(pcm[: math.floor(point.timestamp * rate)], rate, 16_000)
        answer: Any = loaded.ask(to_float32(heard))
        return float(answer["probability"])

    return System(loaded.version, ask, SCORE_POINT)


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Ask every system at every moment of every turn, in processes.

    Raises:
        MissingDataError: The data set is in no folder that is named, nor in the Hub's cache.
        ImportError: pyarrow is not installed.
    """
    paths = eot_data.files(settings.eot)
    eot_data.parquet_library()
    systems, missing = load()
    labels = {name: f"{name}, {system.version}" for name, system in systems.items()}
    of_file = {path: list(items(path, settings.quick)) for path in paths}
    about = {
        "model": model(),
        "files": len(paths),
        "dataset": {
            "n": sum(item.last - item.first for own in of_file.values() for item in own),
            "sha256": data.digest(paths),
        },
        "items": [item.name for own in of_file.values() for item in own],
        "systems": {
            name: {"label": labels[name], "score point": system.score_point}
            for name, system in systems.items()
        },
        "missing": missing,
    }
    store.note(about)
    units = [Unit(store.folder, path, own, labels) for path, own in of_file.items()]
    processes.each(run, units, settings.jobs, "turn-eot")
    _export(store, about)


def items(path: Path, quick: bool) -> Iterator[Item]:
    """Yield the parts of a file that are predicted, one after the other."""
    end = min(eot_data.count(path), QUICK) if quick else eot_data.count(path)
    digest = data.digest([path])[:12]
    for first in range(0, end, TOGETHER):
        last = min(first + TOGETHER, end)
        yield Item(f"{digest} {first}-{last}, {MADE}", first, last)


def run(unit: Unit) -> None:
    """Ask the systems about the turns of a file that they have not been asked about."""
    store = Store(unit.folder)
    wanted = [
        (item, name, label)
        for item in unit.items
        for name, label in unit.labels.items()
        if not store.path(label, item.name, "npz").exists()
    ]
    systems = load()[0] if wanted else {}
    for item, name, label in wanted:
        said = _said(systems[name], eot_data.turns(unit.file, item.first, item.last))
        store.arrays(label, item.name, lambda said=said: said)  # type: ignore[misc]


def _said(system: System, turns: Iterable[Turn]) -> dict[str, list[Any]]:
    """Return what a system says, as columns of eot-bench; NaN where it says nothing."""
    points = []
    for turn in turns:
        system.forget()
        points += [
            point._replace(p_eot=system.ask(turn, point)) for point in eot_bench.points(turn)
        ]
    columns = zip(*points, strict=True) if points else ([] for _ in Point._fields)
    found = {name: list(column) for name, column in zip(Point._fields, columns, strict=True)}
    found["p_eot"] = [math.nan if p is None else p for p in found["p_eot"]]
    return found


def _export(store: Store, about: Mapping[str, Any]) -> None:
    for name, known in about["systems"].items():
        for language, points in kept(store, known["label"], about["items"]).items():
            plain = "-".join(name.replace(",", " ").replace(".", " ").split())
            write(store.folder / "eot-bench" / language / plain / "predictions.parquet", points)


def write(path: Path, points: Iterable[Point]) -> None:
    """Write predictions as eot-bench has them."""
    arrow = importlib.import_module("pyarrow")
    columns = dict(zip(Point._fields, zip(*points, strict=True), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    eot_data.parquet_library().write_table(arrow.table(columns), path)


def kept(store: Store, label: str, names: Iterable[str]) -> dict[str, list[Point]]:
    """Return the predictions of a system, by language.

    Raises:
        MissingPredictionError: Some are not there.
    """
    found: defaultdict[str, list[Point]] = defaultdict(list)
    for name in names:
        for point in _points(store.arrays(label, name)):
            found[point.language].append(point)
    return dict(sorted(found.items()))


def _points(columns: Arrays) -> Iterator[Point]:
    for row in zip(*(columns[name].tolist() for name in Point._fields), strict=True):
        point = Point(*row)
        silent = point.p_eot is None or math.isnan(point.p_eot)
        yield point._replace(p_eot=None) if silent else point
