import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks import metrics
from benchmarks.data import Segment

LABELS = np.array([0, 0, 1, 1, 0, 1], bool)
SCORES = np.array([0.1, 0.4, 0.4, 0.8, 0.6, 0.9])


@st.composite
def labelled(draw):
    """Labels of both kinds, and scores of which many are equal."""
    count = draw(st.integers(2, 40))
    labels = draw(arrays.arrays(bool, count))
    labels[:2] = (True, False)
    scores = draw(arrays.arrays(np.float32, count, elements=st.sampled_from((0, 0.25, 0.5, 1))))
    return labels, scores


def thresholds(scores):
    return sorted({float(score) for score in scores}, reverse=True)


# ---- frames


@given(labelled())
def test_auc_is_how_often_speech_scores_above_the_rest(case):
    labels, scores = case
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    assert metrics.roc_auc(labels, scores) == pytest.approx(np.mean(pairs))


@given(labelled())
def test_average_precision_is_the_area_under_the_steps(case):
    labels, scores = case
    area, before = 0.0, 0.0
    for threshold in thresholds(scores):
        found = metrics.at_threshold(labels, scores, threshold)
        area += (found.recall - before) * found.precision
        before = found.recall
    assert metrics.average_precision(labels, scores) == pytest.approx(area)


@given(labelled())
def test_the_best_f1_is_that_of_the_best_threshold(case):
    labels, scores = case
    best, threshold = metrics.best_f1(labels, scores)
    of_each = {t: metrics.at_threshold(labels, scores, t).f1 for t in thresholds(scores)}
    assert best == pytest.approx(max(of_each.values()))
    assert of_each[threshold] == pytest.approx(best)


@given(labelled(), st.floats(0, 1))
def test_figures_at_a_threshold_are_counts_of_frames(case, threshold):
    labels, scores = case
    found = metrics.at_threshold(labels, scores, threshold)
    said = [bool(score >= threshold) for score in scores]
    hits = sum(s and bool(y) for s, y in zip(said, labels, strict=True))
    assert found.recall == pytest.approx(hits / labels.sum())
    assert found.false_positive_rate == pytest.approx((sum(said) - hits) / (~labels).sum())
    assert found.precision == pytest.approx(hits / sum(said) if hits else 0)
    assert found.f1 == pytest.approx(
        2 * found.precision * found.recall / (found.precision + found.recall) if hits else 0
    )


def test_known_figures_of_a_small_case():
    assert metrics.roc_auc(LABELS, SCORES) == pytest.approx(7.5 / 9)
    assert metrics.average_precision(LABELS, SCORES) == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert metrics.best_f1(LABELS, SCORES) == (pytest.approx(0.8), 0.8)


def test_the_figures_of_a_set_are_those_of_each_function():
    assert metrics.figures(LABELS, SCORES) == {
        "auc": 0.8333,
        "ap": 0.8667,
        "f1": 0.6667,
        "precision": 0.6667,
        "recall": 0.6667,
        "fpr": 0.3333,
        "best_f1": 0.8,
        "best_threshold": 0.8,
    }


@pytest.mark.parametrize("label", [True, False])
def test_labels_of_one_kind_are_refused(label):
    labels = np.full(4, label)
    for figure in (metrics.roc_auc, metrics.average_precision, metrics.best_f1):
        with pytest.raises(ValueError, match="both speech and something else"):
            figure(labels, np.arange(4.0))


def test_a_frame_gets_the_probability_of_the_window_that_holds_its_middle():
    grid = metrics.to_grid(np.array([0.1, 0.2, 0.3]), window_seconds=0.032, frames=12)
    assert grid.tolist() == [0.1] * 3 + [0.2] * 3 + [0.3] * 6


def test_a_frame_longer_than_its_windows_gets_the_one_in_the_middle():
    probabilities = np.arange(10) / 10
    grid = metrics.to_grid(probabilities, window_seconds=0.004, frames=3)
    assert grid.tolist() == [probabilities[1], probabilities[3], probabilities[6]]


