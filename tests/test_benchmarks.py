import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import data, noise_set, noise_systems, speed, startup, systems, vad, window
from benchmarks.show import show
from benchmarks.turn_figures import LONG
from nearvoice import files
from nearvoice.digest import sha256
from nearvoice.turn import locate

ROOT = Path(__file__).parents[1]
LABELLED = ("vad", "vad-drift", "vad-quiet")
"""Tasks that need labelled speech."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.VARIABLE, raising=False)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments, "--results", str(folder)])
    monkeypatch.setattr("logging.disable", lambda level: None)
    benchmarks.main()


@pytest.mark.model
def test_a_result_says_what_was_measured_and_on_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: (before, 2) for name, (before, _) in window.MODES.items()}
    monkeypatch.setattr(window, "MODES", few)
    run(monkeypatch, tmp_path, "vad-window", "--rounds", "1")
    result = json.loads((tmp_path / "vad-window.json").read_text())
    paced = {f"{name}, paced" for name in systems.VADS}
    assert paced <= result["systems"].keys()
    assert result["machine"].keys() >= {"cpu", "packages", "load", "date", "commit", "threads"}
    assert "vad-window: µs of one window" in capsys.readouterr().out


@pytest.mark.model
def test_memory_is_measured_in_a_process_for_each_system() -> None:
    result = vad.memory(files.path("sample.wav"), streams=2)
    assert result["systems"].keys() == systems.VADS.keys()


@pytest.mark.model
def test_startup_is_measured_for_each_way_to_import_and_load() -> None:
    result = startup.startup(rounds=1)
    assert result["systems"].keys() == startup.STEPS.keys()
    figures = {"import_ms", "load_ms", "first_event_ms", "mib"}
    assert all(found.keys() == figures for found in result["systems"].values())


def test_an_unknown_task_is_refused_with_the_choices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "vad-colour")
    assert "no task vad-colour; there are vad, vad-drift" in capsys.readouterr().err


def test_without_data_the_tasks_that_need_it_are_skipped_with_a_line_that_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needy = {name: benchmarks.TASKS[name] for name in LABELLED}
    tea = benchmarks.Task(lambda _: {"what": "tea", "systems": {"pot": {"cups": 2}}})
    monkeypatch.setattr(benchmarks, "TASKS", {**needy, "tea": tea})
    run(monkeypatch, tmp_path)
    said = capsys.readouterr().out
    for name in needy:
        assert f"\n{name}: skipped: name the data folder: --data, or set NEARVOICE_DATA" in said
    assert "cups 2" in said
    assert [path.name for path in tmp_path.iterdir()] == ["tea.json"]


@pytest.mark.parametrize("name", LABELLED)
def test_a_task_that_is_named_and_has_no_data_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    with pytest.raises(SystemExit, match=f"{name}: there is no data folder"):
        run(monkeypatch, tmp_path, name, "--data", str(tmp_path / "nowhere"))


def test_a_task_with_a_report_of_its_own_is_printed_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tea = benchmarks.Task(lambda _: {"what": "tea"}, lambda result: f"a pot of {result['what']}")
    monkeypatch.setattr(benchmarks, "TASKS", {"tea": tea})
    run(monkeypatch, tmp_path, "tea")
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


# ---- the README -------------------------------------------------------------------------------

COLUMNS = {
    "CPU / plugin": ("vad-cpu", f"{{}}, {speed.ROOM}", "ratio_to_plugin", "median"),
    "CPU / native": ("vad-cpu", f"{{}}, {speed.ROOM}", "ratio_to_native", "median"),
    "µs a window": ("vad-window", "{}, hot", "us_per_window", "median"),
    "MiB a job": ("worker-memory", "{}, after a call", "above_no_vad_mib", "median"),
    "AUC": ("vad", "{}", "ten", "auc"),
}
"""Heading of a column -> the result, its row for a system, and where in that the figure is."""
SUPPRESSORS = {
    "PESQ": ("noise", "{}", "mix", "pesq", "mean"),
    "STOI": ("noise", "{}", "mix", "stoi", "mean"),
    "clean PESQ": ("noise", "{}", "clean", "pesq", "mean"),
    "false alarms": ("noise", "{}", "mix", "false_alarm", "mean"),
    "talker": ("noise", "{}", noise_set.TALKER, "false_alarm", "mean"),
    "words wrong": ("noise-words", "{}", "wer all"),
    "ms late": ("noise", "{}", "mix", "delay_ms", "median"),
    "µs for 10 ms": ("noise-cpu", "{}", "frames of 50 ms", "process_us_per_10ms", "median"),
    "MiB a job": ("noise-memory", "{}, after a call", "above_no_suppression_mib", "median"),
}
"""The same for the table of noise suppressors."""
COMPILED = {name: f"{name} numba" for name in (noise_systems.NC, noise_systems.BVC)}
"""What ours are called where kernels are compared."""


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


def expected(
    results: dict[str, Any],
    heading: str,
    system: str,
    cell: str,
    columns: dict[str, tuple[str, ...]] = COLUMNS,
) -> str:
    """Return what a cell must say: the figure with as many decimals; nothing if there is none."""
    task, row, *path = columns[heading]
    rows = results[task]["systems"]
    figure = rows.get(row.format(system)) or rows.get(row.format(COMPILED.get(system)), {})
    for key in path:
        figure = figure.get(key, {}) if isinstance(figure, dict) else {}
    return f"{figure:.{len(cell.partition('.')[2])}f}" if figure != {} else ""


def test_a_cell_of_the_readme_is_held_against_its_figure() -> None:
    page = "# A\n\n| system | AUC |\n|---|---|\n| **ours** | **0.97** |\n| none | |\n\nMore."
    assert table(page) == {"ours": {"AUC": "0.97"}, "none": {"AUC": ""}}
    results = {"vad": {"systems": {"ours": {"ten": {"auc": 0.9664}}, "peer": {"missing": "it"}}}}
    assert expected(results, "AUC", "ours", "0.98") == "0.97"
    assert expected(results, "AUC", "ours", "0.966") == "0.966"
    assert expected(results, "AUC", "peer", "0.9") == expected(results, "AUC", "none", "") == ""


def test_every_figure_of_the_readme_is_in_a_result() -> None:
    cited = (ROOT / "benchmarks/results").glob("*.json")
    results = {path.stem: json.loads(path.read_text()) for path in cited}
    rows = table((ROOT / "README.md").read_text("utf-8"))
    assert rows.keys() >= systems.VADS.keys()
    for system, cells in rows.items():
        assert cells.keys() == COLUMNS.keys()
        for heading, cell in cells.items():
            assert cell == expected(results, heading, system, cell), (system, heading)


def test_every_figure_of_the_noise_suppressors_is_in_a_result() -> None:
    cited = (ROOT / "benchmarks/results").glob("noise*.json")
    results = {path.stem: json.loads(path.read_text()) for path in cited}
    rows = table((ROOT / "README.md").read_text("utf-8"), "noise suppression")
    assert rows.keys() == noise_systems.SYSTEMS.keys()
    for system, cells in rows.items():
        assert cells.keys() == SUPPRESSORS.keys()
        for heading, cell in cells.items():
            figure = expected(results, heading, system, cell, SUPPRESSORS)
            assert cell == figure, (system, heading)


TURN_TASKS = SPEED, WORKER, STARTUP = "turn-speed", "turn-worker", "turn-startup"
DETECTORS = {
    "nearvoice": {SPEED: "nearvoice", WORKER: 'nearvoice executor="thread"', STARTUP: "nearvoice"},
    'nearvoice, executor="process"': {WORKER: 'nearvoice executor="process"'},
    "livekit-plugins-turn-detector, 0.5B": dict.fromkeys(
        (SPEED, WORKER, STARTUP), "Qwen2.5-0.5B shape, livekit-plugins-turn-detector"
    ),
    "livekit inference.TurnDetector v1-mini": dict.fromkeys(
        (SPEED, WORKER, STARTUP), "livekit inference.TurnDetector v1-mini"
    ),
    "smart-turn v3.2": dict.fromkeys((SPEED, STARTUP), "smart-turn v3.2"),
}
"""Row of the README -> task -> row of its result."""
TURN_COLUMNS = {
    "ms for 128 tokens": [(SPEED, "128 tokens", "wall_ms"), (SPEED, "sound", "wall_ms")],
    "4 more tokens": [(SPEED, "124 + 4 tokens", "wall_ms")],
    "8 calls at once, p99": [(WORKER, "8 calls", "p99_ms")],
    "MiB a job": [(WORKER, "memory", "above_none_mib", "median")],
    "and for all": [(WORKER, "memory", "inference_process_mib", "median")],
    "ms to load": [(STARTUP, "cold_ms", "median")],
}
"""Heading -> where its figure is, the first that there is."""


def turn_figure(results: dict[str, Any], system: str, heading: str) -> float | None:
    for task, *path in TURN_COLUMNS[heading]:
        figure = results[task]["systems"].get(DETECTORS[system].get(task), {})
        for key in path:
            figure = figure.get(key, {})
        if figure != {}:
            return float(figure)
    return None


def test_every_figure_of_the_turn_detectors_is_in_a_result() -> None:
    folder = ROOT / "benchmarks/results"
    results = {name: json.loads((folder / f"{name}.json").read_text()) for name in TURN_TASKS}
    rows = table((ROOT / "README.md").read_text("utf-8"), "turn detector")
    assert rows.keys() == DETECTORS.keys()
    for system, cells in rows.items():
        assert cells.keys() == TURN_COLUMNS.keys()
        for heading, cell in cells.items():
            figure = turn_figure(results, system, heading)
            wanted = "" if figure is None else f"{figure:.{len(cell.partition('.')[2])}f}"
            assert cell == wanted, (system, heading)


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
