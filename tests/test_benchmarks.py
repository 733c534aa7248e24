import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import data, speed, startup, systems, vad, window, worker
from benchmarks.settings import Settings
from benchmarks.show import show
from benchmarks.store import Store
from benchmarks.suite import Task
from benchmarks.tasks import GROUPS, TASKS
from benchmarks.turn_figures import LONG
from nearvoice.digest import sha256
from nearvoice.turn import locate
from tests.measuring import measured

ROOT = Path(__file__).parents[1]
LABELLED = ("vad", "vad-drift", "vad-quiet", "noise", "noise-level", "noise-words", "turn", "call")
"""Tasks that need a data set."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(data.VARIABLE, raising=False)
    monkeypatch.setattr(data, "place", lambda path=None: path or tmp_path / "no-data")
    monkeypatch.setattr("logging.disable", lambda level: None)


def pot(cups: int = 2) -> Task:
    """Return a task that needs nothing."""

    def predict(_: Settings, store: Store) -> None:
        store.json("pot", "cups", lambda: cups)

    def score(_: Settings, store: Store) -> dict[str, Any]:
        row = {"cups": store.json("pot", "cups")}
        return {"task": "tea", "what": "how much tea", "systems": {"pot": row}}

    return Task(predict, score)


@pytest.mark.model
def test_every_stage_runs_and_the_result_says_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: (before, 2) for name, (before, _) in window.MODES.items()}
    monkeypatch.setattr(window, "MODES", few)
    benchmarks.main(["run", "vad-window", "--rounds", "1", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "results/vad-window.json").read_text())
    paced = {f"{name}, paced" for name in systems.VADS}
    assert paced <= result["systems"].keys()
    assert result["rounds"] == 1
    said = capsys.readouterr().out
    assert "vad-window: µs of one window" in said
    assert "nearvoice numba" in (tmp_path / "benchmarks.md").read_text("utf-8")
    assert (tmp_path / "benchmarks.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.model
def test_startup_is_measured_for_each_way_to_import_and_load(tmp_path: Path) -> None:
    settings, store = Settings(rounds=1), Store(tmp_path / "startup")
    startup.predict(settings, store)
    rows = startup.score(settings, store)["systems"]
    assert rows.keys() == startup.STEPS.keys()
    figures = {"import_ms", "load_ms", "first_event_ms", "mib"}
    assert all(row.keys() == figures for row in rows.values() if "missing" not in row)


@pytest.mark.model
@pytest.mark.parametrize("task", [startup, vad, worker, window, speed])
def test_the_official_plugin_can_be_missing(
    task: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> Any:
        raise ModuleNotFoundError("No module named 'livekit.plugins.silero'")

    native = systems.NATIVE
    monkeypatch.setattr(systems, "VADS", {systems.PEER: absent, native: systems.VADS[native]})
    monkeypatch.setattr(window, "NETWORKS", {systems.PEER: absent, native: window.NETWORKS[native]})
    monkeypatch.setattr(window, "MODES", {"hot": (lambda: None, 5)})
    monkeypatch.setattr(worker, "QUICK", worker.Load(1, 1, 1.0))
    monkeypatch.setattr(vad, "QUICK_STREAMS", 2)
    monkeypatch.setattr(speed, "QUICK", (speed.ROOM,))
    monkeypatch.setattr(speed, "SECONDS", 1.0)
    rows = measured(task, tmp_path, rounds=1, quick=True)["systems"]
    assert "pip install livekit-plugins-silero" in rows[systems.PEER]["missing"]
    assert any(name.startswith(native) for name in rows)
    json.dumps(rows)


def test_a_stage_reads_what_the_one_before_it_wrote_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmarks, "TASKS", {"tea": pot()})
    benchmarks.main(["predict", "--out", str(tmp_path)])
    assert not (tmp_path / "results").exists()
    (kept,) = (tmp_path / "predictions/tea").rglob("cups.json")
    kept.write_text("7")
    benchmarks.main(["score", "--out", str(tmp_path), "--results", str(tmp_path / "there")])
    assert "cups 7" in capsys.readouterr().out
    assert json.loads((tmp_path / "there/tea.json").read_text())["systems"]["pot"] == {"cups": 7}


def test_a_score_of_what_was_not_predicted_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run python -m benchmarks predict startup"):
        benchmarks.main(["score", "startup", "--out", str(tmp_path)])


def test_a_group_stands_for_its_tasks() -> None:
    for name, tasks in GROUPS.items():
        assert name not in TASKS
        assert set(tasks) <= TASKS.keys()
    asked = benchmarks._parser().parse_args(["run", "start", "vad"])
    assert benchmarks._tasks(asked).keys() == {"vad", "startup", "turn-startup"}


def test_a_quick_run_leaves_out_what_cannot_be_quick_unless_it_is_named() -> None:
    parse = benchmarks._parser().parse_args
    quick = benchmarks._tasks(parse(["run", "--quick"]))
    assert "turn-worker" not in quick
    assert quick.keys() >= {"vad", "noise", "startup", "turn-speed"}
    assert benchmarks._tasks(parse(["run", "--quick", "turn-worker"])).keys() == {"turn-worker"}
    usual = {name for name, task in TASKS.items() if not task.named}
    assert benchmarks._tasks(parse(["run"])).keys() == usual
    assert benchmarks._tasks(parse(["run", "load"])).keys() == {"load"}


@pytest.mark.parametrize("what", ["task", "set"])
def test_what_is_not_known_is_refused_with_the_choices(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, first = {"task": ("predict", "vad, vad-drift"), "set": ("data", "ten, ami")}[what]
    with pytest.raises(SystemExit):
        benchmarks.main([stage, "colour"])
    assert f"no {what} colour; there are {first}" in capsys.readouterr().err


def test_without_data_the_tasks_that_need_it_are_rows_that_say_so_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needy = {name: TASKS[name] for name in LABELLED}
    monkeypatch.setattr(benchmarks, "TASKS", {**needy, "tea": pot()})
    benchmarks.main(["run", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    page = (tmp_path / "benchmarks.md").read_text("utf-8")
    for name in needy:
        assert f"\n{name}: not measured: there is no data folder" in said
        assert "missing" in json.loads((tmp_path / f"results/{name}.json").read_text())
    assert "not measured: there is no data folder" in page
    assert "cups 2" in said


@pytest.mark.parametrize("name", LABELLED)
def test_a_task_that_is_named_and_has_no_data_fails(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main(["predict", name, "--data", str(tmp_path / "nowhere")])
    assert f"{name}: skipped: there is no data folder" in capsys.readouterr().out


def test_sets_that_cannot_be_had_are_said_and_the_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.fetch.fetch", lambda *_: {"ten": "no route to host"})
    benchmarks.main(["data", "ten", "ami", "--data", str(tmp_path)])
    said = capsys.readouterr().out
    assert "data: no ten: no route to host" in said
    assert f"data: 1 sets in {tmp_path}" in said


def test_a_task_with_a_report_of_its_own_is_printed_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tea = pot()._replace(report=lambda result: f"a pot of {result['task']}")
    monkeypatch.setattr(benchmarks, "TASKS", {"tea": tea})
    benchmarks.main(["run", "tea", "--out", str(tmp_path)])
    assert "a pot of tea" in capsys.readouterr().out


def test_rows_are_shown_however_deep_their_figures_lie() -> None:
    spread = {"median": 2.0, "min": 1.0, "max": 30.5}
    rows = {
        "flat": {"ms": 1.25, "windows": 3},
        "deep": {"16000": {"worst": {"recall": [0.1, "hold music"], "late": None}, "us": spread}},
        "absent": {"missing": "No module named 'peer'"},
    }
    assert show({"systems": rows}).splitlines() == [
        "  flat     ms 1.25   windows 3",
        "  deep     16000, worst, recall [0.1, 'hold music']   16000, worst, late -   "
        "16000, us 2 (1 to 30.5)",
        "  absent   missing No module named 'peer'",
    ]
    assert show({"systems": {}}) == ""


# ---- the documents ----------------------------------------------------------------------------


def table(page: str, first: str = "system") -> dict[str, dict[str, str]]:
    """Return system -> heading -> cell of the one table with this first heading."""
    lines = page.splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.startswith(f"| {first} |")]
    _, *headings = _cells(lines[start])
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = _cells(line)
        rows[name] = dict(zip(headings, cells, strict=True))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]


LANGUAGE_COLUMNS = {
    "pairs": ("nearvoice", "n"),
    "AUC": ("nearvoice", "auc"),
    "TNR .95": ("nearvoice", "tnr at .95"),
    "TNR .993": ("nearvoice", "tnr at .993"),
    "TPR": ("nearvoice", "shipped", "tpr", "value"),
    "TNR": ("nearvoice", "shipped", "tnr", "value"),
    "words, AUC": ("counting words", "auc"),
    "words, TNR .95": ("counting words", "tnr at .95"),
    "long": ("nearvoice", LONG, "auc"),
    "words, long": ("counting words", LONG, "auc"),
}
"""Heading of the model's page -> system, and where in its row of a language the figure is."""


