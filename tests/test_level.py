import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.level import Level

HOP = 0.01


def heard(level, power, probability=0.9, seconds=1.0):
    gains = [level.step(power, probability) for _ in range(round(seconds / HOP))]
    return gains[-1]


@pytest.mark.parametrize("power", [-29.0, -22.0, -10.0, 0.0])
def test_speech_of_a_normal_level_is_left_exactly_as_it_is(power):
    assert heard(Level(HOP), power) == 1.0


@pytest.mark.parametrize("power", [-45.0, -55.0])
def test_quiet_speech_is_brought_to_the_level_networks_know_within_a_second(power):
    gain = heard(Level(HOP), power, seconds=1.01)
    assert gain == pytest.approx(10 ** ((-22 - power) / 20), rel=0.01)


def test_a_voice_that_stands_out_from_the_room_is_made_louder_within_its_first_syllable():
    level = Level(HOP)
    heard(level, -55.0, probability=0.1, seconds=0.6)
    assert heard(level, -47.0, seconds=0.12) > 1


@pytest.mark.parametrize(("room", "known"), [(-48.0, 0.6), (-75.0, 0.3)])
def test_voices_that_may_be_in_the_background_teach_nothing_at_first(room, known):
    level = Level(HOP)
    heard(level, room, probability=0.1, seconds=known)
    assert heard(level, -45.0, seconds=0.9) == 1.0
    assert heard(level, -45.0, seconds=0.2) > 1


@given(st.lists(st.tuples(st.floats(-120, 0), st.floats(0, 0.49)), max_size=50))
def test_sound_that_is_no_speech_teaches_nothing(hops):
    level = Level(HOP)
    assert all(level.step(power, probability) == 1.0 for power, probability in hops)
    assert level.speech is None


@given(st.lists(st.tuples(st.floats(-120, 6), st.floats(0, 1)), max_size=200))
def test_the_gain_stays_within_its_bounds(hops):
    level = Level(HOP)
    for power, probability in hops:
        assert 1 <= level.step(power, probability) <= 10 ** (40 / 20) * 1.001


def test_a_gain_that_is_right_does_not_wobble_with_the_syllables():
    level = Level(HOP)
    heard(level, -50.0)
    gains = {level.step(-50.0 + swing, 0.9) for swing in [0, -12, -3, 1.5] * 10}
    assert len(gains) == 1


def test_a_caller_who_comes_nearer_is_no_longer_made_louder():
    level = Level(HOP)
    heard(level, -55.0)
    assert heard(level, -24.0, seconds=0.3) == 1.0


def test_a_caller_who_goes_away_is_made_louder_in_time():
    level = Level(HOP)
    heard(level, -24.0)
    assert heard(level, -50.0, seconds=15) == pytest.approx(10 ** (28 / 20), rel=0.5)
