import functools

import numpy as np
import pytest

from nearvoice import arrays, convert, files, hush, hush_features, hush_weights
from nearvoice.hush_features import BANDS, BINS, LOW, MEMORY, WIDTHS, split
from tests.offline import sample
from tests.stores import onnx_bytes

HOPS = 400
"""Of the sample call: four seconds."""
GOLDEN = [-91.854, -89.55, -53.537, -58.143, -62.418]
"""Level of the enhanced call in decibels, half a second each, from the second one and a half on."""


def _layers(weights: list[str], numbers: list[int]) -> dict[str, tuple[int, ...]]:
    shapes = dict.fromkeys(weights, (16, 1, 1, 3))
    for number in numbers:
        shapes |= {f"onnx::Conv_{number}": (16, 16, 1, 1), f"onnx::Conv_{number + 1}": (16,)}
    return shapes


def _grus(*numbers: int) -> dict[str, tuple[int, ...]]:
    matrices = {f"onnx::GRU_{n + i}": (1, 768, 256) for n in numbers for i in (0, 1)}
    return matrices | {f"onnx::GRU_{n + 2}": (1, 1536) for n in numbers}


def _inner(stem: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{stem}.emb_gru.linear_in.0.weight": (1, 128, 256),
        f"{stem}.emb_gru.linear_out.0.weight": (1, 256, 128),
    }


ENCODER = {
    "onnx::Conv_300": (16, 1, 3, 3),
    "onnx::Conv_301": (16,),
    "enc.df_conv0.1.weight": (16, 1, 3, 3),
    "enc.df_fc_emb.0.weight": (16, 32, 8),
    **_layers(
        [f"enc.{name}.0.weight" for name in ("erb_conv1", "erb_conv2", "erb_conv3", "df_conv1")],
        [303, 306, 309, 312, 315],
    ),
    **_inner("enc"),
    **_grus(348),
}
GAINS = {
    "onnx::Conv_258": (1, 16, 1, 3),
    "onnx::Conv_259": (1,),
    **_layers(
        [f"erb_dec.{name}.0.weight" for name in ("convt3", "convt2", "convt1")],
        [237, 240, 243, 246, 249, 252, 255],
    ),
    **_inner("erb_dec"),
    **_grus(279),
}
FILTERS = {
    "df_dec.df_gru.linear_in.0.weight": (8, 16, 32),
    "df_dec.df_out.0.weight": (1, 256, 640),
    "onnx::Conv_304": (10, 16, 1, 1),
    "onnx::Conv_305": (10,),
    **_grus(325, 345, 365),
}


@functools.cache
def constants() -> tuple[arrays.Arrays, ...]:
    """Random constants under the names of the three files."""
    rng = np.random.default_rng(0)

    def some(shape: tuple[int, ...]) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)

    return tuple(
        {name: some(shape) for name, shape in shapes.items()}
        for shapes in (ENCODER, GAINS, FILTERS)
    )


def noise(hops: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        (rng.standard_normal((hops, BINS, 2)) * 1e-3).astype(np.float32).view(np.complex64)[..., 0]
    )


def run(network: hush.Network, spectra: np.ndarray, memory: np.ndarray | None = None) -> np.ndarray:
    memory = hush.initial_memory() if memory is None else memory
    return np.stack([network(spectrum, memory) for spectrum in spectra])


@pytest.fixture(scope="module")
def network() -> hush.Network:
    return hush.numpy_network(hush.arrange(*constants()))


# Features and memory


def test_bands_are_equal_steps_of_the_erb_scale_and_two_bins_wide_at_least():
    top = 9.265 * np.log(1 + 8000 / (24.7 * 9.265))
    steps = np.arange(1, BANDS + 1) * top / BANDS
    ends = np.floor(24.7 * 9.265 * (np.exp(steps / 9.265) - 1) / 50 + 0.5)
    for i in range(BANDS):
        ends[i] = max(ends[i], (ends[i - 1] if i else 0) + 2)
    ends[-1] += 1
    assert np.cumsum(WIDTHS).tolist() == ends.tolist()
    assert WIDTHS.sum() == BINS


