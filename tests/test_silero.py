import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nearvoice import SileroVAD, arrays, files
from nearvoice.audio import resample, to_float32
from nearvoice.silero import FILE, Weights, arrange, choose_kernel, numpy_network
from tests.offline import sample

GOLDEN = Path(__file__).parent / "data/silero_probabilities.json"
"""P(speech) of every window of the sample call from the official plugin; see scripts/golden.py."""


def call(rate: int) -> np.ndarray:
    recording = sample.load()
    return to_float32(resample(recording.samples, recording.rate, rate))


def windows(samples: np.ndarray, vad: SileroVAD) -> Iterator[np.ndarray]:
    for start in range(0, len(samples) - vad.window + 1, vad.window):
        yield samples[start : start + vad.window]


def probabilities(vad: SileroVAD, samples: np.ndarray) -> np.ndarray:
    state = vad.initial_state()
    result = []
    for window in windows(samples, vad):
        p, state = vad.step(window, state)
        result.append(p)
    return np.array(result)


def hard_audio(rate: int, seconds: float) -> np.ndarray:
    """Return speech, noise, silence, hum, clipping and clicks, a few seconds of each in turn."""
    rng = np.random.default_rng(rate)
    speech = call(rate)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * rate:
        start = rng.integers(0, len(speech) - 4 * rate)
        talk = speech[start : start + 4 * rate]
        level = 10 ** rng.uniform(-3, 0)
        parts += [
            talk,
            talk * level,
            np.clip(talk * 30, -1, 1),
            level * rng.standard_normal(2 * rate),
            np.clip(talk + level * rng.standard_normal(len(talk)), -1, 1),
            np.zeros(2 * rate),
            np.where(rng.random(rate) < 0.5, 1.0, -1.0),
            level * np.sin(2 * np.pi * rng.uniform(50, 3000) * np.arange(2 * rate) / rate),
            (rng.random(rate) < 0.001) * 1.0,
        ]
    return np.concatenate(parts)[: int(seconds * rate)].astype(np.float32)


@pytest.mark.model
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_numpy_equals_onnxruntime_over_100_000_windows(rate: int) -> None:
    numpy, reference = SileroVAD(rate, "numpy"), SileroVAD(rate, "onnxruntime")
    count = 80_000 if rate == 16_000 else 20_000
    samples = hard_audio(rate, count * 0.032)
    difference = np.abs(probabilities(numpy, samples) - probabilities(reference, samples))
    assert len(difference) == count
    assert difference.max() <= 1e-4


@pytest.mark.model
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_no_decision_at_one_half_differs_on_the_sample(rate: int) -> None:
    numpy = probabilities(SileroVAD(rate, "numpy"), call(rate))
    reference = probabilities(SileroVAD(rate, "onnxruntime"), call(rate))
    assert np.array_equal(numpy >= 0.5, reference >= 0.5)


@pytest.mark.model
@pytest.mark.parametrize("kernel", ["numpy", "onnxruntime"])
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_probabilities_are_those_of_the_official_plugin(rate: int, kernel: str) -> None:
    golden = json.loads(GOLDEN.read_text())["probabilities"][str(rate)]
    got = probabilities(SileroVAD(rate, kernel), call(rate))
    assert got == pytest.approx(golden, abs=5e-5)


@pytest.mark.model
@pytest.mark.parametrize("kernel", ["numpy", "onnxruntime"])
def test_streams_on_one_model_do_not_touch_each_other(kernel: str) -> None:
    vad = SileroVAD(kernel=kernel)
    speech = call(16_000)[: 16_000 * 12]
    expected = probabilities(vad, speech)
    states = [vad.initial_state() for _ in range(3)]
    for i, window in enumerate(windows(speech, vad)):
        for k, sound in enumerate((window, window[::-1].copy(), np.zeros_like(window))):
            p, states[k] = vad.step(sound, states[k])
            if k == 0:
                assert p == expected[i]


@pytest.mark.model
@pytest.mark.parametrize("kernel", ["numpy", "onnxruntime"])
def test_a_step_does_not_change_the_state_it_was_given(kernel: str) -> None:
    vad = SileroVAD(kernel=kernel)
    speech = call(16_000)[16_000 * 9 : 16_000 * 11]
    _, state = vad.step(speech[:512], vad.initial_state())
    again = [vad.step(speech[512:1024], state)[0] for _ in range(3)]
    assert again[0] == again[1] == again[2]


