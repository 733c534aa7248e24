import numpy as np
import pytest

from benchmarks import cures, recovery, sounds
from benchmarks.data import FRAME_SECONDS, HOP, Clip
from nearvoice import SileroVAD
from nearvoice.audio import resample, to_float32
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
