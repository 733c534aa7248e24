from pathlib import Path

import pytest

from benchmarks import proc, systems, worker
from benchmarks.proc import Memory
from benchmarks.worker import Worker
from tests.measuring import measured

ROLLUP = """\
55d0c0000000-7ffd4b1ff000 ---p 00000000 00:00 0                          [rollup]
Rss:              320512 kB
Pss:               61440 kB
Pss_Dirty:         20480 kB
Shared_Clean:      90112 kB
Shared_Dirty:     210944 kB
Private_Clean:       512 kB
Private_Dirty:     18944 kB
Anonymous:        225280 kB
Swap:                  0 kB
"""


def a_worker(unique: float, total: float = 100.0) -> Worker:
    jobs = [
        Memory(unique - 1, 50.0, 300.0),
        Memory(unique, 51.0, 301.0),
        Memory(unique, 52.0, 302.0),
    ]
    return Worker(dict.fromkeys(worker.PHASES, jobs), Memory(1.0, 90.0, 370.0), total)


def test_unique_memory_is_what_is_private_clean_or_dirty() -> None:
    assert proc.parse(ROLLUP) == Memory(unique=19.0, proportional=60.0, resident=313.0)


def test_what_is_no_rollup_is_refused_with_the_field_that_it_lacks() -> None:
    with pytest.raises(ValueError, match="no Private_Dirty among the fields of smaps_rollup"):
        proc.parse(ROLLUP.replace("Private_Dirty", "Private_Mud"))


def test_this_process_has_memory_of_each_kind() -> None:
    memory = proc.memory("self")
    assert 0 < memory.unique <= memory.proportional <= memory.resident


def test_descendants_are_found_whatever_the_order_of_the_processes() -> None:
    parents = {2: 1, 7: 2, 5: 7, 6: 7, 9: 1, 3: 6}
    assert proc.descendants(2, parents) == [2, 7, 5, 6, 3]


def test_a_figure_is_the_median_job_of_a_round_and_its_spread_over_the_rounds() -> None:
    measured = {
        worker.NONE: [a_worker(19.0), a_worker(20.0)],
        "ours": [a_worker(21.0, 110.0), a_worker(21.0, 120.0)],
    }
    rows = worker.rows(measured)
    loaded = rows["ours, loaded"]
    assert loaded["unique_mib"] == {"median": 21.0, "min": 21.0, "max": 21.0}
    assert loaded["above_no_vad_mib"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert loaded["proportional_mib"]["median"] == 51.0
    assert rows[f"{worker.NONE}, loaded"]["above_no_vad_mib"]["max"] == 0.0
    assert rows["ours, forkserver"]["resident_mib"]["median"] == 370.0
    assert rows["ours, whole worker"]["proportional_mib"]["max"] == 120.0


def test_every_kernel_and_both_official_vads_are_compared() -> None:
    names = {worker.NONE, systems.PEER, systems.NATIVE, *systems.OURS.values()}
    assert names == worker.SYSTEMS.keys()


@pytest.mark.model
def test_a_job_with_a_vad_has_more_memory_of_its_own_than_one_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in worker.SYSTEMS.keys() - {worker.NONE, systems.PEER}:
        monkeypatch.delitem(worker.SYSTEMS, name)
    monkeypatch.setattr(worker, "FULL", worker.Load(1, 2, 2.0))
    found = measured(worker, tmp_path)["systems"]
    heard = found[f"{systems.PEER}, after a call"]
    assert heard["above_no_vad_mib"]["median"] > 1.0
    assert heard["unique_mib"]["median"] < heard["proportional_mib"]["median"]
    assert heard["proportional_mib"]["median"] < heard["resident_mib"]["median"]
    assert found[f"{systems.PEER}, whole worker"]["proportional_mib"]["median"] > 0


@pytest.mark.model
def test_a_worker_that_cannot_start_is_reported_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "SYSTEMS", {worker.NONE: ("import no_such_vad", "None")})
    monkeypatch.setattr(worker, "FULL", worker.Load(1, 1, 1.0))
    with pytest.raises(RuntimeError, match=r"did not get to 'before'(?s:.*)named 'no_such_vad'"):
        measured(worker, tmp_path)
