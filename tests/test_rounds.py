import re
from pathlib import Path

import pytest

from benchmarks import rounds, systems
from benchmarks.store import Store

OFFICIAL = {systems.PEER: [10.0, 20.0], systems.NATIVE: [4.0, 5.0]}


def test_a_ratio_is_of_the_costs_in_the_same_round() -> None:
    found = rounds.ratios({**OFFICIAL, "ours": [1.0, 4.0]}, "ours")
    assert found["ratio_to_plugin"] == {"median": 0.15, "min": 0.1, "max": 0.2}
    assert found["ratio_to_native"] == {"median": 0.525, "min": 0.25, "max": 0.8}


def test_there_is_no_ratio_to_an_official_vad_that_is_not_there() -> None:
    found = rounds.ratios({systems.NATIVE: [4.0], "ours": [1.0]}, "ours", "inference_")
    assert found.keys() == {"inference_ratio_to_native"}


def test_every_system_has_its_turn_in_every_round(capsys: pytest.CaptureFixture[str]) -> None:
    turns = list(rounds.turns(2, ["a", "b"], "race"))
    assert turns == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert re.search(r"race .* 4/4", capsys.readouterr().err)


def test_a_round_that_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), []

    def ask(name: str) -> int:
        asked.append(name)
        return len(asked)

    rounds.measure(store, "race", ["a", "b"], 2, ask, warm_up=True)
    assert asked == ["a", "b"] * 3
    rounds.measure(store, "race", ["a", "b"], 3, ask)
    assert asked == ["a", "b"] * 4
    rounds.measure(store, "race", ["a", "b"], 3, ask, warm_up=True)
    assert asked == ["a", "b"] * 4
    assert rounds.measured(store, "race", ["a", "b"], 3) == {"a": [3, 5, 7], "b": [4, 6, 8]}
