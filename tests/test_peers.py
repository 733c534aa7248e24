import numpy as np
import pytest

from benchmarks import data, hearing, peers, sounds, systems
from benchmarks.data import RATE
from nearvoice import files
from nearvoice.speech import SpeechOptions
from tests.clips import steady, talk


def test_the_energy_gate_opens_for_what_is_louder_than_what_went_before():
    probabilities = peers.energy_gate(talk("0110", seconds=0.64).samples)
    assert (probabilities >= 0.5).tolist() == [False] * 20 + [True] * 40 + [False] * 20


def test_the_energy_gate_stays_shut_in_silence_and_in_steady_noise():
    assert peers.energy_gate(sounds.digital_silence(1.0)).max() < 0.5
    assert peers.energy_gate(steady(4.0)).max() < 0.5


@pytest.mark.parametrize("name", sorted(systems.REMEDIES))
def test_a_remedy_is_for_a_system_there_is(name):
    assert name in peers.SYSTEMS


@pytest.mark.model
def test_our_network_and_a_stream_of_livekits_own_vad_say_the_same():
    sound = talk("0110").samples
    ours, native = (peers.SYSTEMS[name]() for name in ("nearvoice numpy", "livekit inference.VAD"))
    heard = native.probabilities(sound)
    assert ours.window_seconds == native.window_seconds
    assert np.abs(ours.probabilities(sound) - heard).max() < 1e-3


@pytest.mark.model
def test_the_decisions_of_a_stream_are_those_of_the_detector_at_the_same_times():
    native = peers.SYSTEMS["livekit inference.VAD"]()
    sound = data.decode(files.path("sample.wav"))[: 20 * RATE]
    options = SpeechOptions(smoothing=0.0)
    decided = hearing.detect(native.probabilities(sound), native.window_seconds, options)
    assert len(decided) > 0
    assert native.decisions(sound) == decided
