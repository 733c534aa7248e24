"""The Dockerfile of the page: its steps can be taken, and give what an agent needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import container

DOCKERFILE = container.dockerfile()


def test_the_page_builds_as_root_and_runs_as_another_user() -> None:
    recipe = container.parse(DOCKERFILE)
    assert recipe.user not in ("", "root", "0")
    before, after = DOCKERFILE.split("USER ")
    assert "nearvoice download-files && nearvoice doctor" in before
    assert "RUN" not in after
    assert "NEARVOICE_CACHE=" in recipe.environment
    assert "cp -r /context/. ." in recipe.build


def test_a_step_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="no step for 'VOLUME /x'"):
        container.parse(f"{DOCKERFILE}VOLUME /x\n")


def _can(folder: Path) -> bool:
    """Return whether this user can mount in a namespace, and Python is not the system's."""
    if sys.platform != "linux" or os.geteuid() != 0 or Path(sys.base_prefix) == Path("/usr"):
        return False
    command = ["unshare", "--mount", "mount", "--bind", "/usr", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.model
def test_the_steps_of_the_page_give_another_user_all_three_models(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if not _can(tmp_path):
        pytest.skip("needs root, mount namespaces, and a Python of its own")
    assert container.main([]) == 0
    assert "1 turn predicted" in capfd.readouterr().out
