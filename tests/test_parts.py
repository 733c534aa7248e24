"""Where time goes, and how near networks are to what the processor could do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import floors, macs, parts, systems
from benchmarks.report_tables import FLOORS, PARTS, rows
from benchmarks.stopwatch import Part, Stopwatch
from nearvoice import files
from tests.measuring import measured


def work(milliseconds: float) -> None:
    """Use the processor for so long."""
    until = time.thread_time() + milliseconds / 1e3
    while time.thread_time() < until:
        pass


class Kitchen:
    def boil(self) -> str:
        work(10)
        return "boiled"

    def brew(self) -> str:
        work(5)
        return self.boil()

    def fail(self) -> None:
        self.boil()
        raise ValueError("burnt")


# ---- the stopwatch ----------------------------------------------------------------------------


def test_a_function_has_its_time_without_what_it_calls_of_the_others() -> None:
    listed = [Part("fire", Kitchen, "boil"), Part("tea", Kitchen, "brew")]
    with Stopwatch(listed) as watch:
        assert Kitchen().brew() == "boiled"
    assert watch.spent["fire"] == pytest.approx(10e6, rel=0.2)
    assert watch.spent["tea"] == pytest.approx(5e6, rel=0.2)


def test_parts_of_one_name_are_added_up_and_an_error_goes_on() -> None:
    listed = [Part("all", Kitchen, "boil"), Part("all", Kitchen, "fail")]
    with pytest.raises(ValueError, match="burnt"), Stopwatch(listed) as watch:
        Kitchen().fail()
    assert watch.spent["all"] == pytest.approx(10e6, rel=0.2)


def test_what_is_watched_is_put_back_and_a_function_of_an_object_can_be() -> None:
    before, pot = Kitchen.boil, SimpleNamespace(boil=lambda: "hot")
    with Stopwatch([Part("fire", Kitchen, "boil"), Part("pot", pot, "boil")]) as watch:
        assert Kitchen.boil is not before
        assert pot.boil() == "hot"
    assert Kitchen.boil is before
    assert "pot" in watch.spent


def test_watching_a_function_that_does_nothing_finds_nothing() -> None:
    idle = SimpleNamespace(call=lambda: None)
    with Stopwatch([Part("idle", idle, "call")]) as watch:
        for _ in range(10_000):
            idle.call()
    assert abs(watch.spent["idle"]) / 10_000 < 1_000


# ---- parts ------------------------------------------------------------------------------------


def test_the_rest_is_what_is_in_no_part_and_shares_are_of_the_whole() -> None:
    kept = [
        {"us": 100.0, "parts": {"network": 60.0, "policy": 10.0}},
        {"us": 200.0, "parts": {"network": 120.0, "policy": 20.0}},
        {"us": 100.0, "parts": {"network": 60.0, "policy": 50.0}},
    ]
    found = parts.rows("it", kept, parts.SECOND)
    assert found["it"]["us"] == {"median": 100.0, "min": 100.0, "max": 200.0}
    assert found["it: network"]["share"] == 0.6
    assert found["it: rest"]["us"] == {"median": 30.0, "min": 0.0, "max": 60.0}
    assert found["it: rest"]["share"] == 0.3


@pytest.mark.model
def test_the_paths_of_ours_are_taken_apart_and_a_peer_can_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ImportError("no such peer")

    monkeypatch.setattr(parts, "SECONDS", 0.5)
    monkeypatch.setattr(parts, "TOKENS", (32, 8, 48))
    monkeypatch.setattr(systems, "plugin", absent)
    result = measured(parts, tmp_path, rounds=1)
    found = result["systems"]
    assert "no such peer" in found[systems.PEER]["missing"]
    for name in ("nearvoice numba VAD", "nearvoice BVC numba", "nearvoice turn detector"):
        assert found[name]["us"]["median"] > 0
        assert found[f"{name}: network"]["us"]["median"] > 0
    assert "nearvoice numba VAD: policy" in parts.report(result)
    labels = [row.system for row in rows(PARTS, {"parts": result})]
    assert {one.label for one in labels if one.ours} >= {"nearvoice numba VAD"}
    assert not any(one.ours for one in labels if ": " in one.label)


# ---- multiplications --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "expected"),
    [
        ("MatMul", [[1, 3, 5], [5, 7]], [[1, 3, 7]], 3 * 5 * 7),
        ("Gemm", [[2, 5], [5, 7], [7]], [[2, 7]], 2 * 5 * 7),
        ("Conv", [[1, 4, 10], [8, 4, 3], [8]], [[1, 8, 10]], 8 * 10 * 4 * 3),
        ("Conv", [[1, 4, 10], [4, 1, 3]], [[1, 4, 10]], 4 * 10 * 3),
        ("ConvTranspose", [[1, 4, 10], [4, 2, 3]], [[1, 2, 21]], 4 * 10 * 2 * 3),
        ("GRU", [[6, 1, 8]], [[6, 2, 1, 16]], 6 * 2 * 3 * 16 * (8 + 16)),
        ("LSTM", [[1, 1, 128]], [[1, 1, 1, 128], [1, 1, 128]], 4 * 128 * 256),
        ("Einsum", [[1, 1, 16, 32], [16, 32, 8]], [[1, 1, 16, 8]], 16 * 32 * 8),
        ("Relu", [[3]], [[3]], 0),
    ],
)
def test_multiplications_are_those_of_the_shapes(
    op: str, inputs: list[list[int]], outputs: list[list[int]], expected: int
) -> None:
    assert macs.of_node(op, inputs, outputs) == expected


@pytest.mark.model
def test_a_window_of_silero_takes_as_many_as_were_counted_by_hand() -> None:
    # stft 264 k, convolutions 198, 49, 12 and 25 k, lstm 131 k: ../docs/performance.md
    feeds = {"input": np.zeros((1, 576), np.float32), "sr": np.array(16_000)}
    assert macs.count(files.path("silero_vad.onnx"), feeds) == pytest.approx(680_000, rel=0.01)


# ---- floors -----------------------------------------------------------------------------------


def test_the_floor_is_the_longer_of_arithmetic_and_memory() -> None:
    core = {"gflops": 100.0, "gb_s": {"1000000": 100.0, str(floors.FAR): 20.0}}
    known = {"macs": 1_000_000, "bytes": 1_000_000, "every": 0.01, "of": "a hop"}
    row = floors.row(known, {"hot": [40.0, 30.0, 50.0], "cold": [100.0]}, core)
    assert row["arithmetic_us"] == 20.0
    assert row["hot"] == {
        "us": {"median": 40.0, "min": 30.0, "max": 50.0}, "floor_us": 20.0, "times_floor": 2.0
    }  # fmt: skip
    assert row["cold"]["floor_us"] == 50.0  # the weights from memory
    assert row["real_time"] == 250
    unknown = floors.row(known | {"bytes": 0}, {"hot": [40.0], "cold": [100.0]}, core)
    assert unknown["cold"]["floor_us"] == 20.0


def test_the_processor_is_measured_in_another_process() -> None:
    found = floors.machine([1 << 16])
    assert found["gflops"] > 1
    assert found["gb_s"].keys() == {str(1 << 16), str(floors.FAR)}
    assert min(found["gb_s"].values()) > 0.5


@pytest.mark.model
def test_every_network_has_a_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "CALLS", {"hot": 3, "cold": 1})
    result = json.loads(json.dumps(measured(floors, tmp_path, rounds=1)))
    for name, row in result["systems"].items():
        assert row["hot"]["floor_us"] > 0, name
        assert row["mmacs"] > 0.3, name
    assert result["systems"]["Hush (BVC), compiled"]["weights_kb"] > 2_000
    assert len(rows(FLOORS, {"floors": result})) == len(floors.every())
    assert len(floors.report(result).splitlines()) == 1 + len(floors.every())
