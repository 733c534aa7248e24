import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice import Framer, SileroVAD
from nearvoice.audio import resample, to_float32
from nearvoice.drift import FADING, PATIENCE, QUIET, DriftGuard
from nearvoice.silero import SileroState
from nearvoice.silero_network import join
from tests.offline import sample

WINDOW = 0.032
PATIENT = math.ceil(PATIENCE / WINDOW)
"""Windows of quiet that are needed."""


def ones(context: int = 64) -> SileroState:
    return SileroState(join(np.ones((2, 128), np.float32), np.ones(context, np.float32)))


def faded(probabilities: list[float], guard: DriftGuard | None = None) -> list[bool]:
    """Return which windows the state was faded after."""
    guard = guard or DriftGuard(WINDOW)
    state = ones()
    return [guard.step(p, state) is not state for p in probabilities]


# ---- the rule ---------------------------------------------------------------------------------


def last(probabilities: list[float], window: float = WINDOW) -> SileroState:
    """Return the state after the windows, if the network left it as it is."""
    guard, state = DriftGuard(window), ones()
    for p in probabilities:
        state = guard.step(p, state)
    return state


def test_nothing_fades_before_the_quiet_has_lasted() -> None:
    assert faded([0.0] * 200).index(True) == PATIENT - 1


def test_one_window_that_is_not_quiet_starts_the_wait_again() -> None:
    told = faded([0.0] * 100 + [QUIET] + [0.0] * 100)
    assert any(told[:100])
    assert told.index(True, 100) == 100 + PATIENT


def test_fading_goes_on_while_the_quiet_does() -> None:
    times = np.flatnonzero(faded([0.0] * 2000))
    assert set(np.diff(times) * WINDOW) == {0.128}


def test_only_the_cell_state_fades() -> None:
    after = last([0.0] * PATIENT)
    assert np.all(after.rnn[0] == 1)
    assert np.all(after.context == 1)
    assert after.rnn[1] == pytest.approx(np.exp(-0.128 / FADING), abs=1e-6)


def test_the_state_that_was_given_is_not_changed() -> None:
    guard, state = DriftGuard(WINDOW), ones()
    for _ in range(2 * PATIENT):
        guard.step(0.0, state)
    assert np.all(state.rnn == 1)


@pytest.mark.parametrize("window", [0.01, 0.016, 0.032, 0.064, 0.3])
def test_durations_are_seconds_whatever_the_window(window: float) -> None:
    after = last([0.0] * round((PATIENCE + 2 * FADING) / window), window)
    assert after.rnn[1, 0] == pytest.approx(np.exp(-2), rel=0.3 / FADING)


def test_states_of_both_rates_fade() -> None:
    for context in (32, 64):
        guard, state = DriftGuard(WINDOW, patience=0.0), ones(context)
        after = guard.step(0.0, guard.step(0.0, state))
        assert len(after.context) == context


@pytest.mark.parametrize("duration", [0.0, -0.032, float("nan")])
def test_a_window_without_duration_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="a window lasts longer than 0 s"):
        DriftGuard(duration)
    with pytest.raises(ValueError, match="fading must take longer than 0 s"):
        DriftGuard(WINDOW, fading=duration)


def test_a_probability_that_is_no_number_is_not_quiet() -> None:
    assert not any(faded([0.0, float("nan")] * 100))


Probabilities = st.lists(st.one_of(st.floats(0, 1), st.floats(0, QUIET)), max_size=300)


@given(Probabilities)
def test_a_state_never_fades_during_speech_or_its_onset(probabilities: list[float]) -> None:
    told = faded(probabilities)
    for i, fading in enumerate(told):
        assert not fading or max(probabilities[i + 1 - PATIENT : i + 1]) < QUIET


@given(Probabilities, Probabilities)
def test_a_guard_that_was_reset_equals_a_new_one(before: list[float], after: list[float]) -> None:
    guard = DriftGuard(WINDOW)
    faded(before, guard)
    guard.reset()
    assert faded(after, guard) == faded(after)


@given(Probabilities, Probabilities)
def test_guards_do_not_touch_each_other(one: list[float], other: list[float]) -> None:
    first, second = DriftGuard(WINDOW), DriftGuard(WINDOW)
    told = ([], [])
    state = ones()
    for i in range(max(len(one), len(other))):
        for guard, heard, said in ((first, one, told[0]), (second, other, told[1])):
            if i < len(heard):
                said.append(guard.step(heard[i], state) is not state)
    assert told == (faded(one), faded(other))


# ---- with the network -------------------------------------------------------------------------


def call(rate: int) -> np.ndarray:
    recording = sample.load()
    return to_float32(resample(recording.samples, recording.rate, rate))


def noise(rate: int, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(rate)
    return (10**-1.5 * rng.standard_normal(int(seconds * rate))).astype(np.float32)


def listen(
    model: SileroVAD, samples: np.ndarray, guarded: bool, chunk: int | None = None
) -> np.ndarray:
    """Return P(speech) of every window of a stream that comes in chunks."""
    framer, state = Framer(model.window), model.initial_state()
    guard = DriftGuard(model.window / model.sample_rate)
    heard = []
    for start in range(0, len(samples), chunk or len(samples)):
        for window in framer.push(samples[start : start + (chunk or len(samples))]):
            p, state = model.step(window, state)
            if guarded:
                state = guard.step(p, state)
            heard.append(p)
    return np.array(heard)


@pytest.mark.model
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_speech_after_a_minute_of_noise_is_heard_as_without_it(rate: int) -> None:
    model = SileroVAD(rate)
    speech = call(rate)[7 * rate :]
    prelude = noise(rate, 60 * 0.992)
    windows = len(prelude) // model.window
    alone = listen(model, speech, guarded=False) >= 0.5
    both = np.concatenate((prelude, speech))
    drifted = listen(model, both, guarded=False)[windows:] >= 0.5
    kept = listen(model, both, guarded=True)[windows:] >= 0.5
    assert drifted.sum() < alone.sum() - 15
    assert abs(kept.sum() - alone.sum()) <= 4
    assert np.argmax(kept) - np.argmax(alone) <= 1


@pytest.mark.model
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_a_call_without_long_silence_is_heard_as_before(rate: int) -> None:
    model = SileroVAD(rate)
    without, with_guard = (listen(model, call(rate), guarded) for guarded in (False, True))
    assert np.mean((without >= 0.5) != (with_guard >= 0.5)) < 0.005


@pytest.mark.model
def test_the_cut_of_the_audio_does_not_matter() -> None:
    model = SileroVAD(8_000)
    samples = np.concatenate((noise(8_000, 4.0), call(8_000)[: 8_000 * 4]))
    whole = listen(model, samples, guarded=True)
    for chunk in (1, 7, 160, 1000):
        assert np.array_equal(listen(model, samples, guarded=True, chunk=chunk), whole)


@pytest.mark.model
def test_noise_alone_makes_no_speech_of_it() -> None:
    for rate in (16_000, 8_000):
        assert listen(SileroVAD(rate), noise(rate, 60), guarded=True).max() < 0.5