@pytest.mark.model
def test_the_initial_state_is_a_new_stream() -> None:
    vad = SileroVAD()
    speech = call(16_000)[16_000 * 9 : 16_000 * 11]
    first = probabilities(vad, speech)
    assert np.array_equal(probabilities(vad, speech), first)
    assert np.array_equal(probabilities(SileroVAD(), speech), first)


@pytest.mark.model
@pytest.mark.parametrize(
    "window",
    [
        np.zeros(256, np.float32),
        np.zeros(513, np.float32),
        np.zeros((1, 512), np.float32),
        np.zeros(512, np.int16),
        np.zeros(512, np.float64),
    ],
)
def test_a_window_of_another_size_or_type_is_refused(window: np.ndarray) -> None:
    vad = SileroVAD()
    with pytest.raises(ValueError, match=r"a window is float32\[512\] at 16000 Hz, got"):
        vad.step(window, vad.initial_state())


@pytest.mark.model
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kernel", ["numpy", "onnxruntime"])
def test_a_window_that_is_not_finite_is_refused_and_leaves_the_stream_usable(
    kernel: str, bad: float
) -> None:
    vad = SileroVAD(kernel=kernel)
    state = vad.initial_state()
    with pytest.raises(ValueError, match="NaN or infinity"):
        vad.step(np.full(512, bad, np.float32), state)
    assert 0 <= vad.step(np.zeros(512, np.float32), state)[0] <= 1


@pytest.mark.model
def test_a_network_with_other_inputs_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(files.path(FILE).read_bytes().replace(b"state", b"stato"))
    with pytest.raises(arrays.WeightsError, match="is no Silero VAD of 16000 Hz"):
        SileroVAD(onnx_file=path, kernel="onnxruntime")


@pytest.mark.model
def test_the_state_of_another_rate_is_refused() -> None:
    vad, other = SileroVAD(16_000), SileroVAD(8_000)
    with pytest.raises(ValueError, match="not that of a stream at 16000 Hz"):
        vad.step(np.zeros(512, np.float32), other.initial_state())


@pytest.mark.parametrize("rate", [44_100, 0, 16_000.5])
def test_another_sample_rate_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="Silero VAD only supports 8KHz and 16KHz sample rates"):
        SileroVAD(rate)


def test_an_unknown_kernel_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="auto, numpy, onnxruntime, got 'cuda'"):
        SileroVAD(kernel="cuda")


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model file not found: .*gone\.onnx"):
        SileroVAD(onnx_file=tmp_path / "gone.onnx")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        SileroVAD(onnx_file=tmp_path)


@pytest.mark.model
def test_a_model_file_of_ones_own_gives_the_same_as_the_downloaded_one() -> None:
    speech = call(16_000)[16_000 * 9 : 16_000 * 11]
    own = SileroVAD(onnx_file=str(files.path(FILE)))
    assert own.kernel == choose_kernel()[0]
    assert np.array_equal(probabilities(own, speech), probabilities(SileroVAD(), speech))


@pytest.mark.parametrize("kernel", ["auto", "numpy", "onnxruntime"])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, kernel: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("this is not a model")
    with pytest.raises(
        arrays.WeightsError, match=r"model\.onnx is (not an ONNX file|no Silero VAD)"
    ):
        SileroVAD(onnx_file=path, kernel=kernel)


@pytest.mark.model
def test_weights_under_other_names_are_left_to_onnxruntime(tmp_path: Path) -> None:
    path = tmp_path / "renamed.onnx"
    path.write_bytes(
        files.path(FILE).read_bytes().replace(b"stft.forward_basis", b"fast.fourier_basis")
    )
    with pytest.raises(arrays.WeightsError, match="no Silero VAD network for 16000 Hz"):
        SileroVAD(onnx_file=path, kernel="numpy")
    vad = SileroVAD(onnx_file=path)
    assert vad.kernel == "onnxruntime"
    speech = call(16_000)[16_000 * 9 : 16_000 * 10]
    assert probabilities(vad, speech) == pytest.approx(probabilities(SileroVAD(), speech), abs=1e-5)