def features_of(spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features of a whole sound at once, in double precision, by libdf's definition."""
    power = np.abs(spectra.astype(complex)) ** 2
    starts = np.cumsum(WIDTHS) - WIDTHS
    bands = 10 * np.log10(np.add.reduceat(power, starts, axis=1) / WIDTHS + 1e-10)
    mean, magnitude = np.linspace(-60, -90, BANDS), np.linspace(1e-3, 1e-4, LOW)
    keep = np.exp(-0.01)
    erb, low = [], []
    for decibels, spectrum in zip(bands, spectra[:, :LOW], strict=True):
        mean = mean * keep + decibels * (1 - keep)
        magnitude = magnitude * keep + np.abs(spectrum) * (1 - keep)
        erb.append((decibels - mean) / 40)
        low.append(spectrum / np.sqrt(magnitude))
    return np.array(erb), np.array(low)


def test_features_are_those_of_a_whole_sound():
    spectra = noise(200) * np.linspace(0.01, 10, 200, dtype=np.float32)[:, None]
    erb, low = features_of(spectra)
    memory = hush.initial_memory()
    for i, spectrum in enumerate(spectra):
        got_erb, got_low = hush_features.features(spectrum, split(memory))
        if i >= 2:
            np.testing.assert_allclose(got_erb, erb[i - 2 : i + 1], atol=2e-6)
            np.testing.assert_allclose(got_low, low[i - 2 : i + 1], atol=2e-6)


def test_before_the_first_hop_there_were_features_of_zero():
    erb, low = hush_features.features(noise(1)[0], split(hush.initial_memory()))
    assert not erb[:2].any()
    assert not low[:2].any()
    assert erb[2].all()
    assert low[2].all()


def test_the_parts_of_a_memory_lie_side_by_side_and_fill_it():
    memory = np.zeros(MEMORY, np.float32)
    for part in split(memory):
        part += 1
    assert np.count_nonzero(memory) == MEMORY - 2 * LOW - 4 * LOW  # imaginary parts
    assert set(memory) == {0, 1}


@pytest.mark.parametrize(
    "memory",
    [
        np.zeros(MEMORY + 1, np.float32),
        np.zeros(MEMORY),
        np.zeros(2 * MEMORY, np.float32)[::2],
    ],
)
def test_what_is_no_memory_is_refused(memory):
    with pytest.raises(ValueError, match=f"a memory of Hush is a contiguous float32.{MEMORY}."):
        split(memory)


def test_copying_the_memory_forks_a_stream_exactly(network):
    spectra, memory = noise(12), hush.initial_memory()
    run(network, spectra[:6], memory)
    fork = memory.copy()
    run(network, noise(6, seed=2), fork.copy())
    assert np.array_equal(run(network, spectra[6:], memory), run(network, spectra[6:], fork))
    assert np.array_equal(memory, fork)


def test_two_streams_do_not_touch(network):
    first, second = noise(8), noise(8, seed=2)
    memories = hush.initial_memory(), hush.initial_memory()
    both = [
        (network(a, memories[0]), network(b, memories[1]))
        for a, b in zip(first, second, strict=True)
    ]
    assert np.array_equal([a for a, _ in both], run(network, first))
    assert np.array_equal([b for _, b in both], run(network, second))


def test_the_spectrum_is_not_changed_and_the_result_is_a_new_array(network):
    spectrum = noise(1)[0]
    before, memory = spectrum.copy(), hush.initial_memory()
    enhanced = network(spectrum, memory)
    assert np.array_equal(spectrum, before)
    assert not np.shares_memory(enhanced, spectrum)
    assert not np.shares_memory(enhanced, memory)
    assert (enhanced.shape, enhanced.dtype) == ((BINS,), np.complex64)


def test_minutes_of_silence_leave_no_denormal_numbers_and_speech_goes_on(network):
    memory, zeros = hush.initial_memory(), np.zeros(BINS, np.complex64)
    run(network, noise(5), memory)
    assert not run(network, np.tile(zeros, (1_000, 1)), memory)[4:].any()
    for _ in range(20_000):
        hush_features.features(zeros, split(memory))
    assert not ((memory != 0) & (np.abs(memory) < np.finfo(np.float32).tiny)).any()
    assert np.isfinite(run(network, noise(5), memory)).all()


def test_what_is_not_finite_comes_out_as_nan(network):
    for wrong in (np.nan, np.inf):
        spectrum = noise(1)[0]
        spectrum[30] = wrong
        with np.errstate(invalid="ignore"):
            assert np.isnan(network(spectrum, hush.initial_memory())).all()


# Weights


def test_converted_constants_arrange_to_the_same_network():
    converted = [hush_weights.compact(one) for one in constants()]
    spectra = noise(5)
    expected = run(hush.numpy_network(hush.arrange(*constants())), spectra)
    got = run(hush.numpy_network(hush.arrange(*converted)), spectra)
    assert np.array_equal(got, expected)
    kept = sum(array.nbytes for one in converted for array in one.values())
    whole = sum(array.nbytes for one in constants() for array in one.values())
    assert kept < 0.28 * whole


def test_int8_weights_are_the_nearest_with_one_scale_an_output():
    weights = constants()[2]["onnx::GRU_325"]
    kept = hush_weights.compact(constants()[2])
    scale = kept["onnx::GRU_325.scale"]
    assert scale.shape == (1, 768, 1)
    assert np.abs(kept["onnx::GRU_325"].astype(int)).max(axis=2).tolist() == [[127] * 768]
    assert (np.abs(kept["onnx::GRU_325"] * scale - weights) <= 0.5001 * scale).all()


def test_conversion_happens_once_and_again_changes_nothing():
    once = hush_weights.compact(constants()[0])
    again = hush_weights.compact(once)
    assert once.keys() == again.keys()
    for name, values in once.items():
        np.testing.assert_array_equal(again[name], values, strict=True)


def test_weights_of_zero_stay_zero():
    name = "onnx::GRU_325"
    zeros = {**constants()[2], name: np.zeros_like(constants()[2][name])}
    kept = hush_weights.compact(zeros)
    assert not kept[name].any()
    assert np.isfinite(kept[f"{name}.scale"]).all()


@pytest.mark.parametrize("file", range(3))
def test_a_constant_that_is_missing_or_of_another_shape_is_named(file):
    known = constants()
    for name, values in known[file].items():
        for damaged in ({}, {name: values[..., :-1]}, {name: values.astype(np.float64)}):
            others = {key: value for key, value in known[file].items() if key != name}
            changed = [*known[:file], others | damaged, *known[file + 1 :]]
            with pytest.raises(arrays.WeightsError, match=f"{name} .*{hush.FILES[file]}"):
                hush.arrange(*changed)


def test_int8_weights_without_their_scale_are_refused():
    kept = [hush_weights.compact(one) for one in constants()]
    del kept[0]["onnx::GRU_349.scale"]
    with pytest.raises(arrays.WeightsError, match=r"GRU_349\.scale \[1, 768, 1\] is missing"):
        hush.arrange(*kept)


def test_a_conversion_is_named_in_what_the_arrays_came_from(tmp_path):
    known = files.manifest()
    for name in hush.FILES:
        assert convert.source(known[name]) == f"{known[name].sha256} int8"
    assert convert.source(known["silero_vad.onnx"]) == known["silero_vad.onnx"].sha256
    path = tmp_path / "n.onnx"
    path.write_bytes(onnx_bytes(constants()[2]))
    assert convert.convert(known[hush.FILES[2]], path)["onnx::GRU_325"].dtype == np.int8
    assert convert.convert(known["silero_vad.onnx"], path)["onnx::GRU_325"].dtype == np.float32


# The real network


@functools.cache
def call(hops: int = HOPS) -> np.ndarray:
    """Spectra of the sample call, which is at 16 kHz."""
    recording = sample.load()
    assert recording.rate == 16_000
    sound = recording.samples[80_000 : 80_000 + 160 * (hops + 1)].astype(np.float32) / 32_768
    window = np.sin(np.pi / 2 * np.sin(np.pi * (np.arange(320) + 0.5) / 320) ** 2)
    frames = np.lib.stride_tricks.sliding_window_view(sound, 320)[::160]
    return (np.fft.rfft(frames * window) / 320).astype(np.complex64)


def originals() -> list[arrays.Arrays]:
    return [arrays.read_onnx(files.path(name)) for name in hush.FILES]


def paths() -> list:
    return [files.path(name) for name in hush.FILES]


@pytest.fixture
def told(monkeypatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gains and filters of every hop that a network enhances."""
    told = []
    real = hush.enhance

    def enhance(spectrum, gains, filters, parts):
        told.append((gains.copy(), filters.copy()))
        return real(spectrum, gains, filters, parts)

    monkeypatch.setattr(hush, "enhance", enhance)
    return told


@functools.cache
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Gains and filters of the call from the original graphs, all hops at once."""
    import onnxruntime

    erb, low = features_of(call())
    sessions = [onnxruntime.InferenceSession(str(path)) for path in paths()]
    state = {"h_enc_in": np.zeros((1, 1, 256), np.float32)}
    feed = {
        "feat_erb": erb[None, None].astype(np.float32),
        "feat_spec": np.stack((low.real, low.imag))[None].astype(np.float32),
    }
    e0, e1, e2, e3, emb, c0, *_ = sessions[0].run(None, feed | state)
    state = {"h_erb_dec_in": np.zeros((1, 1, 256), np.float32)}
    encoded = {"e0": e0, "e1": e1, "e2": e2, "e3": e3, "emb": emb}
    gains = sessions[1].run(["m"], encoded | state)[0]
    state = {"h_df_dec_in": np.zeros((3, 1, 256), np.float32)}
    filters = sessions[2].run(["coefs"], {"emb": emb, "c0": c0} | state)[0]
    return gains[0, 0], filters[0]


@pytest.mark.model
def test_hop_by_hop_equals_the_original_graphs_over_the_whole_sound(told):
    gains, filters = batch()
    enhanced = run(hush.numpy_network(hush.arrange(*originals(), quantise=False)), call())
    np.testing.assert_allclose([gain for gain, _ in told], gains, atol=1e-5)
    np.testing.assert_allclose([taps for _, taps in told], filters, atol=1e-5)
    taps = filters.reshape(HOPS, LOW, 5, 2).astype(np.float64)
    history = np.concatenate((np.zeros((4, LOW)), call()[:, :LOW]))
    expected = call() * np.repeat(gains, WIDTHS, axis=1)
    expected[:, :LOW] = sum(
        (taps[:, :, i, 0] + 1j * taps[:, :, i, 1]) * history[i : i + HOPS] for i in range(5)
    )
    assert np.abs(enhanced - expected).max() < 1e-5 * np.abs(call()).max()


@pytest.mark.model
def test_onnxruntime_equals_numpy_and_remembers_the_same():
    memories = hush.initial_memory(), hush.initial_memory()
    reference = run(hush.onnx_network(paths()), call(), memories[0])
    weights = hush.arrange(*originals(), quantise=False)
    enhanced = run(hush.numpy_network(weights), call(), memories[1])
    assert np.abs(enhanced - reference).max() < 1e-5 * np.abs(call()).max()
    np.testing.assert_allclose(*memories, atol=1e-4)


@pytest.mark.model
def test_a_stream_may_change_to_onnxruntime_and_back(told):
    numpy_network = hush.numpy_network(hush.arrange(*originals(), quantise=False))
    kernels = [numpy_network, hush.onnx_network(paths())]
    memory = hush.initial_memory()
    for i, spectrum in enumerate(call()[:100]):
        kernels[i % 3 == 0](spectrum, memory)
    gains, filters = batch()
    np.testing.assert_allclose([gain for gain, _ in told], gains[:100], atol=1e-4)
    np.testing.assert_allclose([taps for _, taps in told], filters[:100], atol=1e-4)


@pytest.mark.model
def test_int8_weights_cost_little(told):
    gains, filters = batch()
    run(hush.numpy_network(hush.arrange(*map(files.weights, hush.FILES))), call())
    of_gains = np.abs(np.array([gain for gain, _ in told]) - gains)
    of_filters = np.abs(np.array([taps for _, taps in told]) - filters)
    assert of_gains.mean() < 0.005
    assert of_filters.mean() < 0.005
    assert of_gains.max() < 0.1


@pytest.mark.model
def test_the_call_comes_out_as_it_did_when_this_was_written():
    enhanced = run(hush.numpy_network(hush.arrange(*map(files.weights, hush.FILES))), call())
    levels = 10 * np.log10((np.abs(enhanced[150:]) ** 2).reshape(5, 50, BINS).mean(axis=(1, 2)))
    np.testing.assert_allclose(levels, GOLDEN, atol=5e-3)


@pytest.mark.model
def test_what_is_no_graph_is_refused_by_name(tmp_path):
    (tmp_path / "n.onnx").write_bytes(onnx_bytes({"w": np.zeros(1, np.float32)}))
    with pytest.raises(arrays.WeightsError, match=r"n\.onnx is no graph of Hush"):
        hush.onnx_network([tmp_path / "n.onnx", *paths()[1:]])
    with pytest.raises(FileNotFoundError):
        hush.onnx_network([tmp_path / "missing.onnx", *paths()[1:]])