def test_every_figure_of_the_model_is_in_a_result_which_is_of_this_model() -> None:
    result = json.loads((ROOT / "benchmarks/results/turn.json").read_text())
    bundle = locate("nearvoice")
    assert result["model"]["sha256"] == sha256(bundle.model)
    rows = table((ROOT / "docs/turn-model.md").read_text("utf-8"), "language")
    assert rows.keys() == {*bundle.languages, "mean", "mean without en"} | {
        language for language in result["systems"]["nearvoice"] if len(language) == 2
    }
    for language, cells in rows.items():
        assert cells.keys() == LANGUAGE_COLUMNS.keys()
        for heading, cell in cells.items():
            system, *path = LANGUAGE_COLUMNS[heading]
            figure = result["systems"][system][language]
            for key in path:
                figure = figure.get(key, {}) if isinstance(figure, dict) else {}
            wanted = "" if figure == {} else f"{figure:.{len(cell.partition('.')[2])}f}"
            assert cell == wanted, (language, heading)


HARD_COLUMNS = {
    "pairs": ("pairs",),
    "shipped": ("shipped", "accuracy", "value"),
    "TPR": ("shipped", "tpr", "value"),
    "TNR": ("shipped", "tnr", "value"),
    "for .95": ("dev 0.95", "accuracy", "value"),
    "at .5": ("0.5", "accuracy", "value"),
    "order": ("pair order", "value"),
}


@pytest.mark.parametrize("first", ["hard set", "phenomenon"])
def test_every_figure_of_the_hard_set_is_in_its_result(first: str) -> None:
    result = json.loads((ROOT / "benchmarks/results/turn-hard.json").read_text())
    assert result["model"]["sha256"] == sha256(locate("nearvoice").model)
    rows = table((ROOT / "docs/turn-model.md").read_text("utf-8"), first)
    ours = result["systems"]["nearvoice"]
    for name, cells in rows.items():
        for heading, cell in cells.items():
            figure = (ours if first == "hard set" else ours["by phenomenon"])[name]
            for key in HARD_COLUMNS[heading]:
                figure = figure[key]
            assert cell == f"{figure:.{len(cell.partition('.')[2])}f}", (name, heading)
