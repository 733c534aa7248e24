from pathlib import Path

import pytest

from nearvoice import cpu
from nearvoice.cpu import Processor, parse, processor

EPYC = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9554 64-Core Processor
flags\t\t: fpu avx2 fma avx512f

processor\t: 1
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Other
flags\t\t: fpu amx_tile
"""


def test_the_first_processor_is_told() -> None:
    flags = frozenset(["fpu", "avx2", "fma", "avx512f"])
    assert parse(EPYC) == Processor("AMD EPYC 9554 64-Core Processor", "AuthenticAMD", "25", flags)


def test_arm_is_told_by_its_features_and_has_neon() -> None:
    for name in ("asimd", "NEON"):
        told = parse(f"processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp {name} crc32\n")
        assert told.flags >= {"fp", "neon", "crc32", name.lower()}
        assert (told.model, told.vendor, told.family) == ("", "", "")


@pytest.mark.parametrize("text", ["", "\n\n", "no colon", "flags:", ": value", "\ufffd\0:\0"])
def test_a_text_that_tells_nothing_gives_an_empty_processor(text: str) -> None:
    assert parse(text) == Processor()


def test_a_value_may_hold_a_colon() -> None:
    assert parse("model name : a: b\n").model == "a: b"


def test_a_system_without_cpuinfo_has_an_empty_processor(tmp_path: Path) -> None:
    assert processor(tmp_path / "none") == Processor()


def test_hundreds_of_processors_are_not_all_read(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_bytes((EPYC * 5000).encode() + b"\xff")
    read = []
    monkeypatch.setattr(cpu, "parse", lambda text: read.append(len(text)) or parse(text))
    assert processor(path) == parse(EPYC)
    assert read[0] <= 20_000


def test_the_processor_of_this_machine_is_told_where_there_is_a_cpuinfo() -> None:
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("this system has no /proc/cpuinfo")
    assert processor().flags