def constants(rate: int) -> arrays.Arrays:
    """Return random weights of the right names and shapes."""
    rng = np.random.default_rng(0)
    n = 256 if rate == 16_000 else 128
    channels = (n // 2 + 1, 128, 64, 64, 128)
    shapes: dict[str, tuple[int, ...]] = {
        "stft.forward_basis_buffer": (n + 2, 1, n),
        "decoder.rnn.weight_ih": (512, 128),
        "decoder.rnn.weight_hh": (512, 128),
        "decoder.rnn.bias_ih": (512,),
        "decoder.rnn.bias_hh": (512,),
        "decoder.decoder.2.weight": (1, 128, 1),
        "decoder.decoder.2.bias": (1,),
    }
    for i in range(4):
        shapes[f"encoder.{i}.reparam_conv.weight"] = (channels[i + 1], channels[i], 3)
        shapes[f"encoder.{i}.reparam_conv.bias"] = (channels[i + 1],)
    return {
        f"model.{name}": (rng.standard_normal(shape) * 0.05).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_arranged_weights_compute_what_the_definition_says(rate: int) -> None:
    given = constants(rate)
    n = 256 if rate == 16_000 else 128
    rng = np.random.default_rng(1)
    heard = rng.standard_normal(n * 9 // 4).astype(np.float32) * 0.1
    rnn = rng.standard_normal((2, 128)).astype(np.float32) * 0.1
    p, new = numpy_network(arrange(given, rate))(heard, rnn)
    want_p, want = by_definition(given, heard, rnn, n)
    assert p == pytest.approx(want_p, abs=1e-6)
    assert np.abs(new - want).max() < 1e-5


def by_definition(
    given: arrays.Arrays, heard: np.ndarray, rnn: np.ndarray, n: int
) -> tuple[float, np.ndarray]:
    """Compute the network one sum at a time, in double precision."""
    w = {name.removeprefix("model."): a.astype(np.float64) for name, a in given.items()}
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    x = np.pad(heard.astype(np.float64), (0, n // 4), mode="reflect")
    basis = w["stft.forward_basis_buffer"][:, 0]
    frames = np.stack([basis @ x[t * n // 2 : t * n // 2 + n] for t in range(4)], axis=1)
    y = np.hypot(frames[: n // 2 + 1], frames[n // 2 + 1 :])
    for i, stride in enumerate((1, 2, 2, 1)):
        kernel, bias = w[f"encoder.{i}.reparam_conv.weight"], w[f"encoder.{i}.reparam_conv.bias"]
        padded = np.pad(y, ((0, 0), (1, 1)))
        steps = range(0, y.shape[1], stride)
        y = np.stack(
            [np.einsum("oik,ik->o", kernel, padded[:, t : t + 3]) + bias for t in steps], axis=1
        )
        y = np.maximum(y, 0)
    gates = w["decoder.rnn.weight_ih"] @ y[:, 0] + w["decoder.rnn.bias_ih"]
    gates += w["decoder.rnn.weight_hh"] @ rnn[0] + w["decoder.rnn.bias_hh"]
    i, f, g, o = gates.reshape(4, 128)
    cell = sigmoid(f) * rnn[1] + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)
    logit = w["decoder.decoder.2.weight"][0, :, 0] @ np.maximum(hidden, 0)
    return float(sigmoid(logit + w["decoder.decoder.2.bias"][0])), np.stack((hidden, cell))


def test_weights_of_another_shape_are_refused_by_name() -> None:
    given = constants(16_000)
    given["model.decoder.rnn.weight_hh"] = np.zeros((512, 64), np.float32)
    with pytest.raises(arrays.WeightsError, match=r"decoder\.rnn\.weight_hh \[512, 128\]"):
        arrange(given, 16_000)


def test_a_file_without_the_network_of_the_rate_is_refused() -> None:
    with pytest.raises(arrays.WeightsError, match="no Silero VAD network for 8000 Hz"):
        arrange(constants(16_000), 8_000)


def test_arranged_weights_stay_as_small_as_they_came() -> None:
    weights: Weights = arrange(constants(16_000), 16_000)
    size = weights.fourier.nbytes + weights.lstm.nbytes
    size += sum(matrix.nbytes for matrix, _ in weights.convolutions)
    assert size < 1.3e6
