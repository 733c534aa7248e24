import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice import Denoiser, networks
from nearvoice.filterbank import NumpyFilterbank
from nearvoice.kernels import filterbank_layout, fused, image
from nearvoice.spectrum import Shape, Transform, fits

supported = pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
SHAPES = [model.shape for model in networks.MODELS.values()]
RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)
FITTING = [(shape, rate) for shape in SHAPES for rate in RATES if fits(shape, rate)]


def shown(transform, shape):
    return min(shape.bins, transform.hop + 1)


def numpy_bank(shape, rate):
    transform = Transform(shape, rate)
    return NumpyFilterbank(transform, shape.bins, shown(transform, shape))


def compiled_bank(shape, rate):
    transform = Transform(shape, rate)
    return fused.Filterbank(transform, shape.bins, shown(transform, shape), image.find())


BANKS = [numpy_bank, pytest.param(compiled_bank, marks=[supported, pytest.mark.model])]


def noise(count, seed=0):
    return (np.random.default_rng(seed).standard_normal(count) * 0.1).astype(np.float32)


def windowed_twice(shape, rate, frame):
    return frame * Transform(shape, rate).power


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize(("shape", "rate"), [pair for pair in FITTING if pair[1] != 44_100])
@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_what_a_network_leaves_alone_is_the_frame_again(bank, shape, rate, gain):
    bank = bank(shape, rate)
    frame = noise(Transform(shape, rate).size)
    out, powers = bank.synthesise(bank.analyse(frame, gain).copy(), gain, 0.0)
    np.testing.assert_allclose(out, windowed_twice(shape, rate, frame), atol=1e-6)
    assert powers.left == pytest.approx(powers.heard, rel=1e-5)


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_what_is_dry_is_in_the_output_as_it_came(bank, shape, rate):
    bank = bank(shape, rate)
    frame = noise(Transform(shape, rate).size)
    out, powers = bank.synthesise(np.zeros_like(bank.analyse(frame, 8.0)), 8.0, 0.25)
    np.testing.assert_allclose(out, 0.25 * windowed_twice(shape, rate, frame), atol=1e-6)
    assert powers.left == 0


@pytest.mark.parametrize("bank", BANKS)
def test_bins_above_the_network_s_follow_its_highest_quarter_and_are_never_made_louder(bank):
    shape, rate = SHAPES[0], 48_000
    transform = Transform(shape, rate)
    frame = noise(transform.size)
    for factor, kept in ((0.5, 0.5), (3.0, 1.0)):
        one, expected = bank(shape, rate), transform.forward(frame)
        heard = one.analyse(frame, 1.0).copy()
        heard[shape.bins * 3 // 4 :] *= np.float32(factor)
        out, _ = one.synthesise(heard.copy(), 1.0, 0.0)
        expected[: shape.bins], expected[shape.bins :] = heard, kept * expected[shape.bins :]
        np.testing.assert_allclose(out, transform.backward(expected), atol=1e-6)


@supported
@pytest.mark.model
@given(
    pair=st.sampled_from([pair for pair in FITTING if pair[1] != 44_100]),
    gain=st.floats(0.01, 100),
    dry=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_compiled_and_numpy_are_the_same(pair, gain, dry, seed):
    twin, compiled = numpy_bank(*pair), compiled_bank(*pair)
    frame = noise(Transform(*pair).size, seed)
    heard, other = (bank.analyse(frame, gain) for bank in (twin, compiled))
    np.testing.assert_allclose(other, heard, atol=1e-5 * np.abs(heard).max())
    mask = np.random.default_rng(seed).random(len(heard)).astype(np.float32)
    enhanced = heard * mask
    (expected, powers), (got, others) = (
        bank.synthesise(enhanced.copy(), gain, dry) for bank in (twin, compiled)
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(others, powers, rtol=1e-4)


@pytest.mark.parametrize("bank", BANKS)
def test_two_streams_do_not_touch(bank):
    pair = SHAPES[1], 16_000
    size = Transform(*pair).size
    alone, first, second = bank(*pair), bank(*pair), bank(*pair)
    expected = alone.synthesise(alone.analyse(noise(size), 2.0).copy(), 2.0, 0.5)[0].copy()
    heard = first.analyse(noise(size), 2.0).copy()
    second.analyse(noise(size, seed=1), 3.0)
    second.synthesise(heard * 0, 3.0, 0.0)
    np.testing.assert_array_equal(first.synthesise(heard, 2.0, 0.5)[0], expected)


@pytest.mark.parametrize("bank", BANKS)
def test_a_number_that_is_none_comes_out_as_none(bank):
    bank = bank(SHAPES[1], 16_000)
    heard = bank.analyse(noise(320), 1.0).copy()
    heard[3] = np.nan
    assert np.isnan(bank.synthesise(heard, 1.0, 0.0)[0]).all()


@given(st.integers(1, filterbank_layout.LARGEST + 1000))
def test_a_plan_has_passes_for_exactly_the_sizes_that_are_products_of_its_radices(size):
    rest = size
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    passes = filterbank_layout.radices(size)
    assert (passes is not None) == (rest == 1 and size <= filterbank_layout.LARGEST)
    assert passes is None or np.prod([1, *passes]) == size


@supported
@pytest.mark.model
def test_sizes_without_a_plan_are_left_to_numpy():
    shape = SHAPES[1]  # 882 samples: 441 complex ones, 3 x 3 x 7 x 7
    transform = Transform(shape, 44_100)
    with pytest.raises(ValueError, match="no compiled transform of 882 samples"):
        fused.Filterbank(transform, shape.bins, shape.bins, image.find())
    bank = networks.filterbank("numba", shape.bins, transform, shape.bins)
    assert isinstance(bank, NumpyFilterbank)
    bank = networks.filterbank("numba", shape.bins, Transform(shape, 48_000), shape.bins)
    assert isinstance(bank, fused.Filterbank)


def test_the_usual_rates_have_a_plan_but_44_100():
    for shape, rate in FITTING:
        planned = filterbank_layout.radices(Transform(shape, rate).hop) is not None
        assert planned == (rate != 44_100)


@supported
@pytest.mark.model
def test_a_copy_of_a_stream_is_a_stream_of_its_own():
    first = Denoiser("hush", 24_000, kernel="numba", level=False, bypass=False)
    first.process(noise(2_400))
    second = copy.deepcopy(first)
    second.process(noise(240, seed=1))
    alone = Denoiser("hush", 24_000, kernel="numba", level=False, bypass=False)
    alone.process(noise(2_400))
    rest = noise(2_400, seed=2)
    np.testing.assert_array_equal(first.process(rest), alone.process(rest))


def test_kernels_that_are_not_compiled_have_the_filterbank_of_numpy():
    transform = Transform(SHAPES[0], 16_000)
    for kernel in ("numpy", "onnxruntime"):
        assert isinstance(networks.filterbank(kernel, 257, transform, 257), NumpyFilterbank)


def test_a_network_with_more_bins_than_the_sound_hears_zeros_in_them():
    shape = Shape(0.020, 161, "vorbis", 320, 1 / 320)
    heard = numpy_bank(shape, 8_000).analyse(noise(160), 1.0)
    assert len(heard) == 161
    assert not heard[81:].any()
    assert heard[:81].any()
