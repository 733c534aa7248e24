import math
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import speed, systems, worker
from benchmarks.worker import Memory, Worker
from nearvoice import files

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
    assert worker.parse(ROLLUP) == Memory(unique=19.0, proportional=60.0, resident=313.0)


def test_what_is_no_rollup_is_refused_with_the_field_that_it_lacks() -> None:
    with pytest.raises(ValueError, match="no Private_Dirty among the fields of smaps_rollup"):
        worker.parse(ROLLUP.replace("Private_Dirty", "Private_Mud"))


def test_this_process_has_memory_of_each_kind() -> None:
    memory = worker.parse(Path("/proc/self/smaps_rollup").read_text())
    assert 0 < memory.unique <= memory.proportional <= memory.resident


def test_descendants_are_found_whatever_the_order_of_the_processes() -> None:
    parents = {2: 1, 7: 2, 5: 7, 6: 7, 9: 1, 3: 6}
    assert worker.descendants(2, parents) == [2, 7, 5, 6, 3]


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
    names = {worker.NONE, systems.PEER, systems.NATIVE, systems.OURS, "nearvoice auto"}
    assert names <= worker.SYSTEMS.keys()


@pytest.mark.model
def test_a_job_with_a_vad_has_more_memory_of_its_own_than_one_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in worker.SYSTEMS.keys() - {worker.NONE, systems.PEER}:
        monkeypatch.delitem(worker.SYSTEMS, name)
    result = worker.memory(files.path("sample.wav"), rounds=1, jobs=2, seconds=2.0)
    found = result["systems"]
    heard = found[f"{systems.PEER}, after a call"]
    assert heard["above_no_vad_mib"]["median"] > 1.0
    assert heard["unique_mib"]["median"] < heard["proportional_mib"]["median"]
    assert heard["proportional_mib"]["median"] < heard["resident_mib"]["median"]
    assert found[f"{systems.PEER}, whole worker"]["proportional_mib"]["median"] > 0


@pytest.mark.model
def test_a_worker_that_cannot_start_is_reported_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "SYSTEMS", {worker.NONE: ("import no_such_vad", "None")})
    with pytest.raises(RuntimeError, match=r"did not get to 'before'(?s:.*)named 'no_such_vad'"):
        worker.memory(files.path("sample.wav"), rounds=1, jobs=1, seconds=1.0)


# ---- speed ------------------------------------------------------------------------------------

OFFICIAL = {systems.PEER: [10.0, 20.0], systems.NATIVE: [4.0, 5.0]}


def test_a_ratio_is_of_the_costs_in_the_same_round() -> None:
    found = speed.ratios({**OFFICIAL, "ours": [1.0, 4.0]}, "ours")
    assert found["ratio_to_plugin"] == {"median": 0.15, "min": 0.1, "max": 0.2}
    assert found["ratio_to_native"] == {"median": 0.525, "min": 0.25, "max": 0.8}


def test_there_is_no_ratio_to_an_official_vad_that_is_not_there() -> None:
    found = speed.ratios({systems.NATIVE: [4.0], "ours": [1.0]}, "ours", "inference_")
    assert found.keys() == {"inference_ratio_to_native"}


def test_what_is_not_installed_is_a_row_that_says_so() -> None:
    def a_package() -> object:
        raise ModuleNotFoundError("No module named 'some_vad'")

    def a_library() -> object:
        raise OSError("libc++.so.1: cannot open shared object file")

    loaded, missing = speed.load({"a": a_package, "b": a_library, "c": lambda: "a vad"})
    assert loaded == {"c": "a vad"}
    assert missing["a"] == {"missing": "No module named 'some_vad'"}
    assert missing["b"]["missing"].startswith("libc++.so.1")


