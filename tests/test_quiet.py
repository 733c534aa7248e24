import numpy as np
import pytest

from benchmarks import data, quiet, quiet_sets, sounds, thresholds
from benchmarks.data import HOP, RATE
from tests.clips import bursts, steady
from tests.measuring import measured


@pytest.mark.model
def test_the_table_has_every_system_on_every_set(monkeypatch, tmp_path):
    few = (("call -20 dB", [bursts("a")]), ("call -30 dB", [bursts("b"), bursts("c")]))
    monkeypatch.setattr(quiet, "sets", lambda folder: iter(few))
    monkeypatch.setattr(data, "ten", lambda folder: [bursts("d")])
    monkeypatch.setattr(sounds, "noises", lambda: {"hiss": steady(3.0)})
    monkeypatch.setattr(quiet, "MINUTES", 0.05)
    result = measured(quiet, tmp_path / "kept", folder=tmp_path)
    assert result["systems"].keys() == thresholds.RULES.keys()
    assert result["sets"].keys() == dict(few).keys()
    for figures in result["systems"].values():
        assert figures["speech"].keys() == {*dict(few), "quiet, mean of calls"}
        assert len(figures["noise"]) == 2 * (len(quiet_sets.LEVELS) + 1) + 2
    assert "auto" in quiet.report(result)


def test_a_decision_with_a_fixed_threshold_is_that_of_the_policy():
    said = np.array([0.1] * 10 + [0.9] * 40 + [0.1] * 40)
    (speech,) = thresholds.decide(thresholds.RULES["fixed 0.5"], said)
    assert speech.start == pytest.approx(12 * 0.032)
    assert 50 * 0.032 + 0.55 < speech.end < 50 * 0.032 + 0.65


def test_a_call_keeps_its_clips_and_their_labels():
    one = quiet_sets.call([bursts("a"), bursts("b")], seed=0)
    assert len(one.samples) == len(one.labels) * HOP
    assert one.labels.sum() == 600
    assert 2 * quiet_sets.PAUSES[0] <= len(one.samples) / RATE - 12 <= 2 * quiet_sets.PAUSES[1]
