from itertools import pairwise

import numpy as np
import pytest

from nearvoice.spectrum import Shape, Transform, fits

HANN = Shape(0.032, 257, "hann", 512, 1.0)
VORBIS = Shape(0.020, 161, "vorbis", 320, 1 / 320)
RATES = (8_000, 16_000, 24_000, 32_000, 48_000)


@pytest.mark.parametrize("shape", [HANN, VORBIS])
@pytest.mark.parametrize("rate", RATES)
def test_frames_that_overlap_by_half_add_to_the_sound_they_came_from(shape, rate):
    transform = Transform(shape, rate)
    sound = np.random.default_rng(rate).standard_normal(transform.hop * 9).astype(np.float32)
    hops = sound.reshape(-1, transform.hop)
    frames = [np.concatenate(pair) for pair in pairwise(hops)]
    back = [transform.backward(transform.forward(frame)) for frame in frames]
    added = [a[transform.hop :] + b[: transform.hop] for a, b in pairwise(back)]
    np.testing.assert_allclose(np.concatenate(added), hops[1:-1].reshape(-1), atol=2e-6)


@pytest.mark.parametrize("shape", [HANN, VORBIS])
def test_a_tone_is_in_the_same_bin_and_as_loud_at_every_rate(shape):
    tone = 1000.0
    heard = []
    for rate in RATES:
        transform = Transform(shape, rate)
        time = np.arange(transform.size) / rate
        heard.append(np.abs(transform.forward(np.cos(2 * np.pi * tone * time).astype(np.float32))))
    at = round(tone * shape.duration)
    assert {int(spectrum.argmax()) for spectrum in heard} == {at}
    np.testing.assert_allclose([spectrum[at] for spectrum in heard], heard[1][at], rtol=1e-3)


@pytest.mark.parametrize("shape", [HANN, VORBIS])
def test_what_frames_are_multiplied_with_when_left_alone_adds_to_one(shape):
    power = Transform(shape, 16_000).power
    half = len(power) // 2
    np.testing.assert_allclose(power[:half] + power[half:], 1, atol=1e-6)


def test_at_the_network_s_own_rate_the_transform_is_the_plain_one():
    frame = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    window = np.sqrt(np.hanning(513)[:512])
    np.testing.assert_allclose(
        Transform(HANN, 16_000).forward(frame), np.fft.rfft(frame * window), atol=1e-4
    )


@pytest.mark.parametrize(
    ("shape", "rate", "fitting"),
    [
        (HANN, 16_000, True),
        (HANN, 44_100, False),
        (VORBIS, 44_100, True),
        (VORBIS, 22_050, False),
        (HANN, 11_025, False),
        (VORBIS, 96_000, True),
    ],
)
def test_a_rate_fits_when_a_hop_is_a_whole_number_of_samples(shape, rate, fitting):
    assert fits(shape, rate) is fitting
