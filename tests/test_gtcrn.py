import re

import numpy as np
import pytest

from nearvoice import arrays, files, gtcrn, gtcrn_weights
from nearvoice.audio import resample, to_float32
from nearvoice.gtcrn_weights import beside
from tests.gtcrn_data import denormal, random_constants, spectra, speechlike
from tests.offline import sample


@pytest.fixture(scope="module")
def constants():
    return random_constants(0)


@pytest.fixture(scope="module")
def network(constants):
    return gtcrn.numpy_network(gtcrn.arrange(constants))


def run(network, hops, memory=None):
    memory = gtcrn.initial_memory() if memory is None else memory
    return np.array([network(hop, memory) for hop in hops])


# What a stream remembers


def test_a_stream_remembers_18048_floats_zero_at_first():
    memory = gtcrn.initial_memory()
    assert (memory.shape, memory.dtype) == ((gtcrn.MEMORY,), np.float32)
    assert gtcrn.MEMORY == 18_048
    assert not memory.any()


def test_the_past_of_the_blocks_covers_the_memory_without_overlap():
    memory = gtcrn.initial_memory()
    frames, attention, over = gtcrn.split(memory)
    for i in range(6):
        gtcrn.past(frames, i)[:] += 1
    attention[:] += 1
    over[:] += 1
    assert np.all(memory == 1)


def test_the_memory_is_all_that_a_stream_remembers(network):
    hops = speechlike(24)
    memory = gtcrn.initial_memory()
    run(network, hops[:12], memory)
    fork = memory.copy()
    assert np.array_equal(run(network, hops[12:], memory), run(network, hops[12:], fork))
    assert np.array_equal(memory, fork)


def test_two_streams_do_not_touch(network):
    one, other = speechlike(10, seed=1), speechlike(10, seed=2)
    memories = gtcrn.initial_memory(), gtcrn.initial_memory()
    mixed = [
        [network(hop, memories[i]) for i, hop in enumerate(pair)]
        for pair in zip(one, other, strict=True)
    ]
    assert np.array_equal(np.array(mixed)[:, 0], run(network, one))
    assert np.array_equal(np.array(mixed)[:, 1], run(network, other))


def test_a_spectrum_is_not_changed_and_the_result_is_an_array_of_its_own(network):
    [hop] = speechlike(1)
    before = hop.copy()
    result = network(hop, gtcrn.initial_memory())
    assert np.array_equal(hop, before)
    assert (result.shape, result.dtype) == ((gtcrn.BINS,), np.complex64)
    assert result.base is None or not np.shares_memory(result, hop)


def test_arrays_of_another_size_or_type_are_refused(network):
    [hop], memory = speechlike(1), gtcrn.initial_memory()
    for other in (hop[:-1], hop[None], hop.real, hop.astype(np.complex128)):
        with pytest.raises(ValueError, match=r"a spectrum of GTCRN is complex64\[257\], got "):
            network(other, memory)
    for other in (memory[1:], memory.astype(np.float64), np.repeat(memory, 2)[::2]):
        with pytest.raises(ValueError, match=r"a memory of GTCRN is a contiguous float32\[18048\]"):
            network(hop, other)


# What it computes


def test_the_past_matters_and_only_the_past(network):
    hops = speechlike(12)
    other = hops.copy()
    other[2] *= 2
    a, b = run(network, hops), run(network, other)
    assert np.array_equal(a[:2], b[:2])
    heard = [i for i in range(2, 12) if hops[i].any()]
    assert len(heard) > 4
    assert all(not np.array_equal(a[i], b[i]) for i in heard)


def test_digital_silence_stays_silent_and_leaves_a_finite_memory(network):
    memory = gtcrn.initial_memory()
    run(network, speechlike(20), memory)
    silence = run(network, np.zeros((50, gtcrn.BINS), np.complex64), memory)
    assert not silence.any()
    assert np.isfinite(memory).all()


def test_the_same_sound_gives_the_golden_values(network):
    result = run(network, speechlike(30))
    assert np.allclose(result[-1, ::32], GOLDEN, rtol=0, atol=2e-5)


GOLDEN = [
    -2.054982 + 0.646364j, -1.488477 - 3.374286j, 1.927166 + 0.317061j,
    0.076632 - 0.211563j, -0.115272 - 0.303048j, -0.153559 - 0.295485j,
    0.156244 - 0.554429j, 0.206878 + 0.169489j, -0.083145 + 0.155833j,
]  # fmt: skip
"""Every 32nd bin of the last hop, from the numpy network that equalled onnxruntime."""


