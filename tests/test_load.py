"""Load and long calls: the fast part of ``make load`` and ``make soak``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load, load_job, soak
from benchmarks.proc import Memory
from benchmarks.tasks import TASKS
from benchmarks.worker import PHASES, Worker
from tests.measuring import measured

# ---- load -------------------------------------------------------------------------------------


def test_a_delay_is_above_the_least_of_windows_that_lie_to_their_frames_alike() -> None:
    due = [load_job.math.ceil((n + 1) * 0.032 / 0.05 - 1e-9) * 0.05 for n in range(100)]
    lag = 0.03  # of a resampler, always
    heard = [at + lag for at in due]
    assert max(load_job.delays(heard)) == pytest.approx(0.0, abs=1e-6)
    heard[60] += 0.2
    late = load_job.delays(heard)
    assert late[60] == pytest.approx(200.0)
    assert sum(one > 1e-6 for one in late) == 1


def a_worker(*jobs: dict[str, list[float]]) -> Worker:
    memory = Memory(10.0, 20.0, 30.0)
    return Worker({phase: [memory, memory] for phase in PHASES}, memory, 120.0, (), jobs)  # type: ignore[arg-type]


def test_figures_are_of_all_jobs_together() -> None:
    job = {"delay_ms": [1.0, 2.0], "stall_ms": [0.0], "turn_ms": [5.0], "late_ms": [0.1]}
    found = load.summary(a_worker(job, job | {"turn_ms": [7.0], "delay_ms": [90.0]}), 2)
    assert found["delay_ms"]["max"] == 90.0
    assert found["delay_ms"]["n"] == 3
    assert found["turn_ms"]["p50"] == 6.0
    assert found["mib_a_call"] == 10.0
    without: dict[str, list[float]] = {**job, "turn_ms": []}
    assert "turn_ms" not in load.summary(a_worker(without), 1)


def test_calls_grow_until_their_events_are_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def summary(found: Any, calls: int) -> dict[str, Any]:
        p99 = 10.0 * calls
        return {"calls": calls, "delay_ms": {"p50": 1.0, "p99": p99, "max": p99, "n": 9}}

    monkeypatch.setattr(load, "SYSTEMS", {"it": load.SYSTEMS["nearvoice VAD"]})
    monkeypatch.setattr(load, "CALLS", (1, 4, 8, 16))
    monkeypatch.setattr(load, "summary", summary)
    monkeypatch.setattr(load.worker, "run", lambda *_: None)
    monkeypatch.setattr(load.os, "sched_getaffinity", lambda _: {0, 1})
    result = measured(load, tmp_path)
    assert result["systems"]["it"] == {"calls": 4, "calls a core": 2.0}
    assert "it, 8 calls" in result["systems"]
    assert "it, 16 calls" not in result["systems"]
    assert "it, 4 calls" in load.report(result)


@pytest.mark.parametrize(
    ("most", "counts"),
    [
        (500, [1, 8, 32, 64]),
        (63, [1, 8, 32, 48, 64]),
        (10, [1, 8, 16, 32]),
        (7, [1, 8]),
        (0, [1]),
    ],
)
def test_between_what_holds_and_what_does_not_half_way_is_tried(
    most: int, counts: list[int]
) -> None:
    assert load.tried((1, 8, 32, 64), lambda count: count <= most) == counts


@pytest.mark.model
def test_a_real_worker_holds_two_calls_with_all_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "SYSTEMS", {"ours": load.SYSTEMS["nearvoice VAD, turn, NC"]})
    monkeypatch.setattr(load, "QUICK_CALLS", (2,))
    row = measured(load, tmp_path, quick=True)["systems"]["ours, 2 calls"]
    windows = 2 * int(load.QUICK_SECONDS / load_job.WINDOW)
    assert row["delay_ms"]["n"] == pytest.approx(windows, abs=4)
    assert row["turn_ms"]["n"] >= 2
    assert row["turn_ms"]["max"] < 300


# ---- soak -------------------------------------------------------------------------------------


def a_minute(**known: Any) -> dict[str, Any]:
    fields = {"seconds": 1.0, "events": [["end_of_speech", 3.0]], "probability": 0.0,
              "sample": 0, "last": 0.0, "predictions": 1, "unique_mib": 100.0,
              "descriptors": 9, "threads": 3, "tasks": 4}  # fmt: skip
    return {**fields, **known}


def test_what_grows_and_what_changes_is_told() -> None:
    kept = [a_minute(last=60.0 * (n + 1), unique_mib=100 + n, predictions=n + 1) for n in range(20)]
    assert soak.growth(kept)["unique_mib more"] == 16.0
    assert soak.growth(kept)["threads more"] == 0
    same = soak.sameness(kept)
    assert same["other events"] == same["furthest sample"] == same["drift, s"] == 0
    assert same["predictions a minute"] == 1.0
    kept[7] |= {"sample": 3, "events": []}
    kept[9]["last"] += 0.5
    assert soak.sameness(kept)["furthest sample"] == 3
    assert soak.sameness(kept)["other events"] == 1
    assert soak.sameness(kept)["drift, s"] == 0.5


@pytest.mark.model
def test_a_few_minutes_of_one_stream_and_seconds_of_some_hold_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "SPOKEN", 9)
    monkeypatch.setattr(soak, "SILENT", 3)
    monkeypatch.setattr(soak, "MINUTE", 12)
    monkeypatch.setattr(soak, "QUICK_LIVE_MINUTES", 0.2)
    monkeypatch.setattr(soak, "EVERY", 1.0)
    found = measured(soak, tmp_path, quick=True)["systems"]
    fast, live = found[soak.FAST], found[soak.LIVE]
    assert fast["other events"] == 0
    assert fast["furthest probability"] < 0.2  # these minutes are short
    assert fast["furthest sample"] < 1_000
    assert fast["drift, s"] == 0
    assert fast["predictions a minute"] > 0
    for row in (fast, live):
        assert row["descriptors more"] <= 0
        assert row["threads more"] <= 0
        assert row["tasks more"] <= 0
        assert row["unique_mib more"] < 20
    assert live["last behind, s"] < 1.0


def test_resources_are_those_of_this_process() -> None:
    async def look() -> dict[str, float]:
        return soak.resources()

    found = asyncio.run(look())
    assert found["tasks"] == 1
    assert found["descriptors"] > 2
    assert found["unique_mib"] > 10


# ---- both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["load", "soak"])
def test_they_run_only_when_they_are_named(name: str) -> None:
    assert TASKS[name].named
