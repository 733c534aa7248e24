import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.speech import Boundary, SpeechDetector, SpeechOptions

WINDOW = 0.032
RAW = SpeechOptions(smoothing=0.0)


def changes(probabilities: list[float], options: SpeechOptions = RAW) -> list[tuple[int, str]]:
    """Return (windows heard, what happened)."""
    detector = SpeechDetector(WINDOW, options)
    steps = [detector.step(p) for p in probabilities]
    return [(i, s.change.boundary.value) for i, s in enumerate(steps, start=1) if s.change]


def test_silence_changes_nothing() -> None:
    assert changes([0.0] * 1000) == []


def test_speech_starts_after_two_windows_and_ends_after_eighteen_by_default() -> None:
    assert changes([0.0] * 5 + [1.0] * 10 + [0.0] * 30) == [(7, "start"), (33, "end")]


def test_one_window_of_speech_is_no_speech() -> None:
    assert changes([0.0, 1.0, 0.0, 1.0, 0.0] * 20) == []


def test_a_pause_shorter_than_the_minimum_does_not_end_speech() -> None:
    assert changes([1.0] * 5 + [0.0] * 17 + [1.0] + [0.0] * 17) == [(2, "start")]


def test_speech_stays_speech_down_to_the_deactivation_threshold_but_not_at_it() -> None:
    options = SpeechOptions(smoothing=0.0, deactivation_threshold=0.3, min_silence_duration=0.1)
    assert changes([0.9] * 3 + [0.31] * 20, options) == [(2, "start")]
    assert changes([0.9] * 3 + [0.3] * 20, options) == [(2, "start"), (7, "end")]


def test_between_the_thresholds_silence_stays_silence() -> None:
    assert changes([0.49] * 100) == []
    assert changes([0.5] * 100) == [(2, "start")]


def test_the_first_probability_is_taken_as_it_is_and_later_ones_are_smoothed() -> None:
    detector = SpeechDetector(WINDOW, SpeechOptions())
    assert detector.step(0.8).probability == 0.8
    assert detector.step(0.0).probability == pytest.approx(0.35 * 0.8)


def test_a_start_tells_the_onset_and_an_end_the_speech_without_the_trailing_silence() -> None:
    detector = SpeechDetector(WINDOW, RAW)
    steps = [detector.step(p) for p in [0.0] * 3 + [1.0] * 10 + [0.0] * 18]
    start, end = (step.change for step in steps if step.change)
    assert start.boundary is Boundary.START
    assert start.speech_duration == pytest.approx(2 * WINDOW)
    assert start.silence_duration == 0.0
    assert end.boundary is Boundary.END
    assert end.speech_duration == pytest.approx(10 * WINDOW)
    assert end.silence_duration == pytest.approx(18 * WINDOW)


def test_a_step_tells_what_was_before_its_window() -> None:
    detector = SpeechDetector(WINDOW, RAW)
    first, second, third = (detector.step(1.0) for _ in range(3))
    assert (first.raw_speech, second.raw_speech) == (0.0, WINDOW)
    assert (second.speaking, third.speaking) == (False, True)
    assert (first.silence_duration, second.silence_duration) == (WINDOW, 2 * WINDOW)
    assert (first.speech_duration, third.speech_duration) == (0.0, 3 * WINDOW)


def test_a_detector_is_idle_only_in_silence() -> None:
    detector = SpeechDetector(WINDOW, RAW)
    detector.step(0.0)
    assert detector.idle
    detector.step(1.0)
    assert not detector.idle
    for probability in [1.0] + [0.0] * 17:
        detector.step(probability)
        assert not detector.idle
    detector.step(0.0)
    assert detector.idle


def test_the_deactivation_threshold_follows_the_activation_threshold_unless_given() -> None:
    assert SpeechOptions().deactivation(0.8) == pytest.approx(0.65)
    assert SpeechOptions().deactivation(0.1) == 0.01
    assert SpeechOptions(activation_threshold="auto").deactivation(0.1) == pytest.approx(0.07)
    for activation in (0.5, "auto"):
        options = SpeechOptions(activation_threshold=activation, deactivation_threshold=0.2)
        assert options.deactivation(0.5) == 0.2


def test_a_given_deactivation_threshold_stays_below_one_that_is_learnt() -> None:
    options = SpeechOptions(activation_threshold="auto", deactivation_threshold=0.35)
    assert options.deactivation(0.5) == 0.35
    assert options.deactivation(0.2) == pytest.approx(0.14)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("activation_threshold", 1.5),
        ("activation_threshold", -0.1),
        ("activation_threshold", math.nan),
        ("deactivation_threshold", 0.0),
        ("deactivation_threshold", -1.0),
        ("deactivation_threshold", math.nan),
        ("min_speech_duration", -1.0),
        ("min_silence_duration", math.inf),
        ("prefix_padding_duration", math.nan),
        ("max_buffered_speech", -0.5),
        ("smoothing", 1.0),
        ("max_buffered_speech", 1e308),
        ("deactivation_threshold", "0.3"),
        *(
            (option, None)
            for option in (
                "min_speech_duration",
                "min_silence_duration",
                "prefix_padding_duration",
                "max_buffered_speech",
                "activation_threshold",
                "smoothing",
            )
        ),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        SpeechOptions(**{option: value})


