import importlib.util
from decimal import ROUND_FLOOR, Context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice import turn_plot, turn_rates
from nearvoice.turn_calibrate import FOLDS, _folds, calibrate, fewest_complete
from nearvoice.turn_file import LabelledTurn

drawing = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


def labelled(language, complete, unfinished=()):
    """Turns of these texts."""
    return [
        LabelledTurn(language, [{"role": "user", "content": text}], ended)
        for texts, ended in ((complete, True), (unfinished, False))
        for text in texts
    ]


def calibrated(complete, unfinished, wanted, current=0.5, language="de"):
    """What is found for probabilities of one language."""
    turns = labelled(language, ["ja"] * len(complete), ["nein aber"] * len(unfinished))
    scores = np.concatenate((complete, unfinished))
    return calibrate(turns, scores, wanted, lambda _: current)


shares = st.integers(0, 1 << 20).map(lambda n: n / (1 << 20))
wanted_rates = st.floats(0.5, 0.99)


@given(st.lists(shares, min_size=100, max_size=200), wanted_rates)
def test_the_chosen_threshold_gives_the_wanted_tpr_and_is_the_highest_of_four_digits(
    complete, wanted
):
    complete = np.array(complete)
    found = calibrated(complete, np.zeros(50), wanted)
    chosen = found.thresholds["de"]
    exact = turn_rates.threshold_for(complete, wanted)
    assert turn_rates.tpr(complete, chosen).value >= wanted - 1e-9
    assert exact * 0.999 <= chosen <= exact
    assert chosen == float(f"{chosen:.4g}")


@given(
    st.lists(shares, min_size=100, max_size=150),
    st.lists(shares, min_size=50, max_size=90),
    wanted_rates,
)
def test_each_turn_is_measured_with_a_threshold_that_it_had_no_part_in(
    complete, unfinished, wanted
):
    found = calibrated(np.array(complete), np.array(unfinished), wanted).languages["de"]
    folds, others = _folds(len(complete)), _folds(len(unfinished))
    taken = waited = 0
    for part in range(FOLDS):
        rest = [score for score, fold in zip(complete, folds, strict=True) if fold != part]
        exact = turn_rates.threshold_for(np.array(rest), wanted)
        threshold = float(Context(prec=4, rounding=ROUND_FLOOR).create_decimal(exact))
        taken += sum(complete[i] >= threshold for i in np.flatnonzero(folds == part))
        waited += sum(unfinished[i] < threshold for i in np.flatnonzero(others == part))
    assert found.chosen.tpr.value == taken / len(complete)
    assert found.chosen.tnr.value == waited / len(unfinished)


@given(st.integers(0, 300))
def test_folds_are_even_and_the_same_each_time(n):
    folds = _folds(n)
    counts = np.bincount(folds, minlength=FOLDS)
    assert len(counts) == FOLDS
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(folds, _folds(n))


def test_cross_validated_rates_are_nearer_to_those_of_new_turns_than_what_was_chosen_on():
    rng, told, chosen_on, new = np.random.default_rng(1), [], [], []
    for _ in range(200):
        complete = rng.random(150)  # so that a threshold of t misses t of all there could be
        found = calibrated(complete, rng.random(50), 0.99).languages["de"].chosen
        told.append(found.tpr.value)
        chosen_on.append(turn_rates.tpr(complete, found.threshold).value)
        new.append(1 - found.threshold)
    assert np.mean(chosen_on) - np.mean(new) > 0.005
    assert abs(np.mean(told) - np.mean(new)) < 0.004


def test_the_current_threshold_is_measured_on_all_turns():
    complete, unfinished = np.linspace(0.3, 1, 100), np.linspace(0, 0.8, 50)
    found = calibrated(complete, unfinished, 0.9, current=0.4).languages["de"]
    assert found.current.threshold == 0.4
    assert found.current.tpr == turn_rates.tpr(complete, 0.4)
    assert found.current.tnr == turn_rates.tnr(unfinished, 0.4)
    assert found.auc == turn_rates.auc(complete, unfinished)


def test_each_language_has_the_threshold_of_its_own_turns():
    turns, scores, rng = [], [], np.random.default_rng(1)
    for language, low in (("de", 0.2), ("pt-BR", 0.6)):
        turns += labelled(language, ["sim"] * 120, ["sim mas"] * 60)
        scores += [*rng.uniform(low, 1, 120), *rng.uniform(0, 1, 60)]
    order = rng.permutation(len(turns))
    found = calibrate(
        [turns[i] for i in order], np.array(scores)[order], 0.99, {"de": 0.1, "pt-BR": 0.3}.get
    )
    assert list(found.languages) == ["de", "pt-BR"]
    assert 0.2 <= found.thresholds["de"] < 0.3
    assert 0.599 <= found.thresholds["pt-BR"] < 0.65
    assert [it.current.threshold for it in found.languages.values()] == [0.1, 0.3]


