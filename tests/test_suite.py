import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import machine, suite
from benchmarks.data import MissingDataError
from benchmarks.settings import Settings
from benchmarks.store import MissingPredictionError, Store
from benchmarks.suite import Task


class Kettle:
    """A task whose systems count how often they are asked."""

    def __init__(self, cups: int = 2) -> None:
        self.cups = cups
        self.asked = 0
        self.fails_after = cups

    def predict(self, _: Settings, store: Store) -> None:
        store.note({"cups": self.cups})
        for cup in range(self.cups):
            store.json("pot", f"cup {cup}", lambda cup=cup: self._pour(cup))

    def _pour(self, cup: int) -> int:
        if cup >= self.fails_after:
            raise KeyboardInterrupt
        self.asked += 1
        return cup * 10

    @staticmethod
    def score(_: Settings, store: Store) -> dict[str, Any]:
        poured = [store.json("pot", f"cup {cup}") for cup in range(store.about()["cups"])]
        return {"task": "tea", "what": "ml of tea", "systems": {"pot": {"ml": sum(poured)}}}

    def task(self, timed: bool = False) -> Task:
        return Task(self.predict, self.score, timed=timed)


def missing(_: Settings, __: Store) -> None:
    raise MissingDataError("no leaves: buy some")


def run(task: Task, folder: Path, settings: Settings | None = None) -> dict[str, Any]:
    settings = settings or Settings()
    suite.predict({"tea": task}, settings, folder / "predictions", {})
    found = suite.score({"tea": task}, settings, folder / "predictions", folder / "results")
    return found["tea"]


def test_a_result_says_what_was_measured_on_what_and_who_else_was_there(tmp_path: Path) -> None:
    result = run(Kettle().task(), tmp_path)
    assert result == json.loads((tmp_path / "results/tea.json").read_text())
    assert result["systems"] == {"pot": {"ml": 10}}
    known = {"cpu", "flags", "cores", "packages", "weights", "load", "date", "commit", "others"}
    assert result["machine"].keys() >= known
    assert result.keys() >= {"task", "what", "seconds", "busy"}


@pytest.mark.parametrize("timed", [True, False])
def test_a_run_that_was_interrupted_goes_on_where_it_stopped(tmp_path: Path, timed: bool) -> None:
    kettle = Kettle(cups=3)
    kettle.fails_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(kettle.task(timed), tmp_path)
    with pytest.raises(MissingPredictionError, match="of tea were interrupted"):
        suite.score({"tea": kettle.task()}, Settings(), tmp_path / "predictions", tmp_path)
    kettle.fails_after = 3
    assert run(kettle.task(timed), tmp_path)["systems"]["pot"]["ml"] == 30
    assert kettle.asked == 3


def test_times_that_are_whole_are_not_measured_again(tmp_path: Path) -> None:
    kettle = Kettle()
    run(kettle.task(timed=True), tmp_path)
    run(kettle.task(timed=True), tmp_path)
    assert kettle.asked == 2


def test_times_are_measured_anew_on_another_machine_and_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kettle = Kettle()
    run(kettle.task(timed=True), tmp_path)
    run(kettle.task(timed=True), tmp_path, Settings(rounds=7))
    assert kettle.asked == 4
    described = machine.describe()
    monkeypatch.setattr(machine, "describe", lambda: described | {"cpu": "another"})
    run(kettle.task(timed=True), tmp_path, Settings(rounds=7))
    assert kettle.asked == 6
    assert "tea: measured anew, as cpu changed" in capsys.readouterr().err


def test_what_is_not_time_is_kept_from_machine_to_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kettle = Kettle()
    run(kettle.task(), tmp_path)
    described = machine.describe()
    monkeypatch.setattr(machine, "describe", lambda: described | {"cpu": "another"})
    run(kettle.task(), tmp_path)
    assert kettle.asked == 2


def test_a_task_whose_data_are_missing_is_a_result_that_says_so_and_the_others_run(
    tmp_path: Path,
) -> None:
    tasks = {"coffee": Task(missing, Kettle.score), "tea": Kettle().task()}
    skipped = suite.predict(tasks, Settings(), tmp_path, {})
    found = suite.score(tasks, Settings(), tmp_path, tmp_path / "results")
    assert skipped == [("coffee", "no leaves: buy some")]
    assert found["coffee"]["missing"] == "no leaves: buy some"
    said = suite.text(tasks, found)
    assert "coffee: not measured: no leaves: buy some" in said
    assert "tea: ml of tea" in said
    assert "pot   ml 10" in said


def test_data_that_are_there_again_are_predicted(tmp_path: Path) -> None:
    kettle = Kettle()
    suite.predict({"tea": Task(missing, Kettle.score)}, Settings(), tmp_path / "predictions", {})
    assert run(kettle.task(timed=True), tmp_path)["systems"]["pot"]["ml"] == 10


def test_a_score_of_nothing_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingPredictionError, match="run python -m benchmarks predict tea"):
        suite.score({"tea": Kettle().task()}, Settings(), tmp_path, tmp_path / "results")


def test_a_busy_machine_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.Watch, "others", lambda _: {"used": 0.3, "stolen": 0.0})
    result = run(Kettle().task(), tmp_path)
    assert result["busy"] is True
    assert "(the machine was busy)" in suite.text({"tea": Kettle().task()}, {"tea": result})


def test_the_time_that_is_left_is_said_from_the_second_task_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100_000, 60))
    monkeypatch.setattr(suite, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    tasks = {name: Task(missing, Kettle.score) for name in ("a", "b", "c")}
    suite.predict(tasks, Settings(), tmp_path, {"a": 10.0, "b": 10.0, "c": 20.0})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert lines == ["[1/3] a", "[2/3] b, about 3 min left", "[3/3] c, about 2 min left"]


def test_results_are_read_by_task(tmp_path: Path) -> None:
    for name in ("tea", "coffee"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"task": name}))
    assert suite.read(tmp_path).keys() == {"coffee", "tea"}
    assert suite.read(tmp_path, ["tea"]) == {"tea": {"task": "tea"}}
    assert suite.read(tmp_path / "nowhere") == {}
