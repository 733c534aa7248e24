import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import hearing, sounds
from nearvoice import SileroVAD
from nearvoice.audio import resample, to_float32
from nearvoice.threshold import DEACTIVATION, HIGHEST, LOWEST, AdaptiveThreshold
from tests.offline import sample

streams = st.lists(st.floats(0, 1), max_size=300) | st.lists(
    st.sampled_from([0.0, 0.01, LOWEST, 0.2, 0.4, HIGHEST, 0.9, 1.0]), max_size=300
)


def learn(probabilities):
    threshold = AdaptiveThreshold()
    return [threshold.step(float(probability)) for probability in probabilities]


def talk(sure, doubted, silent, times):
    """Probabilities of so many windows of each kind, doubt before certainty, again and again."""
    return ([0.2] * doubted + [0.95] * sure + [0.01] * silent) * times


# ---- what holds for every stream


@given(streams)
def test_a_threshold_is_within_its_bounds(probabilities):
    threshold = AdaptiveThreshold()
    for probability in probabilities:
        assert LOWEST <= threshold.step(probability) <= HIGHEST
    assert LOWEST <= threshold.threshold <= HIGHEST


@given(streams)
def test_the_same_probabilities_give_the_same_thresholds(probabilities):
    assert learn(probabilities) == learn(probabilities)


@given(streams, st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_depends_on_earlier_windows_only(probabilities, one, other):
    assert learn([*probabilities, one]) == learn([*probabilities, other])


@given(streams, streams)
def test_two_streams_do_not_touch_each_other(one, other):
    first, second = AdaptiveThreshold(), AdaptiveThreshold()
    got = [(first.step(a), second.step(b)) for a, b in zip(one, other, strict=False)]
    expected = zip(learn(one), learn(other), strict=False)
    assert got == list(expected)


@given(streams, streams)
def test_after_a_reset_a_stream_is_a_new_one(before, after):
    threshold = AdaptiveThreshold()
    for probability in before:
        threshold.step(probability)
    threshold.reset()
    assert threshold.threshold == HIGHEST
    assert [threshold.step(probability) for probability in after] == learn(after)


@given(st.lists(st.floats(0, LOWEST, exclude_max=True) | st.floats(HIGHEST, 1), max_size=300))
def test_without_doubt_the_threshold_stays(probabilities):
    assert set(learn(probabilities)) <= {HIGHEST}


@given(st.lists(st.floats(0, HIGHEST, exclude_max=True), max_size=300))
def test_doubt_that_no_certainty_confirms_changes_nothing(probabilities):
    assert set(learn(probabilities)) <= {HIGHEST}


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused_and_teaches_nothing(bad):
    threshold, other = AdaptiveThreshold(), AdaptiveThreshold()
    with pytest.raises(ValueError, match=r"from 0 to 1, got"):
        threshold.step(bad)
    rest = talk(10, 10, 60, times=20)
    assert [threshold.step(p) for p in rest] == [other.step(p) for p in rest]


def test_the_deactivation_threshold_of_a_new_stream_is_the_fixed_one():
    assert max(HIGHEST - 0.15, 0.01) == HIGHEST * DEACTIVATION


# ---- what it learns


def test_a_caller_of_whom_the_network_is_sure_leaves_the_threshold_alone():
    assert set(learn(talk(sure=40, doubted=1, silent=60, times=50))) == {HIGHEST}


def test_a_caller_of_whom_the_network_is_in_doubt_lowers_it_within_seconds():
    thresholds = learn(talk(sure=20, doubted=12, silent=60, times=10))
    assert thresholds[:12] == [HIGHEST] * 12
    assert thresholds[-1] < 0.12


def test_the_more_doubt_the_lower_the_threshold():
    last = [learn(talk(sure=20, doubted=n, silent=60, times=30))[-1] for n in (1, 3, 6, 12)]
    assert last == sorted(last, reverse=True)
    assert last[0] == HIGHEST
    assert last[-1] < 0.1


def test_what_was_learnt_fades_in_some_two_minutes_of_silence():
    heard = talk(sure=20, doubted=12, silent=60, times=30)
    assert learn([*heard, *[0.001] * 312])[-1] < 0.15
    assert learn([*heard, *[0.001] * 4_700])[-1] == HIGHEST


def test_a_caller_who_comes_close_gets_the_old_threshold_back():
    far = talk(sure=20, doubted=12, silent=60, times=30)
    near = talk(sure=40, doubted=1, silent=60, times=30)
    assert learn(far + near)[-1] == HIGHEST


def test_speech_that_would_fill_most_of_the_time_is_not_believed():
    assert learn(talk(sure=40, doubted=20, silent=20, times=60))[-1] == HIGHEST


# ---- with the network


def heard(rate, db):
    """P(speech) of the sample call, four times in a row, so much quieter."""
    recording = sample.load()
    loud = to_float32(resample(recording.samples, recording.rate, rate))
    return hearing.probabilities(SileroVAD(rate), np.tile(sounds.amplify(loud, -db), 4))


def windows_of_speech(rate):
    """Whether the middle of each window of four sample calls is labelled speech."""
    recording = sample.load()
    count = int(recording.duration * 4 / 0.032)
    middles = (np.arange(count) + 0.5) * 0.032 % recording.duration
    return np.any([(t.start <= middles) & (middles < t.end) for t in recording.turns], axis=0)


@pytest.mark.model
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_the_sample_call_at_full_level_is_decided_as_before(rate):
    said = heard(rate, 0)
    thresholds = np.array(learn(said))
    assert np.median(thresholds) == HIGHEST
    assert np.mean((said >= thresholds) != (said >= HIGHEST)) < 0.005


@pytest.mark.model
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_more_of_the_sample_call_is_heard_when_it_is_quiet(rate):
    said, speech = heard(rate, 36), windows_of_speech(rate)
    found = said[: len(speech)] >= np.array(learn(said))[: len(speech)]
    fixed = said[: len(speech)] >= HIGHEST
    assert found[speech].mean() > fixed[speech].mean() + 0.1
    assert found[~speech].mean() < fixed[~speech].mean() + 0.1
