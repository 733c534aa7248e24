import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nearvoice import prepare, silero_network
from nearvoice.kernels import build, check, fused, image
from nearvoice.kernels.layout import NARROW, TILES, Layout, blocks
from nearvoice.progress import Lines
from nearvoice.silero_network import HIDDEN
from tests.stores import open_world, table

supported = pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
LEVEL = "x86-64-v3"
KERNELS = {
    "silero_16000",
    "silero_8000",
    "polyphase",
    "analysis",
    "synthesis",
    "gtcrn",
    "hush",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Make an empty folder the one for images; the processor is one with AVX2."""
    folder = tmp_path / "kernels"
    monkeypatch.setattr(image, "folder", lambda: folder)
    monkeypatch.setattr(image, "levels", lambda: [LEVEL])
    return folder


class Compiler:
    """Stands in for the process that compiles; counts how often it runs."""

    def __init__(self, monkeypatch, error: str = "", status: int = 0) -> None:
        self.runs = 0
        self.error, self.status = error, status
        self.environment: dict[str, str] = {}
        monkeypatch.setattr(build.subprocess, "run", self.run)

    def run(self, command, *, cwd, env, **_) -> subprocess.CompletedProcess:
        self.runs += 1
        self.folder, self.environment = cwd, env
        time.sleep(0.2)
        *_, level, path = command
        if not self.status:
            image.write(Path(path), level, [("kernel", b"\xc3", 0)], {})
        return subprocess.CompletedProcess(command, self.status, "", self.error)


# Building


def test_what_is_missing_is_compiled_and_then_there(folder, monkeypatch):
    compiler = Compiler(monkeypatch)
    assert build.missing() == [LEVEL]
    assert build.build(LEVEL) == image.path(LEVEL)
    assert build.missing() == []
    assert build.build(LEVEL).exists()
    assert compiler.runs == 1


def test_two_who_build_at_once_compile_once(folder, monkeypatch):
    compiler = Compiler(monkeypatch)
    threads = [threading.Thread(target=build.build, args=(LEVEL,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert image.path(LEVEL).exists()
    assert compiler.runs == 1


def test_the_compiler_is_told_the_level_and_not_to_look_at_this_processor(folder, monkeypatch):
    for name in ("NUMBA_DISABLE_JIT", "NUMBA_OPT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.setenv(name, "1")
    compiler = Compiler(monkeypatch)
    for level, name in ((LEVEL, "x86-64-v3"), ("x86-64-v4-256", "x86-64-v4")):
        build.build(level)
        assert compiler.environment["NUMBA_CPU_NAME"] == name
        assert compiler.environment["NUMBA_CPU_FEATURES"] == ""
        assert not {"NUMBA_DISABLE_JIT", "NUMBA_OPT"} & set(compiler.environment)


def test_a_compiler_that_fails_is_told_with_its_last_line(folder, monkeypatch):
    Compiler(monkeypatch, "Traceback:\n  File\nWrongKernelError: silero differs by 0.1\n", 1)
    with pytest.raises(build.BuildError) as failed:
        build.build(LEVEL)
    why = "kernels for x86-64-v3 were not compiled: WrongKernelError: silero differs by 0.1"
    assert str(failed.value) == why
    assert not image.path(LEVEL).exists()


def test_a_compiler_that_dies_without_a_word_is_told_with_its_status(folder, monkeypatch):
    Compiler(monkeypatch, status=-4)
    with pytest.raises(build.BuildError, match="were not compiled: exit status -4"):
        build.build(LEVEL)


def test_a_compiler_that_does_not_start_or_end_is_told(folder, monkeypatch):
    for error in (FileNotFoundError(2, "no python"), subprocess.TimeoutExpired("python", 600)):

        def run(*_, error=error, **__):
            raise error

        monkeypatch.setattr(build.subprocess, "run", run)
        with pytest.raises(build.BuildError, match=r"not compiled: .*(no python|timed out)"):
            build.build(LEVEL)


def test_the_process_that_compiles_fails_with_a_line_that_says_why(folder):
    with pytest.raises(build.BuildError, match="were not compiled: KeyError: 'x86-64-v9'"):
        build.build("x86-64-v9")
    assert list(folder.glob("*.image*")) == []


def test_a_folder_that_cannot_be_made_is_told(folder, monkeypatch):
    folder.write_bytes(b"a file where the folder should be")
    with pytest.raises(build.BuildError, match=f"{folder} cannot be written"):
        build.build(LEVEL)


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(30, "read-only")])
def test_a_folder_that_cannot_be_written_is_told(error, folder, monkeypatch):
    def mkdir(*_, **__):
        raise error

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(build.BuildError, match=f"{folder} cannot be written: .*{error.strerror}"):
        build.build(LEVEL)


def test_an_image_that_is_there_is_found_in_a_folder_that_cannot_be_written(folder, monkeypatch):
    Compiler(monkeypatch)
    there = build.build(LEVEL)
    monkeypatch.setattr(Path, "mkdir", None)
    assert build.build(LEVEL) == there


def test_who_holds_the_folder_for_too_long_is_told(folder, monkeypatch):
    import filelock

    Compiler(monkeypatch)
    monkeypatch.setattr(build, "TIMEOUT", 0.1)
    folder.mkdir()
    with (
        filelock.FileLock(folder / ".lock"),
        pytest.raises(build.BuildError, match=f"another process holds {folder}"),
    ):
        build.build(LEVEL)


def test_what_is_damaged_is_compiled_anew_and_what_others_left_stays(folder, monkeypatch):
    compiler = Compiler(monkeypatch)
    folder.mkdir()
    other = folder / f"{LEVEL}-0123456789ab.image"
    for path in (image.path(LEVEL), other):
        path.write_bytes(b"damaged")
    assert build.missing() == [LEVEL]
    image.load(build.build(LEVEL))
    assert compiler.runs == 1
    assert other.read_bytes() == b"damaged"


def test_no_file_of_the_folder_it_is_started_in_is_run_by_the_compiler(
    folder, monkeypatch, tmp_path
):
    compiler = Compiler(monkeypatch)
    monkeypatch.chdir(tmp_path)
    build.build(LEVEL)
    assert Path(compiler.folder) == Path(build.__file__).parents[2]


@supported
def test_this_machine_compiles_kernels_that_equal_their_twins(folder):
    built = image.load(build.build(LEVEL))
    check.check(built)
    assert built.level == LEVEL
    assert set(built.functions) == KERNELS
    assert set(built.about) == {"numba", "llvmlite"}
    assert {path.name for path in folder.iterdir()} <= {".lock", built.path.name}


@supported
def test_an_image_gets_its_name_only_when_it_has_passed_the_check(folder, monkeypatch):
    from nearvoice.kernels import compile

    def refuse(_):
        assert not path.exists()
        raise check.WrongKernelError("silero differs")

    folder.mkdir()
    path = image.path(LEVEL)
    monkeypatch.setattr(sys, "argv", ["compile", LEVEL, str(path)])
    monkeypatch.setattr(compile, "_kernels", lambda level: [("kernel", b"\xc3", 0)])
    monkeypatch.setattr(compile.check, "check", refuse)
    with pytest.raises(SystemExit, match="WrongKernelError: silero differs"):
        compile.main()
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(compile.check, "check", lambda _: None)
    compile.main()
    assert list(folder.iterdir()) == [path]


# download-files


def prepared(world, *names: str, to: Path | None = None) -> list[str]:
    said = io.StringIO()
    content = b"content"
    source = world.server.add("a.bin", content)
    world.knows(*(table(name, content, [source]) for name in ("a.bin", prepare.FILE)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", said)
        with Lines() as report:
            prepare.prepare(names or None, to=to, report=report)
    return [line for line in said.getvalue().splitlines() if "kernels" in line]


@pytest.fixture
def world(tmp_path, monkeypatch):
    with open_world(tmp_path, monkeypatch) as world:
        monkeypatch.setattr(image, "levels", lambda: [LEVEL])
        yield world


def test_download_files_compiles_and_says_a_line_a_level(world, monkeypatch):
    compiler = Compiler(monkeypatch)
    assert prepared(world) == ["kernels              4.1 kB  compiled for x86-64-v3  ok"]
    assert prepared(world) == ["kernels              4.1 kB  present for x86-64-v3  ok"]
    assert compiler.runs == 1


def test_download_files_goes_on_with_numpy_when_kernels_do_not_compile(world, monkeypatch):
    Compiler(monkeypatch, "LLVM ERROR: no memory\n", 1)
    [line] = prepared(world)
    why = "kernels for x86-64-v3 were not compiled: LLVM ERROR: no memory"
    assert line == f"kernels           {why}; numpy and onnxruntime do their work"
    assert (world.cache / "a.bin").exists()


def test_download_files_says_why_nothing_is_compiled_elsewhere(world, monkeypatch):
    compiler = Compiler(monkeypatch)
    monkeypatch.setattr(image, "levels", list)
    [line] = prepared(world)
    assert line.startswith("kernels           not compiled: compiled kernels need Linux on an x86-")
    assert compiler.runs == 0


def test_download_files_of_some_files_or_to_a_folder_compiles_nothing(world, monkeypatch):
    compiler = Compiler(monkeypatch)
    assert prepared(world, "a.bin") == []
    assert prepared(world, to=world.folder / "elsewhere") == []
    assert compiler.runs == 0


# Tiles and weights


@pytest.mark.parametrize("level", TILES)
@pytest.mark.parametrize("n", [256, 128])
def test_the_tiles_of_a_level_fit_every_layer(n, level):
    layout, tiles = Layout(n, TILES[level]), TILES[level]
    for columns, width in (
        (layout.quarter, layout.fourier_width),
        (HIDDEN, tiles.width),
        (NARROW, tiles.pair_width),
        (NARROW, layout.narrow_single),
        (HIDDEN, tiles.single),
        (4 * HIDDEN, tiles.single),
    ):
        assert columns % width == 0
        assert width % tiles.vector == 0
    assert tiles.rows in (1, 2, 4)
    assert tiles.pair_rows in (1, 2)


@pytest.mark.parametrize("level", TILES)
@pytest.mark.parametrize("n", [256, 128])
def test_packed_weights_lie_where_the_layout_says(n, level):
    weights = check.random_weights(n, np.random.default_rng(0))
    layout = Layout(n, TILES[level])
    floats, halves = fused.pack(weights, layout)
    assert (floats.dtype, halves.dtype) == (np.float32, np.uint16)
    assert (len(floats), len(halves)) == (layout.floats, layout.halves)
    assert floats.ctypes.data % 64 == halves.ctypes.data % 64 == 0
    assert not floats[layout.zeros : layout.fourier].any()
    assert floats[-1] == np.float32(weights.output_bias)
    lstm = halves[layout.lstm :].view(np.float16).astype(np.float32)
    assert np.array_equal(lstm, blocks(weights.lstm.T, layout.tiles.single))


def test_blocks_are_columns_side_by_side():
    matrix = np.arange(8.0).reshape(2, 4)
    assert blocks(matrix, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


def test_another_first_layer_than_a_fourier_transform_is_refused():
    weights = check.random_weights(256, np.random.default_rng(0))
    layout = Layout(256, TILES[LEVEL])
    for other in (weights.fourier * 1.001, np.roll(weights.fourier, 1, axis=0)):
        with pytest.raises(silero_network.UnknownNetworkError, match="no Fourier transform"):
            fused.pack(weights._replace(fourier=other), layout)


def test_the_sign_of_the_sines_does_not_matter():
    weights = check.random_weights(256, np.random.default_rng(0))
    other = weights.fourier.copy()
    other[:, 1::2] *= -1
    layout = Layout(256, TILES[LEVEL])
    for got, want in zip(
        fused.pack(weights._replace(fourier=other), layout),
        fused.pack(weights, layout),
        strict=True,
    ):
        assert np.array_equal(got, want)


# The check


@pytest.fixture
def kernels() -> image.Image:
    return image.find()


@pytest.mark.model
@supported
def test_the_images_of_this_machine_pass_the_check(kernels):
    for level in image.levels():
        check.check(image.load(image.path(level)))
    assert set(kernels.functions) == KERNELS
    assert set(kernels.about) == {"numba", "llvmlite"}


@pytest.mark.model
@supported
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_that_does_nothing_does_not_pass(name, kernels, tmp_path):
    zero = bytes.fromhex("0f57c0c3")  # return 0.0
    image.write(tmp_path / "wrong.image", LEVEL, [(name, zero, 0)], {})
    wrong = image.load(tmp_path / "wrong.image")
    with pytest.raises(check.WrongKernelError, match=f"{name.split('_')[0]} differs"):
        check.check(kernels._replace(functions={**kernels.functions, **wrong.functions}))


@pytest.mark.model
@supported
@pytest.mark.parametrize("error", [2e-5, np.nan])
def test_a_kernel_that_differs_by_more_than_its_tolerance_does_not_pass(
    error, kernels, monkeypatch
):
    real = check.numpy_network

    def lying(weights):
        twin = real(weights)

        def run(window, memory):
            p, new = twin(window, memory)
            return p, type(new)(*new[:5], new[5] + error, *new[6:])

        return run

    check.check(kernels)
    monkeypatch.setattr(check, "numpy_network", lying)
    with pytest.raises(check.WrongKernelError, match=r"silero differs from its numpy twin by "):
        check.check(kernels)


@pytest.mark.parametrize("bits", [0x7F800000, 0x7F800001, 0x7FC00000, 0x7F7FFFFF])
def test_bits_of_any_kind_are_compared_and_differ(bits):
    # infinity, both kinds of NaN, the largest number: memory that no kernel wrote to has them all
    got = np.full(2, bits, np.uint32).view(np.complex64)
    for expected in (np.zeros(1, np.complex64), -got):
        with pytest.raises(check.WrongKernelError, match="gtcrn differs from its numpy twin by"):
            check._compare("gtcrn", got, expected)


@pytest.mark.model
@supported
def test_a_filter_that_differs_from_its_twin_does_not_pass(kernels, monkeypatch):
    real = check.filtered
    monkeypatch.setattr(check, "filtered", lambda *a: real(*a) + np.float32(2e-5))
    with pytest.raises(check.WrongKernelError, match="polyphase differs from its numpy twin by"):
        check.check(kernels)
