import math
import threading
import time
import wave
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from nearvoice import files, networks
from nearvoice.audio import to_float32
from nearvoice.denoise import Denoiser
from nearvoice.kernels import fused, image

NATIVE = (8_000, 16_000, 24_000, 32_000, 48_000)
RATES = (*NATIVE, 11_025, 22_050, 44_100)
MODELS = ("gtcrn", "hush")
SILENT = {"level": False, "bypass": False}


def noise(count, seed=0, scale=0.1):
    return (np.random.default_rng(seed).standard_normal(count) * scale).astype(np.float32)


@pytest.fixture
def identity(monkeypatch):
    """Networks that change nothing."""
    replace(monkeypatch, lambda spectrum, _: spectrum.copy())


def replace(monkeypatch, run):
    def load(name, _kernel):
        return SimpleNamespace(model=networks.MODELS[name], kernel="numpy", run=run)

    monkeypatch.setattr(networks, "load", load)


def band_limited(rate, seconds=1.0):
    """Sound that the bins of every network and every resampler pass: below 3 kHz."""
    t = np.arange(round(rate * seconds)) / rate
    tones = np.random.default_rng(1).uniform(100, 3000, 20)
    return (0.02 * np.sin(2 * np.pi * np.outer(tones, t) + tones[:, None]).sum(0)).astype("f4")