def test_no_window_is_no_grid():
    with pytest.raises(ValueError, match="no window"):
        metrics.to_grid(np.zeros(0), 0.032, 5)


# ---- events


def spoken(*segments, frames=1000):
    labels = np.zeros(frames, bool)
    for start, end in segments:
        labels[round(start * 100) : round(end * 100)] = True
    return labels


def test_segments_are_where_labels_are_true():
    labels = spoken((0, 1), (2, 3), (9, 10))
    assert metrics.segments(labels) == [Segment(0, 1), Segment(2, 3), Segment(9, 10)]
    assert metrics.segments(spoken()) == []


def test_pauses_shorter_than_the_bridge_are_bridged_and_no_others():
    labels = spoken((0, 1), (1.54, 2), (2.55, 3))
    assert metrics.segments(labels, bridge=0.55) == [Segment(0, 2), Segment(2.55, 3)]


def test_a_segment_is_found_with_its_latencies():
    found = metrics.events(spoken((1, 3)), [Segment(1.1, 3.6)], min_silence=0.55)
    assert (found.segments, found.missed, found.false, found.splits, found.merged) == (
        1,
        0,
        0,
        0,
        0,
    )
    assert found.start_latencies == [pytest.approx(0.1)]
    assert found.end_latencies == [pytest.approx(0.6)]


def test_a_segment_without_a_decision_is_missed_and_a_decision_without_a_segment_is_false():
    found = metrics.events(spoken((1, 3)), [Segment(5, 6)], min_silence=0.55)
    assert (found.missed, found.false) == (1, 1)
    assert found.start_latencies == found.end_latencies == []


def test_a_decision_does_not_touch_what_it_only_waited_through():
    labels = spoken((1, 3), (6, 8))
    found = metrics.events(labels, [Segment(5, 6.3), Segment(6.4, 8.6)], min_silence=0.55)
    assert (found.missed, found.false, found.splits) == (1, 1, 0)


def test_decisions_beyond_the_first_in_a_segment_are_splits():
    decided = [Segment(1.1, 2.6), Segment(2.7, 4.6)]
    found = metrics.events(spoken((1, 4)), decided, min_silence=0.55)
    assert found.splits == 1
    assert found.start_latencies == [pytest.approx(0.1)]
    assert found.end_latencies == [pytest.approx(0.6)]


def test_a_segment_that_begins_before_the_last_was_ended_is_merged_and_the_end_of_both_is_late():
    found = metrics.events(spoken((1, 3), (4, 5)), [Segment(1.1, 5.6)], min_silence=0.55)
    assert (found.missed, found.merged) == (0, 1)
    assert found.start_latencies == [pytest.approx(0.1)]
    assert found.end_latencies == [pytest.approx(2.6), pytest.approx(0.6)]


def test_an_end_that_never_comes_has_no_latency():
    found = metrics.events(spoken((1, 3)), [Segment(1.1, math.inf)], min_silence=0.55)
    assert found.end_latencies == []
    assert len(found.start_latencies) == 1


def test_events_of_clips_add_up_and_are_summed_up_in_milliseconds():
    total = metrics.Events()
    total += metrics.events(spoken((1, 3)), [Segment(1.1, 3.6)], min_silence=0.55)
    total += metrics.events(spoken((1, 3)), [Segment(1.3, 3.8)], min_silence=0.55)
    total += metrics.events(spoken((1, 3)), [], min_silence=0.55)
    assert total.summary() == {
        "segments": 3,
        "found": 2,
        "missed": 1,
        "false": 0,
        "splits": 0,
        "merged": 0,
        "start_ms_median": 200.0,
        "start_ms_p90": 280.0,
        "end_ms_median": 700.0,
        "end_ms_p90": 780.0,
    }


def test_latencies_of_nothing_are_none():
    assert metrics.Events().summary()["start_ms_median"] is None