def test_what_pacing_costs_without_a_vad_is_subtracted_round_by_round() -> None:
    costs = {speed.NOTHING: [1.0, 2.0], systems.PEER: [11.0, 22.0], "ours": [2.0, 4.0]}
    rows = speed.cpu_rows(costs, {systems.PEER: [4e-4, 4e-4], "ours": [1e-4, 2e-4]})
    assert rows[speed.NOTHING] == {"cpu_ms_per_audio_s": {"median": 1.5, "min": 1.0, "max": 2.0}}
    assert rows["ours"]["cpu_ms_per_audio_s"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert rows["ours"]["ratio_to_plugin"] == {"median": 0.1, "min": 0.1, "max": 0.1}
    assert rows["ours"]["inference_us"]["max"] == 200.0
    assert rows["ours"]["inference_ratio_to_plugin"]["max"] == 0.5


def test_saturated_nothing_is_subtracted() -> None:
    rows = speed.cpu_rows({"ours": [2.0]}, {"ours": [1e-4]})
    assert rows.keys() == {"ours"}
    assert rows["ours"]["cpu_ms_per_audio_s"]["median"] == 2.0


def test_every_network_hears_a_second_of_sound_in_windows_of_its_own_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: dict[int, int] = {}

    def network(samples: int) -> speed.Network:
        def call(window: np.ndarray) -> None:
            assert window.dtype == np.float32
            heard[samples] = heard.get(samples, 0) + len(window)

        return speed.Network(samples, lambda pcm: pcm.astype(np.float32), call)

    sizes = {systems.PEER: 512, "short": 256}
    loaders = {name: (lambda size=size: network(size)) for name, size in sizes.items()}
    monkeypatch.setattr(speed, "NETWORKS", loaders)
    monkeypatch.setattr(speed, "MODES", {"hot": (lambda: None, 10)})
    monkeypatch.setattr(speed, "recording", lambda *_: np.zeros(3_000, np.int16))
    rows = speed.window(Path("silence"), rounds=2)["systems"]
    assert heard == {512: 3 * 10 * 512, 256: 3 * 10 * 256}  # a round warms up
    assert rows["short, hot"]["window_ms"] == 16.0
    assert rows[f"{systems.PEER}, hot"]["ratio_to_plugin"]["median"] == 1.0


def test_the_ratio_of_a_shorter_window_is_that_of_the_same_sound() -> None:
    networks = {
        systems.PEER: speed.Network(512, np.copy, np.copy),
        "ten": speed.Network(256, np.copy, np.copy),
    }
    rows = speed.window_rows(networks, {systems.PEER: [100.0], "ten": [50.0]})
    assert rows["ten"]["us_per_window"]["median"] == 50.0
    assert rows["ten"]["ratio_to_plugin"]["median"] == 1.0


def test_what_happens_before_a_call_is_not_timed() -> None:
    took = speed.block(lambda _: None, range(5), lambda: time.sleep(0.01))
    assert 0 < took < 5_000


@pytest.mark.model
@pytest.mark.parametrize("name", [systems.PEER, systems.NATIVE, systems.OURS, "energy gate"])
def test_a_network_is_called_with_what_it_takes(name: str) -> None:
    network = speed.NETWORKS[name]()
    answer = network.call(network.prepare(np.zeros(network.samples, np.int16)))
    assert answer is None or math.isfinite(float(answer))  # type: ignore[arg-type]


@pytest.mark.model
@pytest.mark.parametrize("condition", [speed.ROOM, speed.Condition(48_000, 10, 2)], ids=str)
def test_every_vad_has_its_turn_in_the_cost_of_a_stream(
    monkeypatch: pytest.MonkeyPatch, condition: speed.Condition
) -> None:
    monkeypatch.setattr(speed, "CONDITIONS", (condition,))
    result = speed.cpu(files.path("sample.wav"), rounds=1, seconds=1.0, live=1.0)
    found = result["systems"]
    rows = {f"{name}, {condition}" for name in systems.VADS}
    assert rows <= found.keys()
    assert (f"{speed.NOTHING}, {condition}" in found) == (condition.streams > 0)
    assert all(found[name]["inference_us"]["median"] > 0 for name in rows)
    assert found[f"{systems.PEER}, {condition}"]["ratio_to_plugin"]["max"] == 1.0
