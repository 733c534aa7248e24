import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice import turn_rates

few = st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=1, max_size=30)
"""Scores with many draws among them."""
fine = st.lists(st.floats(0, 1), min_size=1, max_size=30)
scores = st.one_of(few, fine).map(np.array)


# AUC


@given(scores, scores)
def test_auc_is_the_share_of_pairs_in_order_where_a_draw_counts_half(complete, unfinished):
    pairs = [(c > u) + (c == u) / 2 for c in complete for u in unfinished]
    assert turn_rates.auc(complete, unfinished) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(scores, scores)
def test_auc_of_the_two_exchanged_is_the_rest(complete, unfinished):
    there = turn_rates.auc(complete, unfinished)
    back = turn_rates.auc(unfinished, complete)
    assert there + back == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("complete", "unfinished"), [([], [0.5]), ([0.5], []), ([], [])])
def test_auc_of_one_kind_alone_is_not_a_number(complete, unfinished):
    assert math.isnan(turn_rates.auc(np.array(complete), np.array(unfinished)))


# The threshold


@given(scores, st.floats(0, 1, exclude_min=True))
def test_a_threshold_gives_the_tpr_that_was_asked_for_and_no_higher_one_does(complete, asked):
    threshold = turn_rates.threshold_for(complete, asked)
    assert turn_rates.tpr(complete, threshold).value >= asked - 1e-9
    higher = complete[complete > threshold]
    if len(higher):
        assert turn_rates.tpr(complete, higher.min()).value < asked


def test_a_share_that_floats_cannot_write_still_counts_whole_turns():
    assert 0.07 * 100 > 7  # so that 8 turns would be one too many
    assert turn_rates.threshold_for(np.arange(100) / 100, 0.07) == 0.93


def test_the_threshold_for_every_turn_is_the_lowest_score():
    assert turn_rates.threshold_for(np.array([0.4, 0.2, 0.9]), 1.0) == 0.2


@pytest.mark.parametrize("asked", [0.0, -0.1, 1.1, math.nan])
def test_a_tpr_that_is_no_share_is_refused(asked):
    with pytest.raises(ValueError, match="tpr must be above 0 and at most 1"):
        turn_rates.threshold_for(np.array([0.5]), asked)


def test_no_threshold_is_made_of_no_turns():
    with pytest.raises(ValueError, match="of 0 turns"):
        turn_rates.threshold_for(np.array([]), 0.9)


# The rates


def test_a_turn_at_the_threshold_counts_as_ended():
    at = np.array([0.5])
    assert turn_rates.tpr(at, 0.5).value == 1
    assert turn_rates.tnr(at, 0.5).value == 0


@given(scores, st.floats(0, 1))
def test_of_the_same_turns_tpr_and_tnr_add_up_to_one(turns, threshold):
    both = turn_rates.tpr(turns, threshold), turn_rates.tnr(turns, threshold)
    assert both[0].value + both[1].value == pytest.approx(1)
    assert both[0].low == pytest.approx(1 - both[1].high)
    assert both[0].n == both[1].n == len(turns)


def test_tnr_at_a_tpr_uses_the_threshold_of_the_complete_turns():
    complete, unfinished = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.1, 0.3, 0.5])
    assert turn_rates.tnr_at(complete, unfinished, 1.0) == pytest.approx(1 / 3)
    assert turn_rates.tnr_at(complete, unfinished, 0.75) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3: Wilson's, uncorrected
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_the_interval_is_wilsons(k, n, low, high):
    turns = np.array([1.0] * k + [0.0] * (n - k))
    rate = turn_rates.tpr(turns, 0.5)
    assert rate.value == k / n
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=5e-5)


def test_of_no_turns_nothing_is_known():
    rate = turn_rates.tnr(np.array([]), 0.5)
    assert math.isnan(rate.value)
    assert rate[1:] == (0.0, 1.0, 0)


# The calibration error


def test_probabilities_that_come_true_have_no_calibration_error():
    # one bin: of four scores of .25, one is complete
    assert turn_rates.ece(np.array([0.25]), np.array([0.25] * 3)) == pytest.approx(0)


def test_the_calibration_error_weighs_each_bin_by_its_turns():
    # .95 comes true two times of two, .05 one time of one: gaps .05 and .95
    error = turn_rates.ece(np.array([0.95, 0.95, 0.05]), np.array([]))
    assert error == pytest.approx((2 * 0.05 + 0.95) / 3)


def test_a_probability_of_one_is_in_the_last_bin():
    assert turn_rates.ece(np.array([1.0, 0.92]), np.array([])) == pytest.approx(0.04)


@given(scores, scores)
def test_the_calibration_error_is_a_share(complete, unfinished):
    assert 0 <= turn_rates.ece(complete, unfinished) <= 1


def test_the_calibration_error_of_no_turns_is_not_a_number():
    assert math.isnan(turn_rates.ece(np.array([]), np.array([])))
