import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cures, drift, recovery, sounds
from benchmarks.data import FRAME_SECONDS, HOP, Clip
from nearvoice import SileroVAD
from nearvoice.audio import resample, to_float32
from tests.clips import data_folder
from tests.measuring import measured
from tests.offline import sample


def call() -> Clip:
    """Return 20 s of the sample call, labelled."""
    recording = sample.load()
    middles = (np.arange(2000) + 0.5) * FRAME_SECONDS
    labels = np.any([(t.start <= middles) & (middles < t.end) for t in recording.turns], axis=0)
    heard = to_float32(resample(recording.samples, recording.rate, 16_000))
    return Clip("call", heard[: 2000 * HOP], labels)


@pytest.mark.model
def test_the_benchmark_finds_that_the_guard_hears_more_after_noise() -> None:
    model = SileroVAD(8_000)
    speech = {"clean": recovery.speech_of([call()], 8_000)}
    prelude = recovery.cut(sounds.stationary_noise(31.0, 0, db=-30.0), 8_000)
    heard = {}
    for name, cure in cures.RULES.items():
        table = recovery.Table(model, cure)
        table.without(speech)
        table.after("noise", prelude, (30,), speech)
        heard[name] = table
    off, ours = heard[cures.OFF], heard[cures.OURS]
    assert ours.rows["noise, 30 s, clean"]["recall"] > off.rows["noise, 30 s, clean"]["recall"]
    assert ours.false["noise"] == {"starts_per_hour": 0.0, "speech": 0.0}
    lost = recovery.worst(ours.rows, off.rows)["recall_lost_worst"]
    assert lost[0] < recovery.worst(off.rows, off.rows)["recall_lost_worst"][0]


@pytest.mark.model
def test_the_table_has_every_rule_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hiss = {"stationary noise", "hold music", "menu beeps", "crowded room"}
    monkeypatch.setattr(drift, "preludes", lambda: dict.fromkeys(hiss, sounds.stationary_noise))
    monkeypatch.setattr(drift, "LENGTHS", (60,))
    monkeypatch.setattr(drift, "RATES", (8_000,))
    few = {name: cures.RULES[name] for name in (cures.OFF, cures.OURS)}
    monkeypatch.setattr(drift, "RULES", few)
    monkeypatch.setattr(drift, "CHOICES", {cures.OFF: few[cures.OFF]})
    result = json.loads(
        json.dumps(measured(drift, tmp_path / "kept", folder=data_folder(tmp_path)))
    )
    assert result["kernel"] in ("numba", "numpy")
    assert result["systems"].keys() == few.keys()
    assert result["systems"][cures.OURS].keys() == {"8000"}
    text = drift.report(result)
    assert f"| {cures.OURS} | 8000 |" in text
    assert "| hold music, 60 s, clean |" in text
