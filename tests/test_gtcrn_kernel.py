import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from nearvoice import files, gtcrn
from nearvoice.kernels import build, check, fused, gtcrn_layout, image
from nearvoice.kernels.gtcrn_layout import AT, FLOATS, SHAPES, pack
from nearvoice.kernels.layout import TILES
from tests.gtcrn_data import denormal, random_constants, spectra, speechlike
from tests.test_gtcrn import GOLDEN, noisy_speech, run

pytestmark = pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))

COMPILE = """
import sys
from pathlib import Path
from nearvoice.kernels import compile, gtcrn, image
level, path = sys.argv[1:]
image.write(Path(path), level, [compile.kernel("gtcrn", gtcrn.network(level), level)], {})
"""


@pytest.fixture(scope="module", params=image.levels())
def kernels(request, tmp_path_factory):
    if request.param not in build.missing():
        return image.load(image.path(request.param))  # of the same sources
    path = tmp_path_factory.mktemp("kernels") / "gtcrn.image"
    numba = {"NUMBA_CPU_NAME": build.processor_name(request.param), "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-c", COMPILE, request.param, str(path)]
    subprocess.run(command, check=True, env={**os.environ, **numba}, cwd=build._ROOT)
    return image.load(path)


@pytest.fixture(scope="module")
def weights():
    return gtcrn.arrange(random_constants(0))


@pytest.fixture(scope="module")
def compiled(kernels, weights):
    return fused.gtcrn(weights, kernels)


@pytest.fixture(scope="module")
def twin(weights):
    return gtcrn.numpy_network(weights)


# Equal to numpy


def assert_equal_over(hops, compiled, twin):
    memory, other = gtcrn.initial_memory(), gtcrn.initial_memory()
    scale = max(1, np.abs(hops).max())
    for hop in hops:
        assert np.abs(compiled(hop, memory) - twin(hop, other)).max() < 1e-5 * scale
        assert np.abs(memory - other).max() < 1e-5 * scale


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_numpy_through_speech_and_silence(seed, kernels):
    weights = gtcrn.arrange(random_constants(seed))
    compiled, twin = fused.gtcrn(weights, kernels), gtcrn.numpy_network(weights)
    assert_equal_over(speechlike(40, seed), compiled, twin)


@pytest.mark.parametrize("gain", [1e-6, 1e-2, 30])
def test_it_equals_numpy_at_every_level(gain, compiled, twin):
    assert_equal_over(speechlike(20) * np.float32(gain), compiled, twin)


def test_it_equals_numpy_where_only_one_bin_sounds(compiled, twin):
    for k in (0, 1, 64, 65, 66, 128, 255, 256):
        hops = np.zeros((3, gtcrn.BINS), np.complex64)
        hops[:, k] = 1 + 1j
        assert_equal_over(hops, compiled, twin)


def test_the_same_sound_gives_the_golden_values(compiled):
    assert np.allclose(run(compiled, speechlike(30))[-1, ::32], GOLDEN, rtol=0, atol=2e-5)


def test_it_may_take_over_from_numpy_and_give_back_at_any_hop(compiled, twin):
    hops, memory = speechlike(40), gtcrn.initial_memory()
    changing = [(compiled if i % 3 else twin)(hop, memory) for i, hop in enumerate(hops)]
    assert np.abs(np.array(changing) - run(twin, hops)).max() < 1e-4


def test_the_check_of_images_finds_it_right(kernels):
    check._check_gtcrn(kernels)


# Streams


def test_the_memory_is_all_that_a_stream_remembers(compiled):
    hops, memory = speechlike(24), gtcrn.initial_memory()
    run(compiled, hops[:12], memory)
    fork = memory.copy()
    expected = run(compiled, hops[12:], memory)
    run(compiled, speechlike(3, seed=5))  # another stream leaves nothing on the stack that matters
    assert np.array_equal(run(compiled, hops[12:], fork), expected)
    assert np.array_equal(memory, fork)


