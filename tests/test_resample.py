import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.kernels import fused, image
from nearvoice.polyphase import filtered, polyphase
from nearvoice.resample import PolyphaseStream, Resampler

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
PAIRS = list(itertools.product(RATES, (8_000, 16_000)))
RESAMPLED = [(source, target) for source, target in PAIRS if source != target]
CHUNKS = (1, 7, 160, 512, 1000, None)
"""Sizes to cut a stream into; None is the whole of it at once."""
NUMBA = pytest.param(
    "numba",
    marks=[
        pytest.mark.model,
        pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported())),
    ],
)
FILTERS = ["filtered", NUMBA]
"""The polyphase filter: its clear twin, and compiled."""
KERNELS = [*FILTERS, "soxr"]


def stream(source: int, target: int, kernel: str) -> Resampler | PolyphaseStream:
    design = polyphase(source, target)
    if kernel == "filtered" and source != target:
        assert design is not None
        return PolyphaseStream(source, target, design, filtered)
    return Resampler(source, target, "soxr" if kernel == "filtered" else kernel)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, count).astype(np.float32)


def tone(rate: int, hertz: float, seconds: float = 0.5) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def cut(samples: np.ndarray, size: int | None) -> list[np.ndarray]:
    size = size or max(1, len(samples))
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def settled(samples: np.ndarray) -> np.ndarray:
    """Return the middle of a second, far from both ends."""
    return samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)


def decibels(samples: np.ndarray) -> float:
    """Return the level beside that of :func:`tone`."""
    return float(10 * np.log10(np.mean(np.square(settled(samples))) / 0.125 + 1e-20))


