import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import guard, guard_paths
from benchmarks.guard import UnsupportedError

FOUND = {"python": "3.11", "valgrind": "3.19.0", "numpy": "2.4.0", "numba": "0.66"}
BEFORE = {"versions": FOUND, "instructions": {"pour": 1000}}
PAGE = Path(__file__).parents[1] / "docs/performance.md"


def compared(now: dict[str, int], **versions: str) -> list[guard.Line]:
    depends = dict.fromkeys(("pour", "stir"), ("numpy",))
    return guard.compare(BEFORE, now, {**FOUND, **versions}, depends)


@pytest.mark.parametrize(("now", "failed"), [(1060, True), (1051, True), (1040, False), (9, False)])
def test_more_than_five_per_cent_more_fails(now: int, failed: bool) -> None:
    (line,) = compared({"pour": now})
    assert line.failed is failed


def test_another_version_of_what_a_path_depends_on_is_said_and_does_not_fail() -> None:
    (line,) = compared({"pour": 2000}, numpy="2.5.0")
    assert not line.failed
    assert "NOT COMPARABLE, numpy 2.4.0 -> 2.5.0" in line.verdict
    (line,) = compared({"pour": 2000}, numba="0.67")  # on which it does not depend
    assert line.failed
    (line,) = compared({"pour": 2000}, valgrind="3.23.0")
    assert "valgrind 3.19.0 -> 3.23.0" in line.verdict


def test_a_path_that_is_new_or_gone_fails_until_there_is_a_new_baseline() -> None:
    lines = compared({"stir": 10})
    assert [(line.path, line.failed) for line in lines] == [("pour", True), ("stir", True)]
    assert all("--update" in line.verdict for line in lines)
    assert "FAILED" in guard.table(lines)


def test_the_count_of_a_file_is_its_total() -> None:
    text = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1)\n0 12\n\ntotals: 12\n"
    assert guard.parse(text) == 12
    with pytest.raises(ValueError, match="no totals"):
        guard.parse("version: 1\n")


def test_where_nothing_can_be_counted_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert guard.run() == 0
    assert "nothing was measured: " in capsys.readouterr().out


def test_the_baseline_has_every_path() -> None:
    baseline = json.loads(guard.BASELINE.read_text("utf-8"))
    assert baseline["instructions"].keys() == guard_paths.PATHS.keys()
    assert baseline["versions"].keys() == {"python", "valgrind", *guard.PACKAGES}


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    try:
        guard.check()
    except UnsupportedError as error:
        pytest.skip(str(error))
    return guard.count(repeat=10)


@pytest.mark.model
def test_no_hot_path_takes_more_instructions_than_before(counted: dict[str, int]) -> None:
    baseline = json.loads(guard.BASELINE.read_text("utf-8"))
    depends = {name: one.packages for name, one in guard_paths.PATHS.items()}
    lines = guard.compare(baseline, counted, guard.versions(), depends)
    assert not any(line.failed for line in lines), guard.table(lines)


@pytest.mark.model
def test_a_path_that_does_its_work_twice_is_found(
    counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Silero, compiled, a window at 16 kHz"
    slow: dict[str, Any] = {**counted, name: counted[name] * 2}
    found = guard.versions()
    baseline = {"versions": found, "instructions": counted}
    depends = {path: one.packages for path, one in guard_paths.PATHS.items()}
    failed = [line.path for line in guard.compare(baseline, slow, found, depends) if line.failed]
    assert failed == [name]


def test_the_guard_is_documented() -> None:
    assert re.search(r"make bench-guard", PAGE.read_text("utf-8"))


def test_the_table_of_the_document_is_the_baseline() -> None:
    baseline = json.loads(guard.BASELINE.read_text("utf-8"))["instructions"]
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {name: int(number.replace(",", "")) for name, number in rows} == baseline
