import numpy as np
import pytest

from benchmarks import sounds
from benchmarks.data import HOP, RATE, Clip
from benchmarks.sounds import AMBIENCES
from nearvoice.audio import to_float32, to_int16
from tests.clips import steady, talk, tone


def test_the_noises_of_livekit_agents_are_decoded_to_16_khz():
    noises = sounds.noises()
    assert noises.keys() >= set(AMBIENCES)
    assert all(noise.dtype == np.float32 and len(noise) > RATE for noise in noises.values())
    assert len(noises["city-ambience"]) == 30 * RATE


@pytest.mark.parametrize("snr", [20, 5, 0])
def test_a_mix_has_the_ratio_over_labelled_speech(snr):
    clip = talk()
    mixed = sounds.mix(clip, steady(), snr, seed=1)
    speech = clip.samples[np.repeat(clip.labels, HOP)]
    noise = mixed.samples - clip.samples
    assert sounds.level(speech) - sounds.level(noise) == pytest.approx(snr, abs=0.05)
    assert np.array_equal(mixed.labels, clip.labels)


def test_a_seed_gives_the_same_mix_and_another_seed_another():
    first, again, other = (sounds.mix(talk(), steady(), 5, seed).samples for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_mix_needs_speech_and_noise():
    silent = Clip("silent", talk().samples, np.zeros(200, bool))
    for clip, noise in ((silent, steady()), (talk(), sounds.digital_silence(1.0))):
        with pytest.raises(ValueError, match="no speech, or no noise"):
            sounds.mix(clip, noise, 5, seed=1)


def test_a_quieter_clip_is_as_much_quieter_and_still_of_16_bits():
    quiet = sounds.attenuate(talk(), 20).samples
    assert sounds.level(quiet) == pytest.approx(sounds.level(talk().samples) - 20, abs=0.1)
    assert np.array_equal(to_float32(to_int16(quiet)), quiet)


def test_a_room_decays_as_asked_and_is_as_reverberant_as_asked():
    response = sounds.room(rt60=0.5, direct_db=-3.0, seed=1).astype(np.float64)
    assert response[0] == 1
    assert not response[1 : RATE // 400].any()
    assert 10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(3.0)
    early, late = (np.sum(response[int(t * RATE) :][:800] ** 2) for t in (0.05, 0.3))
    assert 10 * np.log10(early / late) == pytest.approx(60 * 0.25 / 0.5, abs=1.5)
    assert np.array_equal(sounds.room(0.5, -3.0, 1), sounds.room(0.5, -3.0, 1))


def test_a_clip_in_a_room_is_as_long_and_as_loud_and_no_sound_comes_early():
    clip = talk()
    wet = sounds.reverberate(clip, sounds.room(0.4, 0.0, seed=2))
    assert len(wet.samples) == len(clip.samples)
    assert sounds.level(wet.samples) == pytest.approx(sounds.level(clip.samples), abs=0.01)
    assert sounds.level(wet.samples[: RATE // 2]) < -55 < sounds.level(wet.samples[-RATE // 2 :])


def test_a_clip_in_a_room_without_reverberation_is_the_clip():
    dry = sounds.reverberate(talk(), np.ones(1, np.float32))
    assert np.abs(dry.samples - talk().samples).max() < 1e-4


@pytest.mark.parametrize("name", sounds.PRELUDES)
def test_a_prelude_lasts_as_asked_and_comes_again_with_its_seed(name):
    prelude = sounds.PRELUDES[name]
    assert len(prelude(2.5, 3)) == 2.5 * RATE
    assert prelude(2.5, 3).dtype == np.float32
    assert np.array_equal(prelude(2.5, 3), prelude(2.5, 3))
    assert prelude(2.5, 3).any() == (name != "digital silence")


def test_a_phone_rings_two_seconds_and_is_silent_for_four():
    loud = [sounds.level(second) > -25 for second in sounds.ringing(12.0).reshape(-1, RATE)]
    assert loud == [True, True, False, False, False, False] * 2
    spectrum = np.abs(np.fft.rfft(sounds.ringing(1.0)))
    assert sorted(np.argsort(spectrum)[-2:].tolist()) == [440, 480]


def test_recorded_preludes_and_babble_have_the_level_asked_for():
    music, crowd = (
        sounds.looped(tone(0.7), db=-30.0),
        sounds.babble([tone(0.9), tone(1.1)], db=-40.0),
    )
    assert sounds.level(music(3.0, 1)) == pytest.approx(-30, abs=0.1)
    assert sounds.level(crowd(3.0, 1)) == pytest.approx(-40, abs=0.1)
    assert np.array_equal(crowd(3.0, 1), crowd(3.0, 1))


def test_what_is_heard_before_a_clip_is_labelled_as_no_speech():
    clip = sounds.before(sounds.room_tone(1.0, 1), talk())
    assert len(clip.samples) == 3 * RATE
    assert not clip.labels[:100].any()
    assert np.array_equal(clip.labels[100:], talk().labels)
    with pytest.raises(ValueError, match="multiple of 160"):
        sounds.before(np.zeros(100, np.float32), talk())
