from pathlib import Path

import pytest

from benchmarks import speed, systems
from tests.measuring import measured


def test_what_pacing_costs_without_a_vad_is_subtracted_round_by_round() -> None:
    costs = {speed.NOTHING: [1.0, 2.0], systems.PEER: [11.0, 22.0], "ours": [2.0, 4.0]}
    rows = speed.rows(costs, {systems.PEER: [4e-4, 4e-4], "ours": [1e-4, 2e-4]})
    assert rows[speed.NOTHING] == {"cpu_ms_per_audio_s": {"median": 1.5, "min": 1.0, "max": 2.0}}
    assert rows["ours"]["cpu_ms_per_audio_s"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert rows["ours"]["ratio_to_plugin"] == {"median": 0.1, "min": 0.1, "max": 0.1}
    assert rows["ours"]["inference_us"]["max"] == 200.0
    assert rows["ours"]["inference_ratio_to_plugin"]["max"] == 0.5


def test_saturated_nothing_is_subtracted() -> None:
    rows = speed.rows({"ours": [2.0]}, {"ours": [1e-4]})
    assert rows.keys() == {"ours"}
    assert rows["ours"]["cpu_ms_per_audio_s"]["median"] == 2.0


@pytest.mark.model
@pytest.mark.parametrize("condition", [speed.ROOM, speed.Condition(48_000, 10, 2)], ids=str)
def test_every_vad_has_its_turn_in_the_cost_of_a_stream(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, condition: speed.Condition
) -> None:
    monkeypatch.setattr(speed, "CONDITIONS", (condition,))
    monkeypatch.setattr(speed, "SECONDS", 1.0)
    monkeypatch.setattr(speed, "LIVE_SECONDS", 1.0)
    found = measured(speed, tmp_path, rounds=1)["systems"]
    rows = {f"{name}, {condition}" for name in systems.VADS}
    assert rows <= found.keys()
    assert (f"{speed.NOTHING}, {condition}" in found) == (condition.streams > 0)
    assert all(found[name]["inference_us"]["median"] > 0 for name in rows)
    assert found[f"{systems.PEER}, {condition}"]["ratio_to_plugin"]["max"] == 1.0
