import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nearvoice import files, hush
from nearvoice.hush_features import BINS, split
from nearvoice.kernels import build, fused, hush_layout, image
from nearvoice.kernels.hush_check import in_features, random_hush
from nearvoice.kernels.hush_layout import BYTE_COUNT, BYTES, FLOAT_COUNT, FLOATS, blocks, pack
from nearvoice.kernels.layout import TILES
from tests.test_hush import call, constants, noise, run

supported = pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))


@pytest.fixture
def weights():
    return random_hush(np.random.default_rng(0))


# Weights in memory


@pytest.mark.parametrize("level", TILES)
def test_packed_weights_fill_what_the_kernel_reads(level, weights):
    floats, matrices = pack(weights, level)
    assert (floats.dtype, matrices.dtype) == (np.float32, np.int8)
    assert (len(floats), len(matrices)) == (FLOAT_COUNT, BYTE_COUNT)
    single = TILES[level].single
    assert not floats[FLOATS["zeros"] :][:single].any()
    assert floats[FLOATS["ends"] :][:32].tolist()[-2:] == [143, 161]
    first = matrices[BYTES["encoder"] :][: weights.inner[0].values.size]
    assert np.array_equal(first, blocks(weights.inner[0].values, single))
    scales = floats[FLOATS["gains"] :][:256]
    assert np.array_equal(scales, weights.gain_inner[0].scale)
    assert np.array_equal(floats[-640:], weights.filter_out.scale)


@pytest.mark.parametrize("level", TILES)
def test_the_tiles_of_a_level_fit_every_matrix(level):
    single, vector = TILES[level].single, TILES[level].vector
    assert single <= hush_layout.ZEROS
    assert single % vector == 0
    for columns in (128, 256, 640, 768):
        assert columns % single == 0


def test_weights_that_were_not_quantised_are_refused():
    weights = hush.arrange(*constants(), quantise=False)
    with pytest.raises(ValueError, match=r"needs weights of int8: arrange\(..., quantise=True\)"):
        pack(weights, "x86-64-v3")


# The kernel


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kernels")


_COMPILE = """
import sys
from pathlib import Path
from nearvoice.kernels import compile, hush, image
from nearvoice.kernels.layout import TILES
level, path = sys.argv[1:]
image.write(Path(path), level, [compile.kernel("hush", hush.network(TILES[level]), level)], {})
"""


@pytest.fixture(scope="module", params=image.levels()[:1])
def kernels(request, folder) -> image.Image:
    """The image in the cache, or else one of this kernel alone, for the machine's best level."""
    if request.param not in build.missing():
        return image.load(image.path(request.param))  # of the same sources
    path = folder / f"{request.param}.image"
    environment = {"NUMBA_CPU_NAME": build.processor_name(request.param), "NUMBA_CPU_FEATURES": ""}
    subprocess.run(
        [sys.executable, "-c", _COMPILE, request.param, str(path)],
        env={**environment, "PYTHONPATH": str(Path(build.__file__).parents[2])},
        check=True,
    )
    return image.load(path)


def both(weights, kernels) -> tuple[hush.Network, hush.Network]:
    return hush.numpy_network(weights), fused.hush(weights, kernels)


@supported
@pytest.mark.parametrize("level", [1e-6, 1e-3, 1.0])
def test_the_kernel_equals_numpy_at_any_level(level, weights, kernels):
    twin, compiled = both(weights, kernels)
    memories = hush.initial_memory(), hush.initial_memory()
    spectra = noise(40) * np.float32(1e3 * level)
    got, expected = run(compiled, spectra, memories[0]), run(twin, spectra, memories[1])
    assert np.abs(got - expected).max() <= 1e-5 * level
    np.testing.assert_allclose(*map(in_features, memories), atol=1e-5)


@supported
def test_streams_may_change_kernel_between_two_hops_and_do_not_touch(weights, kernels):
    networks = both(weights, kernels)
    spectra, memory, other = noise(30), hush.initial_memory(), hush.initial_memory()
    expected = run(networks[0], spectra)
    for i, spectrum in enumerate(spectra):
        got = networks[i // 4 % 2](spectrum, memory)
        networks[i // 3 % 2](spectrum[::-1].copy(), other)
        assert np.abs(got - expected[i]).max() <= 1e-8


@supported
def test_copying_the_memory_forks_a_stream_of_the_kernel_exactly(weights, kernels):
    _, compiled = both(weights, kernels)
    spectra, memory = noise(12), hush.initial_memory()
    run(compiled, spectra[:6], memory)
    fork = memory.copy()
    assert np.array_equal(run(compiled, spectra[6:], memory), run(compiled, spectra[6:], fork))
    assert np.array_equal(memory, fork)


@supported
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 30, 64, 160])
def test_what_is_not_finite_comes_out_of_the_kernel_as_nan(wrong, at, weights, kernels):
    _, compiled = both(weights, kernels)
    spectrum = noise(1)[0]
    spectrum[at] = wrong
    assert np.isnan(compiled(spectrum, hush.initial_memory())).all()
    memory = hush.initial_memory()
    split(memory).hidden[0, 3] = wrong
    assert np.isnan(compiled(noise(1)[0], memory)).all()


@supported
def test_silence_comes_out_of_the_kernel_as_silence(weights, kernels):
    _, compiled = both(weights, kernels)
    memory = hush.initial_memory()
    run(compiled, noise(5), memory)
    silence = np.zeros((2_000, BINS), np.complex64)
    assert not run(compiled, silence, memory)[4:].any()
    run(compiled, np.tile(silence, (10, 1)), memory)
    assert not ((memory != 0) & (np.abs(memory) < np.finfo(np.float32).tiny)).any()
    assert np.isfinite(run(compiled, noise(5), memory)).all()


@supported
def test_the_kernel_leaves_the_spectrum_alone_and_refuses_what_is_none(weights, kernels):
    twin, compiled = both(weights, kernels)
    spectrum = noise(1)[0]
    before = spectrum.copy()
    spectrum.flags.writeable = False
    expected = compiled(spectrum, hush.initial_memory())
    assert np.array_equal(spectrum, before)
    assert np.array_equal(compiled(np.repeat(before, 2)[::2], hush.initial_memory()), expected)
    for network in (twin, compiled):
        for wrong in (spectrum[1:], spectrum.astype(np.complex128), spectrum.real):
            with pytest.raises(ValueError, match=r"a spectrum of Hush is complex64\[161\]"):
                network(wrong, hush.initial_memory())
        with pytest.raises(ValueError, match="a memory of Hush is a contiguous float32"):
            network(spectrum, hush.initial_memory()[1:])


@supported
@pytest.mark.model
def test_the_kernel_equals_numpy_with_the_real_weights(kernels):
    twin, compiled = both(hush.arrange(*map(files.weights, hush.FILES)), kernels)
    memories = hush.initial_memory(), hush.initial_memory()
    got, expected = run(compiled, call(), memories[0]), run(twin, call(), memories[1])
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(call()).max()
    np.testing.assert_allclose(*map(in_features, memories), atol=2e-5)
