import json

import numpy as np
import pytest

from benchmarks import accuracy, data, hearing, peers, systems
from benchmarks.data import HOP, RATE, Segment
from benchmarks.settings import Settings
from benchmarks.sounds import AMBIENCES
from benchmarks.store import Store
from tests.clips import data_folder, talk
from tests.measuring import measured


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
    result = measured(accuracy, tmp_path / "out", folder=folder)
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
    row = measured(accuracy, tmp_path / "out", folder=folder)["systems"]["loudness"]
    by_noise = [figures["auc"] for figures in row["ten 0 dB by noise"].values()]
    assert row["ten 0 dB"]["auc"] == pytest.approx(np.mean(by_noise), abs=1e-4)


def test_a_result_is_json_and_says_which_data_it_was_made_of(folder, tmp_path, known):
    result = json.loads(json.dumps(measured(accuracy, tmp_path / "out", folder=folder)))
    assert result["task"] == "vad"
    assert result["datasets"]["ten"]["clips"] == 2
    assert result["datasets"]["ten"]["speech"] == 0.5
    assert len(result["datasets"]["noises"]["sha256"]) == 64


def test_a_missing_package_is_a_row_that_says_so_and_what_to_do(
    folder, tmp_path, known, monkeypatch
):
    monkeypatch.setattr(systems, "REMEDIES", {"peer": "pip install peer"})
    result = measured(accuracy, tmp_path / "out", folder=folder)
    missing = "ModuleNotFoundError: No module named 'peer'; pip install peer"
    assert result["systems"]["peer"] == {"missing": missing}
    assert missing in accuracy.report(result)


def test_without_the_second_set_its_figures_are_left_out_and_the_result_says_why(
    folder, tmp_path, known
):
    (folder / "pyannote").rename(tmp_path / "elsewhere")
    result = measured(accuracy, tmp_path / "out", folder=folder)
    assert "ami" not in result["systems"]["loudness"]
    assert "pyannote-audio" in result["datasets"]["ami"]["missing"]
    assert "loudness" in accuracy.report(result)


def test_without_the_first_set_nothing_is_measured(tmp_path, known):
    with pytest.raises(data.MissingDataError, match="TEN-framework"):
        measured(accuracy, tmp_path / "out", folder=tmp_path)


def test_a_second_run_asks_no_system_again_and_a_new_version_is_asked(folder, tmp_path, known):
    asked: list[int] = []
    known["loudness"] = lambda: loudness("1", asked)
    first = measured(accuracy, tmp_path / "out", folder=folder)
    once = len(asked)
    assert once == 2 * 26 + 1
    assert measured(accuracy, tmp_path / "out", folder=folder) == first
    assert len(asked) == once
    accuracy.load.cache_clear()
    known["loudness"] = lambda: loudness("2", asked)
    measured(accuracy, tmp_path / "out", folder=folder)
    assert len(asked) == 2 * once


def test_predictions_are_made_anew_for_other_sounds_or_another_recipe(
    folder, tmp_path, known, monkeypatch
):
    asked: list[int] = []
    known["loudness"] = lambda: loudness("1", asked)
    measured(accuracy, tmp_path / "out", folder=folder)
    once = len(asked)
    monkeypatch.setattr(accuracy, "MADE", accuracy.MADE + 1)
    measured(accuracy, tmp_path / "out", folder=folder)
    assert len(asked) == 2 * once
    with (folder / "ten/testset-audio-01.scv").open("a") as file:
        file.write("\n")
    measured(accuracy, tmp_path / "out", folder=folder)
    assert len(asked) == 3 * once


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(folder, tmp_path, known):
    asked: list[int] = []
    known["loudness"] = lambda: loudness("1", asked)
    measured(accuracy, tmp_path / "out", folder=folder)
    (lost,) = (tmp_path / "out").rglob("ten hold_music 5 dB.npz")
    lost.unlink()
    del asked[:]
    measured(accuracy, tmp_path / "out", folder=folder)
    assert len(asked) == 2


def test_scores_are_made_of_what_was_kept_alone(folder, tmp_path, known):
    result = measured(accuracy, tmp_path / "out", folder=folder)
    known["loudness"] = absent
    accuracy.load.cache_clear()
    assert accuracy.score(Settings(folder=folder), Store(tmp_path / "out")) == result


def test_a_quick_run_hears_a_part_and_has_the_figures_of_that(folder, tmp_path, known):
    row = measured(accuracy, tmp_path / "out", folder=folder, quick=True)["systems"]["loudness"]
    assert "ten 20 dB" not in row
    assert row.keys() >= {"ten", "ten 0 dB", "ten events", "roc"}


def test_the_curve_of_a_system_goes_from_missing_all_to_hearing_all(folder, tmp_path, known):
    curves = measured(accuracy, tmp_path / "out", folder=folder)["systems"]["loudness"]["roc"]
    assert curves["ten"][0] == [0.0, 0.0]  # it is always right
    for points in curves.values():
        false, missed = np.array(points).T
        assert (np.diff(false) >= 0).all()
        assert (np.diff(missed) <= 0).all()
        assert (false[-1], missed[-1]) == (1.0, 0.0)


def test_the_report_has_a_line_for_each_system_and_each_table(folder, tmp_path, known):
    lines = accuracy.report(measured(accuracy, tmp_path / "out", folder=folder)).splitlines()
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