@pytest.mark.parametrize(
    ("wanted", "needed"), [(0.5, 100), (0.9, 100), (0.99, 100), (0.993, 143), (0.999, 1000)]
)
def test_a_tpr_needs_as_many_complete_turns_as_it_misses_one_of(wanted, needed):
    assert fewest_complete(wanted) == needed
    few = calibrated(np.ones(needed - 1), np.zeros(50), wanted)
    assert few.languages == {}
    assert few.refused["de"] == (
        f"too few turns: {needed - 1} complete of at least {needed}, 50 unfinished of at least 50"
    )
    assert calibrated(np.ones(needed), np.zeros(50), wanted).refused == {}


def test_a_language_needs_fifty_unfinished_turns():
    found = calibrated(np.ones(200), np.zeros(49), 0.99)
    assert "49 unfinished of at least 50" in found.refused["de"]
    assert found.thresholds == {}


def test_intervals_that_are_wide_are_warned_of_and_narrow_ones_are_not():
    rng = np.random.default_rng(1)
    few = calibrated(rng.random(143), rng.random(60), 0.993).languages["de"]
    [warning] = few.warnings
    low = few.chosen.tpr.low
    assert warning.startswith(f"wide intervals: up to {1 - low:.1%} of complete turns may be held")
    many = calibrated(rng.random(4000), rng.random(4000), 0.993).languages["de"]
    assert many.warnings == ()


def test_unfinished_turns_cut_from_the_complete_ones_are_warned_of():
    said = [f"I want {n} rooms, please." for n in range(200)]
    cut = [f"i want {n}" for n in range(60)]
    scores = np.random.default_rng(1).random(260)

    def warnings(unfinished):
        turns = labelled("en", said * 10, unfinished * 10)
        return calibrate(turns, np.tile(scores, 10), 0.99, lambda _: 0.5).languages["en"].warnings

    assert warnings(cut) == (
        "600 of 600 unfinished turns are beginnings of complete ones: if a rule cut them, "
        "the pauses of callers will give another TNR",
    )
    assert warnings([f"so what {n}" for n in range(60)]) == ()


# The picture


@given(st.lists(shares, min_size=100, max_size=120), st.lists(shares, min_size=50, max_size=60))
def test_the_curve_has_the_rates_of_every_threshold(complete, unfinished):
    complete, unfinished = np.array(complete), np.array(unfinished)
    found = calibrated(complete, unfinished, 0.9).languages["de"]
    points = set(zip(*turn_plot.curve(found), strict=True))
    for threshold in (*complete[:5], *unfinished[:5]):
        tpr = turn_rates.tpr(complete, threshold).value
        tnr = turn_rates.tnr(unfinished, threshold).value
        assert any(abs(tpr - x) + abs(tnr - y) < 1e-9 for x, y in points)
    assert {(1.0, 0.0), (0.0, 1.0)} <= points


@drawing
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_picture_has_a_panel_for_each_language_with_both_points(count):
    rng = np.random.default_rng(1)
    turns = [
        turn
        for n in range(count)
        for turn in labelled(f"l{chr(97 + n)}", ["ja"] * 100, ["nein aber"] * 50)
    ]
    found = calibrate(turns, rng.random(150 * count), 0.9, lambda _: 0.2)
    figure = turn_plot._figure(found, "a title")
    panels = [panel for panel in figure.axes if panel.has_data()]
    assert [panel.get_title(loc="left").split(",")[0] for panel in panels] == list(found.languages)
    for panel, it in zip(panels, found.languages.values(), strict=True):
        drawn = [line.get_xydata().tolist() for line in panel.get_lines()]
        assert [[it.chosen.tpr.value, it.chosen.tnr.value]] in drawn
        assert [[it.current.tpr.value, it.current.tnr.value]] in drawn


@drawing
def test_the_picture_is_written_as_png(tmp_path):
    found = calibrated(np.linspace(0.2, 1, 100), np.linspace(0, 0.5, 50), 0.9)
    turn_plot.draw(found, tmp_path / "a.png", "no $maths$")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
