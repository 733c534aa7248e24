"""The pages for whoever runs agents: what they name is there, what they say works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text("utf-8")
DEPLOYMENT = (ROOT / "docs/deployment.md").read_text("utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").glob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_every_test_that_the_page_names_is_there(name: str) -> None:
    assert name in TESTS


def fault_rows() -> list[str]:
    """Return the rows of the page's table of faults."""
    table = PAGE.partition("## Faults")[2].partition("\n\n[SECURITY")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][1:]


def test_every_fault_of_the_page_has_a_test() -> None:
    rows = fault_rows()
    assert len(rows) > 20
    assert [row for row in rows if "`test_" not in row] == []


def test_every_counter_of_the_page_is_there() -> None:
    from livekit.plugins.nearvoice import counters

    named = {metric._name for metric in vars(counters).values() if hasattr(metric, "_name")}
    told = set(re.findall(r"`(nearvoice_\w+?)(?:_total)?(?:\{[^}]*\})?`", PAGE))
    assert named == told


# ---- deployment -------------------------------------------------------------------------------


def shell(commands: str, folder: Path, **environment: str) -> str:
    """Run the commands of a page in a folder, with a home of their own and no network."""
    known = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        **environment,
    }
    (folder / "home").mkdir(exist_ok=True)
    done = subprocess.run(
        ["sh", "-eu", "-c", commands],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.fixture
def no_network(tmp_path: Path) -> dict[str, str]:
    """Settings with which every source fails at once."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.mark.model
def test_the_way_without_a_network_works_as_it_is_written(
    tmp_path: Path, no_network: dict[str, str]
) -> None:
    here, there = re.findall(r"```sh\n(.*?)```", DEPLOYMENT, re.DOTALL)
    from nearvoice import files

    machine = tmp_path / "here"
    machine.mkdir()
    cache = str(files.path("silero_vad.onnx").parent)  # of the machine with a network
    shell(here, machine, NEARVOICE_CACHE=cache, **no_network)
    other = tmp_path / "there"
    other.mkdir()
    (machine / "carried").rename(other / "carried")
    said = shell(there, other, **no_network)
    assert "An agent would start." in said
    assert "compiled for" in said
    assert not list((other / "home").rglob("*.onnx"))  # read where they were carried to


@pytest.mark.model
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_files_that_root_made_are_enough_for_another_user_with_a_read_only_cache(
    tmp_path: Path,
) -> None:
    from nearvoice import files

    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/pytest"):
                parent.chmod(0o755)
            else:
                pytest.skip(f"another user cannot go through {parent}")
    cache = tmp_path / "opt"
    shell(
        f"cp -r {files.path('silero_vad.onnx').parent} {cache}; chmod -R a+rX,go-w {cache}",
        tmp_path,
    )
    program = (
        "from livekit.plugins.nearvoice import silero, noise_cancellation\n"
        "print(silero.VAD.load().kernel)\nnoise_cancellation.BVC()\n"
    )
    known = {"PATH": os.environ["PATH"], "NEARVOICE_CACHE": str(cache), "HOME": "/nonexistent"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=known,
            user=65534,
            group=65534,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    except PermissionError:
        pytest.skip("another user cannot read this Python environment")
    if "Permission denied" in done.stderr and "opt" not in done.stderr:
        pytest.skip("another user cannot read this Python environment")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() in ("numba", "numpy")
