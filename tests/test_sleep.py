import pytest

from nearvoice.sleep import Sleep

HOP = 0.01
SPEECH = -25.0


def run(sleep, hops, speech=SPEECH, kept=0.0):
    """Hear (level, probability, seconds) in turn; return whether it slept at the end."""
    asleep = False
    for power, probability, seconds in hops:
        for _ in range(round(seconds / HOP)):
            asleep = sleep.step(power, probability, speech, kept)
    return asleep


SYLLABLE = [(-25.0, 0.9, 0.2), (-45.0, 0.9, 0.1), (-30.0, 0.9, 0.2), (-80.0, 0.1, 0.2)]
CLEAN = SYLLABLE * 6


def test_digital_silence_is_slept_through_and_the_first_sound_wakes():
    sleep = Sleep(HOP)
    assert run(sleep, [(-120.0, 0.0, 0.3)], speech=None)
    assert sleep.silent
    assert not run(sleep, [(-60.0, 0.0, 0.01)], speech=None)


def test_a_short_silence_is_not_slept_through():
    assert not run(Sleep(HOP), [(-120.0, 0.0, 0.1)], speech=None)


def test_dither_of_one_bit_is_digital_silence():
    assert run(Sleep(HOP), [(-90.3, 0.0, 0.3)], speech=None)


def test_clean_speech_is_left_alone_after_a_while():
    assert run(Sleep(HOP), CLEAN)


def test_before_anyone_has_spoken_nothing_is_clean():
    assert not run(Sleep(HOP), [(-70.0, 0.0, 10.0)], speech=None)


@pytest.mark.parametrize("noise", [-35.0, -45.0, -55.0])
def test_noise_behind_the_speech_keeps_it_awake(noise):
    noisy = [(max(power, noise), probability, s) for power, probability, s in CLEAN]
    assert not run(Sleep(HOP), noisy)


def test_noise_that_begins_wakes_it_within_a_third_of_a_second():
    sleep = Sleep(HOP)
    assert run(sleep, CLEAN)
    assert not run(sleep, [(-45.0, 0.1, 0.33)])


def test_after_a_long_noise_clean_speech_is_left_alone_again_soon():
    sleep = Sleep(HOP)
    assert not run(sleep, [(-35.0, 0.1, 60.0)])
    assert run(sleep, CLEAN * 2)


def test_clicks_that_are_no_speech_wake_it():
    sleep = Sleep(HOP)
    assert run(sleep, CLEAN)
    assert not run(sleep, [(-35.0, 0.1, 0.05), (-80.0, 0.1, 0.1)] * 5)


def test_a_quieter_voice_behind_the_caller_wakes_it():
    sleep = Sleep(HOP)
    assert run(sleep, CLEAN)
    assert not run(sleep, [(-45.0, 0.9, 0.35)])


def test_speech_without_a_clean_pause_wakes_it():
    sleep = Sleep(HOP)
    assert run(sleep, CLEAN)
    assert not run(sleep, [(-25.0, 0.9, 2.1)])


def test_a_stretch_from_which_the_network_takes_something_is_not_clean():
    assert not run(Sleep(HOP), CLEAN, kept=-3.0)
