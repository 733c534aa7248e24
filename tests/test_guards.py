"""The list of guards against faults: it is about this code, and about every fault of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import guards
from tests.test_reliability import TESTS, fault_rows

LISTED, UNGUARDED = guards.listed()
FORK = next(one for one in LISTED if "forked" in one.fault)


def faults() -> list[str]:
    return [row.split(" | ")[0].removeprefix("| ") for row in fault_rows()]


@pytest.mark.parametrize("guard", LISTED, ids=lambda guard: f"{guard.fault}: {guard.guard[:30]}")
def test_a_guard_is_in_its_file_once_and_its_tests_are_there(guard: guards.Guard) -> None:
    text = (guards.ROOT / guard.file).read_text("utf-8")
    assert guards.removed(text, guard) != text
    assert set(guard.tests) <= TESTS


@pytest.mark.parametrize("fault", faults())
def test_every_fault_of_the_page_has_a_guard_or_is_borne_by_livekit(fault: str) -> None:
    guarded = [guard for guard in LISTED if guard.fault == fault]
    assert bool(guarded) != (fault in UNGUARDED)


def test_no_fault_is_listed_that_the_page_has_not() -> None:
    assert {guard.fault for guard in LISTED} | set(UNGUARDED) == set(faults())


def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: guards.Guard) -> None:
    def quoted(text: str) -> str:
        return f"'''{text}'''"

    path = tmp_path / "guards.toml"
    path.write_text(
        f"unguarded = []\n[[guards]]\nfault = 'one'\nfile = {quoted(guard.file)}\n"
        f"guard = {quoted(guard.guard)}\nwithout = {quoted(guard.without)}\n"
        f"tests = {list(guard.tests)}\n",
        "utf-8",
    )
    monkeypatch.setattr(guards, "LIST", path)


def test_a_guard_that_is_taken_away_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listing(tmp_path, monkeypatch, FORK)
    assert guards.main([]) == 0
    assert "1 guards, 0 not noticed" in capsys.readouterr().out


def test_a_change_that_no_test_minds_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listing(tmp_path, monkeypatch, FORK._replace(without=f"{FORK.guard}  # harmless"))
    assert guards.main([]) == 1
    assert f"passes without it: {FORK.tests[0]}" in capsys.readouterr().out


def test_a_guard_that_the_code_has_no_more_is_told() -> None:
    with pytest.raises(ValueError, match="0 times, not once"):
        guards.removed("", FORK)
