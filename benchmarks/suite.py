"""The three stages of every task: predict, then score, then report.

``predict`` alone runs systems, and keeps what they said in a :class:`Store`. ``score`` reads
that, and writes a result: a JSON file with the figures, what they were measured with and on.
Reports read results and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import machine
from .data import MissingDataError
from .settings import Settings
from .show import show
from .store import MissingPredictionError, Store

Result = dict[str, Any]


class Task(NamedTuple):
    """Something to measure."""

    predict: Callable[[Settings, Store], None]
    """Asks the systems, and keeps what they say."""
    score: Callable[[Settings, Store], Result]
    """Makes figures of what was kept, and of labels: "task", "what", "systems" and more."""
    report: Callable[[Result], str] = show
    """Result -> text to print."""
    timed: bool = False
    """Whether predictions are times, which are not used again on another machine, with other
    packages, settings or code."""
    quick: bool = True
    """Whether it has a place in a quick run."""
    named: bool = False
    """Whether it runs only when it is named: it takes long, or the whole machine."""


class Skipped(NamedTuple):
    """A task that could not be run."""

    task: str
    why: str


# ---- predict ----------------------------------------------------------------------------------


def predict(
    tasks: Mapping[str, Task],
    settings: Settings,
    folder: Path,
    expected: Mapping[str, float],
) -> list[Skipped]:
    """Run the systems of the tasks, and keep what they say in ``folder``; return what cannot run.

    A task that was run before, with the same settings, is only filled up.

    Args:
        tasks: Name -> task, in the order in which they run.
        settings: Of all.
        folder: Of the predictions: a folder for each task.
        expected: Task -> seconds that it took somewhere, for the time that is left.
    """
    skipped = []
    left = _TimeLeft(tasks, expected)
    for place, (name, task) in enumerate(tasks.items(), start=1):
        print(f"[{place}/{len(tasks)}] {name}{left}", file=sys.stderr)
        store = Store(folder / name)
        try:
            _predict(name, task, settings, store)
        except (MissingDataError, ImportError) as error:
            skipped.append(Skipped(name, str(error)))
            _keep(store, {"missing": str(error), "machine": machine.describe()})
        left.done(name)
    return skipped


def _predict(name: str, task: Task, settings: Settings, store: Store) -> None:
    described = machine.describe()
    conditions = _conditions(described, settings)
    before = _run(store)
    if task.timed and before.get("conditions") not in (None, conditions):
        print(f"{name}: measured anew, as {_changed(before, conditions)} changed", file=sys.stderr)
        store.forget()
        before = {}
    if before.get("complete") and task.timed:
        return
    run = {"machine": described, "conditions": conditions}
    _keep(store, run | {"complete": False})
    watch = machine.Watch()
    task.predict(settings, store)
    seconds = round(watch.seconds + before.get("seconds", 0.0), 1)
    _keep(store, run | {"complete": True, "seconds": seconds, "others": watch.others()})


def _conditions(described: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return what times depend on."""
    keys = ("cpu", "flags", "cores", "python", "packages", "threads", "commit")
    asked = {name: str(value) for name, value in vars(settings).items() if name != "jobs"}
    return {key: described[key] for key in keys} | asked


def _changed(before: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    old = before["conditions"]
    return ", ".join(key for key in conditions if old.get(key) != conditions[key])


def _keep(store: Store, run: Result) -> None:
    store.folder.mkdir(parents=True, exist_ok=True)
    (store.folder / "run.json").write_text(json.dumps(run, indent=2) + "\n")


def _run(store: Store) -> Result:
    path = store.folder / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


class _TimeLeft:
    """How long the tasks will go on, by how long they took elsewhere."""

    def __init__(self, tasks: Mapping[str, Task], expected: Mapping[str, float]) -> None:
        usual = sorted(expected.values())
        typical = usual[len(usual) // 2] if usual else 60.0
        self._left = {name: expected.get(name, typical) for name in tasks}
        self._done = 0.0
        self._began = time.monotonic()

    def done(self, name: str) -> None:
        """Say that a task is over."""
        self._done += self._left.pop(name)

    def __str__(self) -> str:
        if not self._done:
            return ""
        pace = (time.monotonic() - self._began) / self._done
        return f", about {max(1, round(sum(self._left.values()) * pace / 60))} min left"


# ---- score ------------------------------------------------------------------------------------


def score(
    tasks: Mapping[str, Task], settings: Settings, folder: Path, results: Path
) -> dict[str, Result]:
    """Write a result for each task that has predictions, and return them.

    Args:
        tasks: Name -> task.
        settings: Those that were predicted with.
        folder: Of the predictions.
        results: Where JSON files are written.

    Raises:
        MissingPredictionError: A task has no predictions, or not all of them.
    """
    found = {}
    for name, task in tasks.items():
        found[name] = _score(name, task, settings, Store(folder / name))
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(found[name], indent=2) + "\n")
    return found


def _score(name: str, task: Task, settings: Settings, store: Store) -> Result:
    run = _run(store)
    if "missing" in run:
        return {"task": name, "missing": run["missing"], "systems": {}, "machine": run["machine"]}
    if not run.get("complete"):
        state = "were interrupted" if run else "are not there"
        raise MissingPredictionError(
            f"the predictions of {name} {state}: run python -m benchmarks predict {name}"
        )
    facts = {"seconds": run["seconds"], "machine": run["machine"] | {"others": run["others"]}}
    return {**task.score(settings, store), **facts, "busy": machine.busy(run["others"])}


# ---- report -----------------------------------------------------------------------------------


def text(tasks: Mapping[str, Task], found: Mapping[str, Result]) -> str:
    """Return results as text: a table for each."""
    return "\n".join(_text(name, tasks[name], result) for name, result in found.items())


def _text(name: str, task: Task, result: Result) -> str:
    if "missing" in result:
        return f"\n{name}: not measured: {result['missing']}"
    mark = " (the machine was busy)" if result["busy"] else ""
    return f"\n{name}: {result['what']}{mark}\n{task.report(result)}"


def read(results: Path, names: Sequence[str] | None = None) -> dict[str, Result]:
    """Return the results of a folder, by task.

    Args:
        results: The folder.
        names: Tasks; None for all that are there.
    """
    paths = sorted(results.glob("*.json"))
    wanted = [path for path in paths if names is None or path.stem in names]
    return {path.stem: json.loads(path.read_text("utf-8")) for path in wanted}
