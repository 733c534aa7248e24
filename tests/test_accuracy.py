import json

import numpy as np
import pytest

from benchmarks import accuracy, data, hearing, peers, systems
from benchmarks.data import HOP, RATE, Segment
from benchmarks.sounds import AMBIENCES
from tests.clips import data_folder, talk


@pytest.fixture
def folder(tmp_path):
    return data_folder(tmp_path)


def loudness(label, asked=None):
    """A system that knows loud from quiet, and counts what it is asked."""

    def probabilities(samples):
        if asked is not None:
            asked.append(len(samples))
        windows = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
        return (np.abs(windows).max(axis=1) * 2).astype(np.float32)

    def decisions(samples):
        return hearing.detect(probabilities(samples), 0.01)

    return peers.System(label, 0.01, probabilities, decisions)


def absent():
    raise ModuleNotFoundError("No module named 'peer'")


@pytest.fixture
def known(monkeypatch):
    found = {"loudness": lambda: loudness("1"), "peer": absent}
    monkeypatch.setattr(peers, "SYSTEMS", found)
    for cache in (accuracy.load, accuracy.labelled):
        cache.cache_clear()
    yield found
    for cache in (accuracy.load, accuracy.labelled):
        cache.cache_clear()


def test_a_system_that_is_always_right_has_perfect_figures(folder, tmp_path, known, capsys):
    result = accuracy.accuracy(folder, tmp_path / "out")
    row = result["systems"]["loudness"]
    assert row["ten"] == {
        **dict.fromkeys(("auc", "ap", "f1", "precision", "recall", "best_f1"), 1.0),
        "fpr": 0.0,
        "best_threshold": row["ten"]["best_threshold"],
    }
    assert row["ami"]["auc"] == 1.0
    assert row["ten 0 dB"]["auc"] < row["ten 20 dB"]["auc"]
    assert row["ten 0 dB by noise"].keys() == set(AMBIENCES)
    events = row["ten events"]
    assert (events["segments"], events["missed"], events["false"]) == (3, 0, 0)
    assert 40 <= events["start_ms_median"] <= 70
    assert 540 <= events["end_ms_median"] <= 600
    assert "predicting" in capsys.readouterr().err


def test_figures_at_a_ratio_are_the_mean_over_the_noises(folder, tmp_path, known):
    row = accuracy.accuracy(folder, tmp_path / "out")["systems"]["loudness"]
    by_noise = [figures["auc"] for figures in row["ten 0 dB by noise"].values()]
    assert row["ten 0 dB"]["auc"] == pytest.approx(np.mean(by_noise), abs=1e-4)


def test_a_result_is_json_and_says_which_data_it_was_made_of(folder, tmp_path, known):
    result = json.loads(json.dumps(accuracy.accuracy(folder, tmp_path / "out")))
    assert result["task"] == "vad"
    assert result["datasets"]["ten"]["clips"] == 2
    assert result["datasets"]["ten"]["speech"] == 0.5
    assert len(result["datasets"]["noises"]["sha256"]) == 64


def test_a_missing_package_is_a_row_that_says_so_and_what_to_do(
    folder, tmp_path, known, monkeypatch
):
    monkeypatch.setattr(systems, "REMEDIES", {"peer": "pip install peer"})
    result = accuracy.accuracy(folder, tmp_path / "out")
    missing = "ModuleNotFoundError: No module named 'peer'; pip install peer"
    assert result["systems"]["peer"] == {"missing": missing}
    assert missing in accuracy.report(result)


def test_without_the_second_set_its_figures_are_left_out_and_the_result_says_why(
    folder, tmp_path, known
):
    (folder / "pyannote").rename(tmp_path / "elsewhere")
    result = accuracy.accuracy(folder, tmp_path / "out")
    assert "ami" not in result["systems"]["loudness"]
    assert "pyannote-audio" in result["datasets"]["ami"]["missing"]
    assert "loudness" in accuracy.report(result)


def test_without_the_first_set_nothing_is_measured(tmp_path, known):
    with pytest.raises(data.MissingDataError, match="TEN-framework"):
        accuracy.accuracy(tmp_path, tmp_path / "out")


def test_a_second_run_asks_no_system_again_and_a_new_version_is_asked(folder, tmp_path, known):
    asked: list[int] = []
    known["loudness"] = lambda: loudness("1", asked)
    first = accuracy.accuracy(folder, tmp_path / "out")
    once = len(asked)
    assert once == 2 * 26 + 1
    assert accuracy.accuracy(folder, tmp_path / "out") == first
    assert len(asked) == once
    accuracy.load.cache_clear()
    known["loudness"] = lambda: loudness("2", asked)
    accuracy.accuracy(folder, tmp_path / "out")
    assert len(asked) == 2 * once


def test_predictions_are_made_anew_for_other_sounds_or_another_recipe(
    folder, tmp_path, known, monkeypatch
):
    asked: list[int] = []
    known["loudness"] = lambda: loudness("1", asked)
    accuracy.accuracy(folder, tmp_path / "out")
    once = len(asked)
    monkeypatch.setattr(accuracy, "MADE", accuracy.MADE + 1)
    accuracy.accuracy(folder, tmp_path / "out")
    assert len(asked) == 2 * once
    with (folder / "ten/testset-audio-01.scv").open("a") as file:
        file.write("\n")
    accuracy.accuracy(folder, tmp_path / "out")
    assert len(asked) == 3 * once


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(folder, tmp_path, known):
    asked: list[int] = []
    known["loudness"] = lambda: loudness("1", asked)
    accuracy.accuracy(folder, tmp_path / "out")
    (lost,) = (tmp_path / "out").rglob("ten hold_music 5 dB.npz")
    lost.unlink()
    del asked[:]
    accuracy.accuracy(folder, tmp_path / "out")
    assert len(asked) == 2


def test_the_report_has_a_line_for_each_system_and_each_table(folder, tmp_path, known):
    lines = accuracy.report(accuracy.accuracy(folder, tmp_path / "out")).splitlines()
    assert sum(line.startswith("loudness") for line in lines) == 2
    assert "AUC" in lines[0].split()
    assert next(line for line in lines if line.startswith("loudness")).split()[1] == "1"


def test_sets_are_named_apart():
    names = [recipe.name for recipe in accuracy.RECIPES]
    assert len(set(names)) == len(names) == 3 + len(AMBIENCES) * len(accuracy.SNRS)


def test_the_events_set_ends_with_silence_so_that_the_last_end_can_come(folder, known):
    clips = accuracy.make(accuracy.EVENTS, folder)
    assert len(clips[0].samples) == len(talk().samples) + accuracy.SILENCE * RATE
    assert not clips[0].samples[-1000:].any()


def test_segments_survive_being_kept(folder, tmp_path, known):
    path = tmp_path / "kept.npz"
    accuracy.run(accuracy.Task(folder, accuracy.EVENTS, {"loudness": path}))
    with np.load(path) as said:
        decided = [Segment(*pair) for pair in said["testset-audio-01"].tolist()]
    sound = accuracy.make(accuracy.EVENTS, folder)[0].samples
    assert decided == known["loudness"]().decisions(sound)
