import json
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import startup, systems, vad
from nearvoice import files

pytestmark = pytest.mark.model


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments, "--results", str(folder)])
    monkeypatch.setattr("logging.disable", lambda level: None)
    benchmarks.main()


def test_a_result_says_what_was_measured_and_on_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, tmp_path, "vad-window", "--rounds", "1")
    result = json.loads((tmp_path / "vad-window.json").read_text())
    assert result["systems"].keys() == {"numpy", "onnxruntime"}
    assert result["machine"].keys() >= {"cpu", "packages", "load", "date", "commit", "threads"}
    assert "vad-window: µs of SileroVAD.step" in capsys.readouterr().out


def test_every_system_has_its_turn_in_the_cost_of_the_plugin_path() -> None:
    result = vad.cpu(files.path("sample.wav"), rounds=1, seconds=1.0)
    assert result["systems"].keys() == systems.VADS.keys()
    peer = result["systems"][systems.PEER]
    assert peer["ratio_to_plugin"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert all(s["cpu_ms_per_audio_s"]["median"] > 0 for s in result["systems"].values())


def test_memory_is_measured_in_a_process_for_each_system() -> None:
    result = vad.memory(files.path("sample.wav"), streams=2)
    assert result["systems"].keys() == systems.VADS.keys()


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
    assert "no task vad-colour; there are vad-cpu" in capsys.readouterr().err


def test_every_figure_of_the_readme_is_in_a_result() -> None:
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text("utf-8")
    cited = (root / "benchmarks/results").glob("*.json")
    results = {path.stem: json.loads(path.read_text()) for path in cited}
    cpu = results["vad-cpu"]["systems"]
    memory = results["vad-memory"]["systems"]
    window = results["vad-window"]["systems"]
    start = results["startup"]["systems"]
    wait = {
        name: figures["import_ms"] + figures["load_ms"] + figures["first_event_ms"]
        for name, figures in start.items()
    }
    ours, peer, native = cpu[systems.OURS], cpu[systems.PEER], cpu[systems.NATIVE]
    for figure in (
        f"| {peer['cpu_ms_per_audio_s']['median']:.1f} "
        f"| {native['cpu_ms_per_audio_s']['median']:.1f} "
        f"| **{ours['cpu_ms_per_audio_s']['median']:.1f}** "
        f"({ours['ratio_to_plugin']['median']:.2f} and {ours['ratio_to_native']['median']:.2f}",
        f"| {peer['inference_us']['median']:.0f} | {native['inference_us']['median']:.0f} "
        f"| **{ours['inference_us']['median']:.0f}** |",
        f"| {window['onnxruntime']['us_per_window']['median']:.0f} (onnxruntime) | "
        f"| **{window['numpy']['us_per_window']['median']:.0f}** |",
        f"| **{memory[systems.PEER]['kib_per_stream']:.0f}** "
        f"| {memory[systems.NATIVE]['kib_per_stream']:.0f} "
        f"| {memory[systems.OURS]['kib_per_stream']:.0f} |",
        f"| {wait[systems.PEER]:.0f} | **{wait[systems.NATIVE]:.0f}** | {wait[systems.OURS]:.0f} |",
        f"| {start[systems.PEER]['mib']} | **{start[systems.NATIVE]['mib']}** "
        f"| {start[systems.OURS]['mib']} |",
        f"| {memory[systems.PEER]['kib_per_stream_after_flush']:.0f} "
        f"| {memory[systems.NATIVE]['kib_per_stream_after_flush']:.0f} "
        f"| **{memory[systems.OURS]['kib_per_stream_after_flush']:.0f}** |",
    ):
        assert figure in readme, figure
