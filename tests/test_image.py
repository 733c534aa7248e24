import ctypes
import json
import mmap
import os
import platform
import re
import shutil
from pathlib import Path

import pytest

from nearvoice import files
from nearvoice.cpu import Processor
from nearvoice.kernels import image

supported = pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))

ON_ARM = platform.machine() == "aarch64"
SEVEN = bytes.fromhex("e0008052c0035fd6" if ON_ARM else "b807000000c3")
"""Machine code of this processor: return 7."""
EIGHT = bytes.fromhex("00018052c0035fd6" if ON_ARM else "b808000000c3")
TRAP = bytes.fromhex("000020d4" if ON_ARM else "cc")
V3 = frozenset(["avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"])
V4 = V3 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.image"
    about = {"numba": "1.2", "llvmlite": "3.4"}
    kernels = [("seven", SEVEN, 0), ("eight", TRAP + EIGHT, len(TRAP))]
    image.write(path, "x86-64-v3", kernels, about)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Make an empty folder the one for images; the processor has AVX2."""
    monkeypatch.setattr(image, "folder", lambda: tmp_path)
    machine(monkeypatch, Processor(flags=V3))
    return tmp_path


def machine(monkeypatch, cpu: Processor, system: str = "linux", name: str = "x86_64") -> None:
    monkeypatch.setattr(image.sys, "platform", system)
    monkeypatch.setattr(image.platform, "machine", lambda: name)
    monkeypatch.setattr(image, "processor", lambda: cpu)


def call(kernels: image.Image, name: str) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int)(kernels.functions[name])()


# An image


@supported
def test_the_functions_of_an_image_can_be_called(path):
    kernels = image.load(path)
    assert (call(kernels, "seven"), call(kernels, "eight")) == (7, 8)
    assert (kernels.level, kernels.path) == ("x86-64-v3", path)
    assert kernels.about == {"numba": "1.2", "llvmlite": "3.4"}


@supported
def test_an_image_goes_on_working_when_its_file_is_replaced_or_removed(path):
    kernels = image.load(path)
    image.write(path, "x86-64-v3", [("seven", EIGHT, 0)], {})
    assert call(kernels, "seven") == 7
    assert call(image.load(path), "seven") == 8
    path.unlink()
    assert call(kernels, "seven") == 7


def test_an_image_is_written_whole_or_not_at_all(path):
    before = path.read_bytes()

    def kernels():
        yield "seven", SEVEN, 0
        raise MemoryError

    with pytest.raises(MemoryError):
        image.write(path, "x86-64-v3", kernels(), {})
    with pytest.raises(ValueError, match="longer than a page"):
        image.write(path, "x86-64-v3", [], {"numba": "1" * image.PAGE})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_others_can_read_an_image_but_not_write_it(tmp_path):
    before = os.umask(0)
    try:
        image.write(tmp_path / "an.image", "x86-64-v3", [("seven", SEVEN, 0)], {})
    finally:
        os.umask(before)
    assert (tmp_path / "an.image").stat().st_mode & 0o777 == 0o644


# What is not run


def rewrite(path: Path, **changes: object) -> None:
    """Change the header, and not the code."""
    content = path.read_bytes()
    header = {**json.loads(content[: image.PAGE]), **changes}
    path.write_bytes(json.dumps(header).encode().ljust(image.PAGE) + content[image.PAGE :])


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def shorten(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


DAMAGE = {
    "nothing in it": lambda path: shorten(path, 0),
    "half a header": lambda path: shorten(path, 40),
    "a header without code": lambda path: shorten(path, image.PAGE),
    "code that is cut off": lambda path: shorten(path, image.PAGE + 3),
    "a wrong byte of code": lambda path: flip(path, image.PAGE),
    "a wrong byte between two kernels": lambda path: flip(path, image.PAGE + 100),
    "a wrong byte of the header": lambda path: flip(path, 0),
    "a byte too many": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "the hash of another": lambda path: rewrite(path, sha256="0" * 64),
    "no hash": lambda path: rewrite(path, sha256=None),
    "functions elsewhere": lambda path: rewrite(path, functions={"seven": 4097}),
    "no functions": lambda path: rewrite(path, functions=None),
    "the level of another": lambda path: rewrite(path, level="x86-64-v4"),
    "a list as its header": lambda path: path.write_bytes(b"[]".ljust(image.PAGE) + SEVEN),
    "nothing but zeros": lambda path: path.write_bytes(bytes(2 * image.PAGE)),
}


@supported
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_image_is_refused_with_the_remedy(path, damage):
    DAMAGE[damage](path)
    with pytest.raises(image.ImageError) as refused:
        image.load(path)
    said = str(refused.value)
    assert said.startswith(str(path))
    assert said.endswith("run `nearvoice download-files`")
    assert "is damaged" in said or "cannot be mapped" in said


@supported
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_an_image_that_others_can_write_to_is_refused_with_the_remedy(path, mode):
    path.chmod(mode)
    with pytest.raises(image.ImageError, match=r"others .* can write .*: run `chmod go-w .*some\."):
        image.load(path)
    path.chmod(mode & ~0o022)
    assert call(image.load(path), "seven") == 7


@supported
def test_an_image_of_another_user_is_refused(path, monkeypatch):
    status = os.stat_result((0o100644, 0, 0, 1, 4321, 4321, 0, 0, 0, 0))
    monkeypatch.setattr(image.os, "fstat", lambda _: status)
    with pytest.raises(image.ImageError, match="belongs to user 4321, who does not own nearvoice"):
        image.load(path)


@supported
def test_an_image_of_root_or_of_who_installed_nearvoice_is_trusted(path, monkeypatch):
    monkeypatch.setattr(image.os, "geteuid", lambda: 4321)
    for user in (0, 4321, Path(image.__file__).stat().st_uid):
        status = os.stat_result((0o100644, 0, 0, 1, user, 0, 0, 0, 0, 0))
        monkeypatch.setattr(image.os, "fstat", lambda _, status=status: status)
        assert call(image.load(path), "seven") == 7


@supported
def test_a_folder_that_forbids_to_run_what_is_in_it_is_told(path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(image.mmap, "mmap", forbidden)
    with pytest.raises(image.ImageError) as refused:
        image.load(path)
    assert str(refused.value) == (
        f"{path} cannot be mapped ([Errno 1] Operation not permitted): "
        "let NEARVOICE_CACHE be a folder whose files this user may read and run"
    )


@supported
def test_an_image_is_mapped_so_that_nobody_can_change_it(path):
    memory = image.load(path).memory
    assert isinstance(memory, mmap.mmap)
    with pytest.raises(TypeError):
        memory[image.PAGE] = 0


# Which image


def test_without_an_image_the_command_is_told(cache):
    assert not image.exists()
    with pytest.raises(image.ImageError) as refused:
        image.find()
    assert str(refused.value) == f"no compiled kernels in {cache}: run `{files.COMMAND}`"


@supported
def test_the_best_image_that_is_there_is_mapped_once(cache, monkeypatch):
    machine(monkeypatch, Processor(flags=V4))
    image.write(image.path("x86-64-v3"), "x86-64-v3", [("seven", SEVEN, 0)], {})
    assert image.exists()
    image.write(image.path("x86-64-v4"), "x86-64-v4", [("seven", SEVEN, 0)], {})
    assert image.find().level == "x86-64-v4"
    assert image.find() is image.find()


@supported
def test_where_the_best_image_is_damaged_the_next_one_is_mapped(cache, monkeypatch):
    machine(monkeypatch, Processor(flags=V4))
    image.write(image.path("x86-64-v3"), "x86-64-v3", [("seven", SEVEN, 0)], {})
    image.path("x86-64-v4").write_bytes(b"damaged")
    assert image.find().level == "x86-64-v3"


@supported
def test_an_image_for_another_level_is_not_mapped(cache, monkeypatch):
    machine(monkeypatch, Processor(flags=V3))
    image.write(image.path("x86-64-v3"), "x86-64-v4", [("seven", SEVEN, 0)], {})
    with pytest.raises(image.ImageError, match="is for x86-64-v4"):
        image.find()


def test_without_a_home_folder_there_are_no_kernels_and_the_setting_is_named(monkeypatch):
    def homeless() -> Path:
        raise FileNotFoundError("no home: set NEARVOICE_CACHE to a folder")

    monkeypatch.setattr(image, "folder", homeless)
    monkeypatch.setattr(image, "unsupported", lambda: None)
    with pytest.raises(image.ImageError, match="set NEARVOICE_CACHE"):
        image.find()
    assert not image.exists()


@supported
def test_a_process_keeps_the_image_it_has_mapped(cache, monkeypatch):
    machine(monkeypatch, Processor(flags=V4))
    image.write(image.path("x86-64-v3"), "x86-64-v3", [("seven", SEVEN, 0)], {})
    found = image.find()
    image.path("x86-64-v3").unlink()
    assert image.find() is found


@supported
def test_an_image_of_other_sources_is_not_used(cache, monkeypatch):
    image.write(image.path("x86-64-v3"), "x86-64-v3", [("seven", SEVEN, 0)], {})
    monkeypatch.setattr(image, "sources", lambda: "f" * 64)
    assert not image.exists()
    with pytest.raises(image.ImageError, match="no compiled kernels"):
        image.find()


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """The folder of a copy of nearvoice, whose sources are the ones that are hashed."""
    package = tmp_path / "nearvoice"
    shutil.copytree(Path(image.__file__).parents[1], package)
    monkeypatch.setattr(image, "__file__", str(package / "kernels" / "image.py"))
    return package


@pytest.mark.parametrize(
    "name",
    [
        "filterbank.py",
        "gtcrn.py",
        "gtcrn_weights.py",
        "hush_features.py",
        "hush_weights.py",
        "kernels/gtcrn.py",
        "kernels/tile.py",
        "polyphase.py",
        "silero_network.py",
        "spectrum.py",
    ],
)
def test_what_kernels_are_made_from_changes_the_name_of_their_image(copied, name):
    before = image.sources.__wrapped__()
    assert before == image.sources()
    (copied / name).write_text("changed")
    assert image.sources.__wrapped__() != before


def test_every_module_that_a_kernel_or_its_layout_imports_is_hashed():
    others = ("build", "check", "fused", "image")  # make, prove, call and map kernels
    paths = [p for p in Path(image.__file__).parent.glob("*.py") if p.stem not in others]
    found = {name for p in paths for name in re.findall(r"^from \.\.(\w+) ", p.read_text(), re.M)}
    assert found <= {*image._AROUND}
    assert {"gtcrn", "gtcrn_weights", "hush_features", "silero_network"} <= found


def test_images_are_in_the_cache_beside_the_model_files(monkeypatch, tmp_path):
    monkeypatch.setenv("NEARVOICE_CACHE", str(tmp_path))
    found = image.path("x86-64-v3")
    assert found.parent == tmp_path / "kernels"
    assert found.name == f"x86-64-v3-{image.sources()[:12]}.image"


@pytest.mark.parametrize(
    ("name", "cpu", "levels"),
    [
        ("Zen 4", Processor("", "AuthenticAMD", "25", V4), ["x86-64-v4-256", "x86-64-v3"]),
        ("Zen 3", Processor("", "AuthenticAMD", "25", V3), ["x86-64-v3"]),
        ("Zen 5", Processor("", "AuthenticAMD", "26", V4), ["x86-64-v4", "x86-64-v3"]),
        ("Sapphire Rapids", Processor("", "GenuineIntel", "6", V4), ["x86-64-v4", "x86-64-v3"]),
        ("Haswell", Processor("", "GenuineIntel", "6", V3), ["x86-64-v3"]),
        ("Knights Landing", Processor("", "GenuineIntel", "6", V4 - {"avx512bw"}), ["x86-64-v3"]),
        ("without F16C", Processor("", "GenuineIntel", "6", V3 - {"f16c"}), []),
        ("AVX-512 alone", Processor("", "GenuineIntel", "6", V4 - V3), []),
        ("Nehalem", Processor("", "GenuineIntel", "6", frozenset(["sse4_2"])), []),
        ("nothing known", Processor(), []),
    ],
)
def test_a_processor_is_given_the_levels_that_it_can_run_best_first(name, cpu, levels, monkeypatch):
    machine(monkeypatch, cpu)
    assert image.levels() == levels
    assert (image.unsupported() is None) == bool(levels)


def test_an_arm_processor_of_64_bits_is_given_its_level(monkeypatch):
    machine(monkeypatch, Processor(flags=frozenset(["fp", "asimd", "neon"])), name="aarch64")
    assert image.levels() == ["aarch64"]
    assert image.unsupported() is None
    machine(monkeypatch, Processor(flags=frozenset(["fp"])), name="aarch64")
    assert image.levels() == []


@pytest.mark.parametrize("name", ["aarch64", "x86_64"])
def test_a_python_of_32_bits_is_given_no_level_on_any_processor(name, monkeypatch):
    machine(monkeypatch, Processor(flags=V4 | {"asimd"}), name=name)
    assert image.levels() != []
    monkeypatch.setattr(image.sys, "maxsize", 2**31 - 1)
    assert image.levels() == []


ON_X86 = "need Linux on an x86-64 processor with AVX2, FMA and F16C"
ON_AN_ARM = "need Linux and a 64-bit Python on an ARM processor with ASIMD"


@pytest.mark.parametrize(
    ("system", "name", "reason"),
    [
        ("linux", "riscv64", ON_X86),
        ("linux", "armv7l", ON_AN_ARM),
        ("darwin", "arm64", ON_AN_ARM),
        ("darwin", "x86_64", ON_X86),
        ("win32", "AMD64", ON_X86),
        ("win32", "ARM64", ON_AN_ARM),
    ],
)
def test_other_systems_and_processors_are_given_no_level_and_a_reason(
    system, name, reason, monkeypatch
):
    machine(monkeypatch, Processor(flags=V4 | {"asimd"}), system, name)
    assert image.levels() == []
    assert not image.exists()
    with pytest.raises(image.ImageError, match=reason):
        image.find()