def test_two_streams_in_two_threads_do_not_touch(compiled):
    sounds = [speechlike(200, seed) for seed in (1, 2)]
    expected = [run(compiled, sound) for sound in sounds]
    results: list = [None, None]

    def work(i):
        results[i] = run(compiled, sounds[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def test_it_writes_nowhere_but_into_its_memory(compiled):
    room = np.full(gtcrn.MEMORY + 128, 7, np.float32)
    memory = room[64:-64]
    memory[:] = 0
    hops = speechlike(12)
    before = hops.copy()
    run(compiled, hops, memory)
    assert np.array_equal(hops, before)
    assert (room[:64] == 7).all()
    assert (room[-64:] == 7).all()


def test_a_spectrum_may_have_any_strides(compiled):
    hops = speechlike(4)
    spread = np.zeros((4, 2 * gtcrn.BINS), np.complex64)
    spread[:, ::2] = hops
    assert np.array_equal(run(compiled, spread[:, ::2]), run(compiled, hops))


def test_arrays_of_another_size_or_type_are_refused(compiled):
    [hop], memory = speechlike(1), gtcrn.initial_memory()
    for other in (hop[:-1], hop[None], hop.real, hop.astype(np.complex128)):
        with pytest.raises(ValueError, match=r"a spectrum of GTCRN is complex64\[257\], got "):
            compiled(other, memory)
    for other in (memory[1:], memory.astype(np.float64), np.repeat(memory, 2)[::2]):
        with pytest.raises(ValueError, match=r"a memory of GTCRN is a contiguous float32\[18048\]"):
            compiled(hop, other)


# Silence, and what is no number


def test_digital_silence_stays_silent_and_leaves_a_finite_memory(compiled):
    memory = gtcrn.initial_memory()
    run(compiled, speechlike(20), memory)
    assert not run(compiled, np.zeros((50, gtcrn.BINS), np.complex64), memory).any()
    assert np.isfinite(memory).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("k", [0, 100, 256])
def test_what_is_no_number_comes_out_as_none(bad, k, compiled, twin):
    hop = speechlike(3)[1]
    hop[k] = bad
    with np.errstate(all="ignore"):
        assert np.isnan(twin(hop, gtcrn.initial_memory())[k])
    assert np.isnan(compiled(hop, gtcrn.initial_memory())[k])


# The arrays it reads


def test_every_array_begins_at_a_line_of_the_cache_and_none_overlap():
    ends = [AT[name] + int(np.prod(shape)) for name, shape in SHAPES.items()]
    assert all(start % 16 == 0 for start in AT.values())
    assert all(a <= b for a, b in zip(ends, [*[*AT.values()][1:], FLOATS], strict=True))


def test_every_weight_is_packed(weights):
    given = dict(gtcrn_layout._arrays(weights))
    assert {*given} == {*SHAPES} - {"zeros"}
    assert all(np.broadcast_shapes(np.shape(v), SHAPES[n]) == SHAPES[n] for n, v in given.items())
    floats = pack(weights)
    assert (floats.shape, floats.dtype) == ((FLOATS,), np.float32)
    assert not floats[: SHAPES["zeros"][0]].any()


@pytest.mark.parametrize("level", TILES)
def test_the_tiles_of_a_level_fit_its_registers(level):
    registers = gtcrn_layout.Registers.of(level)
    assert registers.across % registers.vector == 0
    assert 33 <= registers.across <= gtcrn_layout.PITCH - gtcrn_layout.LEAD
    for rows, width in (((4, 2), registers.across), ((13, 5), 16)):
        sums = registers.fitting(rows, width) * width // registers.vector
        assert sums < registers.number


# The downloaded weights


@pytest.fixture(scope="module")
def real(kernels):
    return fused.gtcrn(gtcrn.arrange(files.weights(gtcrn.FILE)), kernels)


@pytest.mark.model
@pytest.mark.parametrize("level", [0, 0.003, 0.03])
def test_it_equals_numpy_over_noisy_speech(level, real):
    twin = gtcrn.numpy_network(gtcrn.arrange(files.weights(gtcrn.FILE)))
    assert_equal_over(noisy_speech(level)[:600], real, twin)


@pytest.mark.model
def test_it_equals_onnxruntime_over_noisy_speech(real):
    theirs = gtcrn.onnx_network(files.path(gtcrn.FILE))
    memory, other = gtcrn.initial_memory(), gtcrn.initial_memory()
    for hop in noisy_speech(0.003):
        assert np.abs(real(hop, memory) - theirs(hop, other)).max() < 1e-4


@pytest.mark.model
def test_ten_seconds_of_silence_leave_nothing_denormal(real):
    memory = gtcrn.initial_memory()
    run(real, noisy_speech(0.003)[:300], memory)
    run(real, np.zeros((625, gtcrn.BINS), np.complex64), memory)
    assert not denormal(memory).any()
    assert not denormal(run(real, spectra(np.zeros(2_000)), memory).view(np.float32)).any()