# ---- time -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rate", NATIVE)
def test_what_a_network_leaves_alone_comes_out_as_it_was_exactly_delay_later(model, rate):
    denoiser = Denoiser(model, rate, attenuation_limit=None, **SILENT)
    sound = noise(rate // 2)
    out = np.concatenate([denoiser.process(sound[i : i + 777]) for i in range(0, len(sound), 777)])
    delay = denoiser.delay_samples
    assert not out[:delay].any()
    np.testing.assert_allclose(out[delay:], sound[: len(sound) - delay], atol=2e-6)


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rate", sorted(set(RATES) - set(NATIVE)))
def test_at_other_rates_too_it_comes_out_exactly_delay_later(model, rate):
    denoiser = Denoiser(model, rate, attenuation_limit=None, **SILENT)
    sound = band_limited(rate)
    out = denoiser.process(sound)
    delay = denoiser.delay_samples
    edge = rate // 50
    np.testing.assert_allclose(out[delay + edge :], sound[edge : len(sound) - delay], atol=2e-3)


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize(("model", "milliseconds"), [("hush", 10), ("gtcrn", 30)])
@pytest.mark.parametrize("rate", NATIVE)
def test_chunks_of_ten_milliseconds_are_late_by_the_least_that_hops_allow(
    model, milliseconds, rate
):
    denoiser = Denoiser(model, rate, chunk=rate // 100, attenuation_limit=None, **SILENT)
    assert denoiser.delay == milliseconds / 1000
    sound = noise(rate)
    out = np.concatenate([denoiser.process(part) for part in np.split(sound, 20)])
    assert denoiser.delay == milliseconds / 1000
    shift = denoiser.delay_samples
    np.testing.assert_allclose(out[shift:], sound[:-shift], atol=2e-6)


@pytest.mark.usefixtures("identity")
def test_a_chunk_that_is_no_multiple_as_declared_makes_it_later_once_and_loses_nothing():
    denoiser = Denoiser("hush", 16_000, chunk=160, attenuation_limit=None, **SILENT)
    sound = noise(16_000)
    first, rest = sound[:1600], sound[1600:]
    out = [denoiser.process(first)]
    delays = []
    for i in range(0, len(rest), 37):
        out.append(denoiser.process(rest[i : i + 37]))
        delays.append(denoiser.delay_samples)
    assert set(delays) == {319}
    heard = np.concatenate(out)
    again = heard[1600 + 319 : 8000 + 319]
    np.testing.assert_allclose(again, sound[1600:8000], atol=2e-6)


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("model", MODELS)
def test_pushed_sound_is_in_time_and_flushed_to_its_end(model, rate):
    denoiser = Denoiser(model, rate, attenuation_limit=None, **SILENT)
    sound = band_limited(rate, 0.5)
    parts = [denoiser.push(sound[i : i + 1000]) for i in range(0, len(sound), 1000)]
    out = np.concatenate([*parts, denoiser.flush()])
    assert len(out) == len(sound)
    edge = rate // 50
    np.testing.assert_allclose(out[edge:-edge], sound[edge:-edge], atol=2e-3)


@given(
    rate=st.sampled_from(RATES),
    model=st.sampled_from(MODELS),
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=30),
)
@settings(max_examples=40, deadline=None)
def test_there_is_always_as_much_sound_as_was_asked_for(rate, model, sizes):
    with pytest.MonkeyPatch.context() as monkeypatch:
        replace(monkeypatch, lambda spectrum, _: spectrum.copy())
        denoiser = Denoiser(model, rate, attenuation_limit=None, **SILENT)
    delay = denoiser.delay_samples
    for size in sizes:
        assert len(denoiser.process(noise(size))) == size
    assert denoiser.delay_samples == delay


# ---- the four of every stream -----------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 22_050])
def test_the_same_sound_comes_out_to_the_bit_however_it_is_cut(model, rate):
    sound = speech(rate)[: 2 * rate]
    whole = Denoiser(model, rate).process(sound)
    for size in (1, 7, 160, 1000) if rate == 8_000 else (163, 1200):
        denoiser = Denoiser(model, rate)
        parts = [denoiser.process(sound[i : i + size]) for i in range(0, len(sound), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_a_stream_that_was_reset_is_like_a_new_one(model):
    sound = speech(16_000)
    denoiser = Denoiser(model)
    first = denoiser.process(sound)
    denoiser.reset()
    np.testing.assert_array_equal(denoiser.process(sound), first)


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_two_streams_do_not_touch(model):
    one, other = speech(16_000)[:32_000], noise(32_000)
    alone = [Denoiser(model).process(sound) for sound in (one, other)]
    first, second = Denoiser(model), Denoiser(model)
    together = [
        (first.process(a), second.process(b))
        for a, b in zip(np.split(one, 20), np.split(other, 20), strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate([a for a, _ in together]), alone[0])
    np.testing.assert_array_equal(np.concatenate([b for _, b in together]), alone[1])


@pytest.mark.model
@pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
def test_a_stream_goes_over_to_what_was_compiled_meanwhile_between_two_hops(monkeypatch):
    compiled = threading.Event()
    monkeypatch.setattr(networks.image, "exists", lambda: False)
    monkeypatch.setattr(networks.build, "build", lambda _level: compiled.wait(10))
    network = networks.Network("gtcrn", "numba")
    expected = Denoiser("gtcrn", kernel="onnxruntime", **SILENT).process(speech(16_000)[:32_000])
    monkeypatch.setattr(networks, "load", lambda _name, _kernel: network)
    denoiser = Denoiser("gtcrn", **SILENT)
    first = denoiser.process(speech(16_000)[:16_100])
    assert denoiser.kernel == "onnxruntime"
    compiled.set()
    until = time.monotonic() + 10
    while denoiser.kernel != "numba" and time.monotonic() < until:
        time.sleep(0.01)
    assert denoiser.kernel == "numba"
    second = denoiser.process(speech(16_000)[16_100:32_000])
    np.testing.assert_allclose(np.concatenate((first, second)), expected, atol=1e-4)
    assert isinstance(denoiser._stream._suppressor._bank, fused.Filterbank)


# ---- strength and limit -----------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rate", RATES)
def test_without_strength_the_sound_comes_out_as_it_went_in_to_the_bit(model, rate):
    denoiser = Denoiser(model, rate, strength=0)
    sound = noise(rate)
    out = np.concatenate([denoiser.process(part) for part in np.array_split(sound, 9)])
    np.testing.assert_array_equal(out[denoiser.delay_samples :], sound[: -denoiser.delay_samples])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_strength_changes_without_a_click_and_without_a_change_of_delay(monkeypatch, model, rate):
    replace(monkeypatch, lambda spectrum, _: 0.5 * spectrum)
    denoiser = Denoiser(model, rate, attenuation_limit=None, **SILENT)
    tone = np.sin(2 * np.pi * 200 * np.arange(rate) / rate).astype(np.float32)
    out = []
    for i, part in enumerate(np.array_split(tone, 10)):
        denoiser.strength = float(i % 2)
        out.append(denoiser.process(part))
    steepest = 2 * np.pi * 200 / rate
    heard = np.concatenate(out)[2 * denoiser.delay_samples :]
    assert np.abs(np.diff(heard)).max() < 1.5 * steepest


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_nothing_of_old_speech_comes_back_with_the_strength(model):
    denoiser = Denoiser(model, chunk=160)
    denoiser.process(speech(16_000)[: 16_000 * 4 + 4_800])
    denoiser.strength = 0
    quiet = noise(48_000, scale=0.001)
    denoiser.process(quiet[:32_000])
    denoiser.strength = 1
    assert np.abs(denoiser.process(quiet[32_000:])).max() < 1.5 * np.abs(quiet).max()


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("to", [0.0, 1.0])
def test_a_change_of_strength_is_over_soon_in_however_long_a_chunk(to):
    rate = 22_050
    changed = Denoiser("hush", rate, attenuation_limit=None, **SILENT)
    constant = Denoiser("hush", rate, strength=to, attenuation_limit=None, **SILENT)
    changed.strength = 1 - to
    sound = band_limited(rate, 3.0)
    changed.process(sound[:rate])
    constant.process(sound[:rate])
    changed.strength = to
    after, expected = changed.process(sound[rate:]), constant.process(sound[rate:])
    soon = changed.delay_samples + rate // 20
    np.testing.assert_allclose(after[soon:], expected[soon:], atol=1e-5)


@pytest.mark.parametrize("limit", [6.0, 12.0, 24.0])
def test_nothing_is_taken_beyond_the_attenuation_limit(monkeypatch, limit):
    replace(monkeypatch, lambda spectrum, _: np.zeros_like(spectrum))
    denoiser = Denoiser("gtcrn", attenuation_limit=limit, **SILENT)
    sound = noise(16_000)
    out = denoiser.process(sound)[denoiser.delay_samples :]
    np.testing.assert_allclose(out, sound[: len(out)] * 10 ** (-limit / 20), atol=1e-6)


def test_half_the_strength_is_half_the_decibels(monkeypatch):
    replace(monkeypatch, lambda spectrum, _: np.zeros_like(spectrum))
    denoiser = Denoiser("gtcrn", attenuation_limit=24, strength=0.5, **SILENT)
    sound = noise(16_000)
    out = denoiser.process(sound)[denoiser.delay_samples :]
    np.testing.assert_allclose(out, sound[: len(out)] * 10 ** (-12 / 20), atol=1e-6)


# ---- bins -------------------------------------------------------------------------------------


def test_what_is_above_the_network_s_bins_follows_the_highest_of_them(monkeypatch):
    replace(monkeypatch, lambda spectrum, _: 0.25 * spectrum)
    denoiser = Denoiser("hush", 48_000, **SILENT)
    sound = noise(48_000)
    out = denoiser.process(sound)[denoiser.delay_samples :]
    np.testing.assert_allclose(out, 0.25 * sound[: len(out)], atol=1e-5)


def test_nothing_above_the_network_s_bins_is_made_louder(monkeypatch):
    replace(monkeypatch, lambda spectrum, _: 2 * spectrum)
    denoiser = Denoiser("hush", 48_000, **SILENT)
    t = np.arange(48_000) / 48_000
    high = (0.1 * np.sin(2 * np.pi * 15_000 * t)).astype(np.float32)
    out = denoiser.process(high + noise(48_000, scale=1e-4))
    assert np.abs(out).max() < 0.11


def test_a_network_hears_no_higher_than_its_band(monkeypatch):
    heard = []

    def run(spectrum, _):
        heard.append(np.abs(spectrum))
        return spectrum.copy()

    replace(monkeypatch, run)
    Denoiser("hush", 24_000, band=4_000, **SILENT).process(noise(24_000))
    assert np.all(np.array(heard)[:, 81:] == 0)
    assert np.all(np.array(heard)[:, 1:81].mean(0) > 0)


@pytest.mark.model
def test_above_the_band_of_a_telephone_nothing_is_invented():
    narrow = speech(8_000)
    wide = np.ascontiguousarray(soxr.resample(narrow, 8_000, 24_000), np.float32)
    denoiser = Denoiser("hush", 24_000, band=4_000)
    out = denoiser.process(wide)

    def above(sound):
        spectra = np.abs(np.fft.rfft(sound[:140_000].reshape(-1, 1_000) * np.hanning(1_000)))
        return np.square(spectra[:, 175:]).sum()  # from 4.2 kHz on

    assert above(out) <= above(wide) + 1e-6


@pytest.mark.model
def test_a_telephone_call_sounds_the_same_at_its_own_rate_and_at_a_room_s():
    narrow = speech(8_000)
    own = Denoiser("hush", 8_000, level=False, bypass=False).push(narrow)
    wide = np.ascontiguousarray(soxr.resample(narrow, 8_000, 24_000), np.float32)
    room = Denoiser("hush", 24_000, band=4_000, level=False, bypass=False).push(wide)
    back = soxr.resample(room, 24_000, 8_000)[: len(own)]
    own = own[: len(back)]
    assert np.square(own - back).sum() < 0.02 * np.square(own).sum()


# ---- silence, damage --------------------------------------------------------------------------


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_a_sample_that_is_no_number_is_a_hop_of_silence_and_no_more(value, rate):
    denoiser = Denoiser("hush", rate, attenuation_limit=None, **SILENT)
    sound = band_limited(rate)
    damaged = sound.copy()
    damaged[rate // 2] = value
    out, good = denoiser.process(damaged), Denoiser("hush", rate, attenuation_limit=None, **SILENT)
    expected = good.process(sound)
    assert np.isfinite(out).all()
    changed = np.flatnonzero(np.abs(out - expected) > 1e-3)
    assert 0 < len(changed) < 0.045 * rate


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_digital_silence_is_silence_and_the_network_sleeps(monkeypatch, model):
    runs = []
    run = networks.load(model, "auto").run
    replace(monkeypatch, lambda *a: runs.append(1) or run(*a))
    denoiser = Denoiser(model)
    out = denoiser.process(np.zeros(160_000, np.float32))
    assert not out.any()
    assert len(runs) * networks.MODELS[model].shape.duration / 2 < 0.25


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_sound_after_silence_is_suppressed_from_its_first_hop(model):
    denoiser = Denoiser(model)
    denoiser.process(np.zeros(16_000, np.float32))
    out = denoiser.process(noise(16_000, scale=0.01))
    assert np.abs(out[4000:]).mean() < 0.3 * 0.008


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_two_minutes_of_silence_leave_no_denormal_numbers_in_the_memory(model):
    denoiser = Denoiser(model, bypass=False)
    denoiser.process(speech(16_000)[:16_000])
    for _ in range(120):
        out = denoiser.process(np.zeros(16_000, np.float32))
    memory = np.abs(denoiser._stream._suppressor._memory)
    assert not np.abs(out).max() > 1e-6
    assert not np.count_nonzero((memory > 0) & (memory < np.finfo(np.float32).tiny))


# ---- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "rnnoise"}, "model must be one of gtcrn, hush"),
        ({"kernel": "cuda"}, "kernel must be one of"),
        ({"sample_rate": 4_000}, "sample_rate must be from 8000"),
        ({"strength": 1.5}, "strength must be from 0 to 1"),
        ({"strength": math.nan}, "strength must be from 0 to 1"),
        ({"attenuation_limit": -3}, "attenuation_limit must be from 0"),
        ({"band": 10}, "band must be from 1000"),
        ({"chunk": 0}, "chunk must be from 1"),
        ({"chunk": 1.5}, "chunk must be a whole number"),
        ({"sample_rate": 16_000.5}, "sample_rate must be a whole number"),
        ({"strength": "1"}, "strength must be from 0 to 1"),
        ({"model": []}, "model must be one of"),
    ],
)
def test_an_argument_out_of_its_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Denoiser(**arguments)


@pytest.mark.usefixtures("identity")
def test_numbers_of_numpy_are_numbers():
    rate, chunk = np.int64(16_000), np.int32(160)
    assert Denoiser("hush", rate, chunk=chunk, strength=np.float32(0.5), **SILENT).delay == 0.01


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize(
    "samples", [np.zeros(10, np.float64), np.zeros((2, 10), np.float32), np.zeros(10, np.int16)]
)
def test_samples_that_are_no_mono_float32_are_refused(samples):
    with pytest.raises(ValueError, match=r"samples are float32\[n\]"):
        Denoiser(**SILENT).process(samples)


def speech(rate):
    """Six seconds of the demo call at any rate, float32."""
    with wave.open(str(files.path("sample.wav"))) as file:
        pcm = np.frombuffer(file.readframes(6 * file.getframerate()), np.int16)
    samples = to_float32(pcm)
    resampled = soxr.resample(samples, 16_000, rate) if rate != 16_000 else samples
    return np.ascontiguousarray(resampled, np.float32)


@pytest.mark.model
@pytest.mark.parametrize("model", MODELS)
def test_a_network_is_loaded_once_whether_its_kernel_was_chosen_or_named(model):
    chosen = networks.load(model, "auto")
    assert networks.load(model, chosen.kernel) is chosen