# A stream


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_resampling_is_bit_identical_however_the_input_is_cut(
    source: int, target: int, kernel: str
) -> None:
    samples = noise(source // 8)
    outputs = []
    for size in CHUNKS:
        resampler = stream(source, target, kernel)
        outputs.append(np.concatenate([resampler.push(part) for part in cut(samples, size)]))
    assert outputs[0].dtype == np.float32
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


@given(
    st.sampled_from([(24_000, 16_000), (44_100, 16_000), (8_000, 16_000), (48_000, 8_000)]),
    st.lists(st.integers(0, 700), max_size=20),
)
def test_any_cutting_gives_the_same_samples(rates: tuple[int, int], counts: list[int]) -> None:
    samples = noise(sum(counts))
    for kernel in ("filtered", "soxr"):
        whole, parts = (stream(*rates, kernel) for _ in range(2))
        pushed = [parts.push(part) for part in np.split(samples, np.cumsum(counts))]
        assert np.array_equal(np.concatenate(pushed), whole.push(samples))


def withheld(source: int, target: int, resampler: Resampler | PolyphaseStream) -> float:
    """Return the longest stretch, in seconds, that did not come out at once."""
    produced, longest = 0, 0.0
    for pushed, part in enumerate(cut(noise(3000), 1), start=1):
        produced += len(resampler.push(part))
        longest = max(longest, pushed / source - produced / target)
    return longest


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize(("source", "target"), RESAMPLED)
def test_the_declared_delay_is_the_longest_stretch_withheld(
    source: int, target: int, kernel: str
) -> None:
    resampler = stream(source, target, kernel)
    assert withheld(source, target, resampler) == pytest.approx(resampler.delay, abs=1e-9)
    assert resampler.delay == pytest.approx(24 / min(source, target))


@pytest.mark.parametrize(("source", "target"), RESAMPLED)
def test_soxr_withholds_no_more_than_its_declared_delay(source: int, target: int) -> None:
    resampler = stream(source, target, "soxr")
    assert 0.3 * resampler.delay < withheld(source, target, resampler) <= resampler.delay


@pytest.mark.parametrize("source", [24_000, 32_000, 44_100, 48_000])
def test_the_filter_hears_1_5_ms_ahead(source: int) -> None:
    assert stream(source, 16_000, "filtered").delay == pytest.approx(0.0015)


@pytest.mark.parametrize("kernel", KERNELS)
def test_resamplers_do_not_touch_each_other_and_start_alike(kernel: str) -> None:
    samples = noise(4800)
    alone = stream(48_000, 16_000, kernel)
    expected = [alone.push(part) for part in cut(samples, 480)]
    first, second = stream(48_000, 16_000, kernel), stream(48_000, 16_000, kernel)
    for part, want in zip(cut(samples, 480), expected, strict=True):
        second.push(noise(480, seed=1))
        assert np.array_equal(first.push(part), want)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_was_pushed_and_what_came_out_may_be_changed_afterwards(kernel: str) -> None:
    samples = noise(4800)
    expected = stream(48_000, 16_000, kernel).push(samples)
    resampler, pieces = stream(48_000, 16_000, kernel), []
    for part in cut(samples.copy(), 480):
        output = resampler.push(part)
        pieces.append(output.copy())
        part[:] = 9
        output[:] = 9
    assert np.array_equal(np.concatenate(pieces), expected)


# Its sound


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("source", RATES)
def test_a_resampled_tone_keeps_its_pitch_level_and_time(source: int, kernel: str) -> None:
    got = stream(source, 16_000, kernel).push(tone(source, 300, seconds=1))
    want = tone(16_000, 300, seconds=1)[: len(got)]
    assert np.abs(got - want)[100:-100].max() < 1e-3


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("source", [24_000, 48_000])
def test_tones_up_to_7_khz_keep_their_level(source: int, kernel: str) -> None:
    for hertz in (100, 1000, 3000, 5000, 6000, 6500, 7000):
        assert -1.5 < decibels(stream(source, 16_000, kernel).push(tone(source, hertz))) < 0.1


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("hertz", [9_000, 10_000, 12_000, 15_000, 20_000])
def test_what_is_above_the_band_is_80_db_down_rather_than_folded_into_it(
    hertz: int, kernel: str
) -> None:
    assert decibels(stream(48_000, 16_000, kernel).push(tone(48_000, hertz))) < -80


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("hertz", [300, 1000, 2000, 3000, 3400])
def test_telephone_sound_gets_no_mirror_images_above_4_khz(hertz: int, kernel: str) -> None:
    got = settled(stream(8_000, 16_000, kernel).push(tone(8_000, hertz)))
    phase = 2 * np.pi * hertz * np.arange(len(got)) / 16_000
    waves = np.stack((np.sin(phase), np.cos(phase)), axis=1)
    amplitudes, _, _, _ = np.linalg.lstsq(waves, got)
    rest = got - waves @ amplitudes
    assert np.hypot(*amplitudes) == pytest.approx(0.5, rel=0.1)
    assert 10 * np.log10(np.mean(rest**2) / 0.125) < -80


@pytest.mark.parametrize("kernel", KERNELS)
def test_silence_stays_silence_and_a_constant_a_constant(kernel: str) -> None:
    assert not stream(24_000, 16_000, kernel).push(np.zeros(24_000, np.float32)).any()
    got = stream(24_000, 16_000, kernel).push(np.full(24_000, 0.5, np.float32))
    assert np.abs(got[100:-100] - 0.5).max() < 1e-3


# The filter


def by_definition(samples: np.ndarray, source: int, target: int, count: int) -> np.ndarray:
    """Sum a sinc in a Kaiser window at every sample that has come, in double precision."""
    lower = min(source, target)
    moments = np.arange(count)[:, None] / target - np.arange(len(samples)) / source
    reach = 24 / lower
    inside = np.clip(1 - (moments / reach) ** 2, 0, None)
    weights = np.sinc(moments * lower * 0.92) * np.i0(8 * np.sqrt(inside)) / np.i0(8)
    weights *= (np.abs(moments) <= reach * (1 + 1e-9)) * 0.92 * lower / source
    return weights @ samples.astype(np.float64)


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize(("source", "target"), [*RESAMPLED, (16_000, 24_000), (16_000, 48_000)])
def test_the_filter_is_a_sinc_in_a_kaiser_window(source: int, target: int, kernel: str) -> None:
    samples = noise(600)
    got = stream(source, target, kernel).push(samples)
    assert len(got) == pytest.approx((600 / source - 24 / min(source, target)) * target, abs=1)
    # the sum of the taps is made one, which a windowed sinc's is but nearly
    assert np.abs(got - by_definition(samples, source, target, len(got))).max() < 1e-4


@pytest.mark.parametrize("kernel", FILTERS)
def test_a_click_comes_out_as_it_always_has(kernel: str) -> None:
    click = np.zeros(80, np.float32)
    click[40] = 1
    got = stream(24_000, 16_000, kernel).push(click)[24:30]
    assert got == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [0.0751619, -0.1243621, 0.2974911, 0.5223916, -0.1028022, 0.0390304]


@pytest.mark.model
@pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
@pytest.mark.parametrize(("source", "target"), [*RESAMPLED, (16_000, 48_000)])
def test_the_compiled_filter_equals_its_twin(source: int, target: int) -> None:
    design = polyphase(source, target)
    assert design is not None
    compiled, x = fused.polyphase(image.find()), noise(3000)
    most = ((len(x) - design.taps.shape[1]) * design.up) // design.down
    for phase, count in ((0, most), (design.up - 1, most), (design.middle, 100), (5, 1), (7, 0)):
        got, want = (run(x, design, phase, count) for run in (compiled, filtered))
        assert got.dtype == want.dtype == np.float32
        assert got.shape == want.shape == (count,)
        assert np.abs(got - want).max(initial=0) <= 1e-6


@pytest.mark.parametrize(("source", "target"), RESAMPLED)
def test_every_phase_of_the_filter_passes_a_constant(source: int, target: int) -> None:
    design = polyphase(source, target)
    assert design is not None
    assert design.taps.dtype == np.float32
    assert len(design.taps) == design.up
    assert np.abs(design.taps.astype(np.float64).sum(axis=1) - 1).max() < 1e-3


# The door


@pytest.mark.parametrize(("source", "target"), [(0, 16_000), (16_000, 0), (-8_000, 16_000)])
def test_a_resampler_refuses_a_rate_that_is_not_positive(source: int, target: int) -> None:
    with pytest.raises(ValueError, match="sample rates must be positive"):
        Resampler(source, target)


def test_an_unknown_kernel_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="one of auto, numba, numpy, soxr, got 'linear'"):
        Resampler(48_000, 16_000, "linear")