def test_networks_side_by_side_are_one_network():
    rng = np.random.default_rng(0)
    pair = [
        gtcrn_weights.Gru(
            *(rng.standard_normal(s).astype(np.float32) for s in ((8, 24), (8, 24), 24, 24))
        )
        for _ in range(2)
    ]
    x, hidden = rng.standard_normal((2, 16)).astype(np.float32)
    both = beside(pair, (0, 8))
    each = [
        gtcrn._gru(x[s] @ p.inward, hidden[s], p)
        for p, s in zip(pair, (slice(0, 8), slice(8, 16)), strict=True)
    ]
    assert np.allclose(gtcrn._gru(x @ both.inward, hidden, both), np.concatenate(each), atol=1e-6)


def test_a_unit_that_hardly_moves_arrives_where_it_should():
    # some units of GTCRN's attention take a millionth of the new: an error there grows for minutes
    bias = np.array([13, 0, 0.5], np.float32)
    slow = gtcrn_weights.Gru(np.zeros((1, 3)), np.zeros((1, 3)), bias, np.zeros(3, np.float32))
    hidden = np.zeros(1, np.float32)
    for _ in range(5_000):
        hidden = gtcrn._gru(np.zeros(3, np.float32), hidden, slow).astype(np.float32)
    taken = 1 / (1 + np.exp(13.0))
    assert np.isclose(hidden[0], np.tanh(0.5) * (1 - (1 - taken) ** 5_000), rtol=1e-3)


# Weights


def test_every_constant_is_asked_for_by_name_shape_and_type(constants):
    for name, values in constants.items():
        for wrong in (None, values[..., :-1], values.astype(np.float64)):
            damaged = {**constants, name: wrong}
            if wrong is None:
                del damaged[name]
            with pytest.raises(
                arrays.WeightsError, match=f"{re.escape(name)} .* is missing from the GTCRN"
            ):
                gtcrn.arrange(damaged)


def test_a_bin_in_bands_that_are_not_adjacent_is_refused(constants):
    for name, place in (("onnx::MatMul_3414", (3, 60)), ("onnx::MatMul_3932", (60, 3))):
        other = constants[name].copy()
        other[place] = 1
        with pytest.raises(arrays.WeightsError, match="bands that are not adjacent"):
            gtcrn.arrange({**constants, name: other})


def test_what_is_no_gtcrn_file_is_refused(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(arrays.WeightsError, match=r"other.onnx is no GTCRN: "):
        gtcrn.onnx_network(path)


# The downloaded weights


def noisy_speech(level: float) -> np.ndarray:
    recording = sample.load()
    speech = to_float32(resample(recording.samples, recording.rate, 16_000))
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    return spectra(speech + level * noise)


@pytest.fixture(scope="module")
def weights():
    return gtcrn.arrange(files.weights(gtcrn.FILE))


@pytest.mark.model
@pytest.mark.parametrize("level", [0, 0.003, 0.03])
def test_numpy_equals_onnxruntime_over_minutes_of_noisy_speech(level, weights):
    ours, theirs = gtcrn.numpy_network(weights), gtcrn.onnx_network(files.path(gtcrn.FILE))
    memory, other = gtcrn.initial_memory(), gtcrn.initial_memory()
    for hop in noisy_speech(level):
        assert np.abs(ours(hop, memory) - theirs(hop, other)).max() < 1e-4
    assert np.abs(memory - other).max() < 1e-3


@pytest.mark.model
def test_a_stream_may_change_from_onnxruntime_to_numpy(weights):
    ours, theirs = gtcrn.numpy_network(weights), gtcrn.onnx_network(files.path(gtcrn.FILE))
    hops = noisy_speech(0.003)[:200]
    memory = gtcrn.initial_memory()
    changing = [(theirs if i // 20 % 2 else ours)(hop, memory) for i, hop in enumerate(hops)]
    assert np.abs(np.array(changing) - run(ours, hops)).max() < 1e-4


@pytest.mark.model
def test_noise_is_suppressed_and_speech_is_kept(weights):
    network = gtcrn.numpy_network(weights)
    noise = spectra(0.01 * np.random.default_rng(0).standard_normal(32_000))
    quieter = run(network, noise)[50:]
    assert np.abs(quieter).mean() < 0.2 * np.abs(noise[50:]).mean()
    speech = noisy_speech(0)[:600]
    kept = run(network, speech)
    assert np.linalg.norm(kept - speech) < 0.3 * np.linalg.norm(speech)


@pytest.mark.model
def test_ten_seconds_of_silence_leave_nothing_denormal(weights):
    network, memory = gtcrn.numpy_network(weights), gtcrn.initial_memory()
    run(network, noisy_speech(0.003)[:300], memory)
    assert not run(network, np.zeros((625, gtcrn.BINS), np.complex64), memory).any()
    assert not denormal(memory).any()