@given(st.lists(st.floats(0, 1), max_size=300), st.floats(0, 0.99), st.floats(0, 1))
def test_starts_and_ends_alternate_and_no_segment_is_shorter_than_the_options_allow(
    probabilities: list[float], smoothing: float, activation: float
) -> None:
    options = SpeechOptions(smoothing=smoothing, activation_threshold=activation)
    found = changes(probabilities, options)
    assert [kind for _, kind in found] == ["start", "end"] * (len(found) // 2) + ["start"] * (
        len(found) % 2
    )
    times = [windows for windows, _ in found]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap >= 18 for gap in gaps[::2])
    assert all(gap >= 2 for gap in gaps[1::2])


@given(st.lists(st.floats(0, 1), max_size=100))
def test_a_stream_does_not_feel_another_one(probabilities: list[float]) -> None:
    alone = SpeechDetector(WINDOW)
    expected = [alone.step(p) for p in probabilities]
    ours, other = SpeechDetector(WINDOW), SpeechDetector(WINDOW)
    for probability, want in zip(probabilities, expected, strict=True):
        other.step(1.0 - probability)
        assert ours.step(probability) == want


# ---- speech that does not end ---------------------------------------------------------------


def test_speech_is_ended_when_it_has_lasted_its_longest_and_goes_on_as_new_speech() -> None:
    options = SpeechOptions(smoothing=0.0, max_speech_duration=0.32)
    got = changes([1.0] * 26 + [0.0] * 20, options)
    assert got == [
        (2, "start"),
        (10, "end"),
        (12, "start"),
        (20, "end"),
        (22, "start"),
        (30, "end"),
    ]


def test_a_forced_end_says_so_and_tells_all_of_the_speech() -> None:
    detector = SpeechDetector(WINDOW, SpeechOptions(smoothing=0.0, max_speech_duration=0.32))
    ends = [s.change for s in (detector.step(1.0) for _ in range(10)) if s.change][1:]
    assert [(end.boundary, end.forced) for end in ends] == [(Boundary.END, True)]
    assert ends[0].speech_duration == pytest.approx(0.32)
    assert ends[0].silence_duration == 0.0
    assert not detector.speaking
    assert detector.idle


def test_a_forced_end_within_a_pause_does_not_count_the_pause_as_speech() -> None:
    detector = SpeechDetector(WINDOW, SpeechOptions(smoothing=0.0, max_speech_duration=0.32))
    steps = [detector.step(p) for p in [1.0] * 6 + [0.0] * 30]
    [end] = [s.change for s in steps if s.change and s.change.boundary is Boundary.END]
    assert end.forced
    assert end.speech_duration == pytest.approx(6 * WINDOW)
    assert end.silence_duration == pytest.approx(4 * WINDOW)


def test_speech_that_ends_by_itself_is_not_forced() -> None:
    options = SpeechOptions(smoothing=0.0, max_speech_duration=2.0)
    detector = SpeechDetector(WINDOW, options)
    found = [s.change for s in map(detector.step, [1.0] * 10 + [0.0] * 30) if s.change]
    assert [change.forced for change in found] == [False, False]


@given(
    st.lists(st.floats(0, 1), max_size=300),
    st.floats(0.01, 3.0),
    st.floats(0.0, 0.5),
)
def test_no_speech_is_longer_than_the_longest_and_starts_and_ends_alternate(
    probabilities: list[float], longest: float, shortest: float
) -> None:
    options = SpeechOptions(
        smoothing=0.0, max_speech_duration=longest, min_speech_duration=shortest
    )
    found = changes(probabilities, options)
    assert [kind for _, kind in found] == ["start", "end"] * (len(found) // 2) + ["start"] * (
        len(found) % 2
    )
    for (start, _), (end, _) in zip(found[::2], found[1::2], strict=False):
        assert (end - start) * WINDOW <= longest + WINDOW


# ---- a threshold that is learnt -------------------------------------------------------------


def test_a_learnt_threshold_hears_clean_speech_as_the_fixed_one_does() -> None:
    call = ([0.001] * 50 + [0.99] * 60) * 20
    assert changes(call, SpeechOptions(smoothing=0.0, activation_threshold="auto")) == changes(call)


def test_a_learnt_threshold_hears_a_caller_of_whom_the_network_is_in_doubt() -> None:
    call = ([0.001] * 60 + [0.3] * 20 + [0.6] + [0.3] * 19) * 20
    learnt = changes(call, SpeechOptions(smoothing=0.0, activation_threshold="auto"))
    fixed = changes(call, SpeechOptions(smoothing=0.0))
    assert len(fixed) == 0
    assert len(learnt) > 20


def test_a_learnt_threshold_sees_probabilities_before_they_are_smoothed() -> None:
    seen: list[float] = []
    detector = SpeechDetector(WINDOW, SpeechOptions(activation_threshold="auto"))
    learn = detector.adaptive.step
    detector.adaptive = type("Spy", (), {"step": lambda _, p: (seen.append(p), learn(p))[1]})()
    for p in (0.9, 0.1, 0.5):
        detector.step(p)
    assert seen == [0.9, 0.1, 0.5]