@pytest.mark.parametrize(
    "samples", [np.zeros(9, np.int16), np.zeros(9), np.zeros((1, 9), np.float32)]
)
@pytest.mark.parametrize("source", [16_000, 48_000])
def test_samples_of_another_type_or_shape_are_refused(samples: np.ndarray, source: int) -> None:
    with pytest.raises(ValueError, match=r"samples are float32\[n\], got"):
        Resampler(source, 16_000).push(samples)


def test_equal_rates_pass_untouched_and_at_once() -> None:
    resampler, samples = Resampler(16_000, 16_000), noise(100)
    assert resampler.push(samples) is samples
    assert resampler.delay == 0


@pytest.mark.parametrize("source", [44_100, 47_999])
def test_rates_without_a_common_factor_are_left_to_soxr(source: int) -> None:
    assert polyphase(source, 16_001) is None
    samples = noise(source // 4)
    expected = Resampler(source, 16_001, "soxr").push(samples)
    assert np.array_equal(Resampler(source, 16_001).push(samples), expected)


def test_without_compiled_kernels_numpy_resamples_and_numba_is_refused(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(image, "folder", lambda: tmp_path)
    samples = noise(4800)
    expected = Resampler(48_000, 16_000, "numpy").push(samples)
    assert np.array_equal(Resampler(48_000, 16_000).push(samples), expected)
    with pytest.raises(image.ImageError):
        Resampler(48_000, 16_000, "numba")


@pytest.mark.model
@pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
def test_where_kernels_have_been_compiled_they_resample() -> None:
    samples = noise(4800)
    expected = Resampler(48_000, 16_000, "numba").push(samples)
    assert np.array_equal(Resampler(48_000, 16_000).push(samples), expected)
    assert Resampler(48_000, 16_000).delay == pytest.approx(0.0015)
