"""What is done in several processes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from benchmarks import processes


def write(path: Path) -> None:
    """Keep which process was asked, and whether it is quiet."""
    path.write_text(f"{os.getpid()} {logging.root.manager.disable >= logging.WARNING}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_part_is_done_and_this_process_goes_on_logging(tmp_path: Path, jobs: int) -> None:
    paths = [tmp_path / name for name in "abcd"]
    processes.each(write, paths, jobs, "it")
    assert all(path.exists() for path in paths)
    here = {path.read_text().split()[0] == str(os.getpid()) for path in paths}
    assert here == {jobs == 1}
    assert {path.read_text().split()[1] for path in paths} == {str(jobs > 1)}
    assert logging.root.manager.disable < logging.WARNING


def test_one_part_needs_no_other_process(tmp_path: Path) -> None:
    processes.each(write, [tmp_path / "a"], 2, "it")
    assert (tmp_path / "a").read_text().startswith(f"{os.getpid()} ")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_part_is_that_of_all(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(FileNotFoundError):
        processes.each(write, [tmp_path / "a", tmp_path / "nowhere" / "b"], jobs, "it")
