import json
import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy, data, peers
from benchmarks.data import AMBIENCES, HOP, RATE, Clip, Segment
from nearvoice import files
from nearvoice.audio import to_float32, to_int16


def tone(seconds, frequency=300.0, level=0.3):
    time = np.arange(int(seconds * RATE)) / RATE
    return to_float32(to_int16((level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)))


def talk(pattern="0110", seconds=0.5):
    """A clip of tones where the pattern says 1, and of next to nothing elsewhere."""
    parts = [tone(seconds, level=0.3 if one == "1" else 0.001) for one in pattern]
    labels = np.repeat([one == "1" for one in pattern], int(seconds * 100))
    return Clip("talk", np.concatenate(parts), labels)


def write_wav(path: Path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(to_int16(samples).tobytes())


@pytest.fixture
def folder(tmp_path):
    """A data folder with two clips of the one set and one of the other."""
    for i, pattern in enumerate(("0110", "1001"), start=1):
        path = tmp_path / f"data/ten/testset-audio-0{i}.wav"
        write_wav(path, talk(pattern).samples)
        cells = [f"{j / 2:.3f},{(j + 1) / 2:.3f},{one}" for j, one in enumerate(pattern)]
        path.with_suffix(".scv").write_text(",".join((path.stem, *cells)))
    write_wav(tmp_path / "data/pyannote/trñ00.wav", talk("0110").samples)
    rttm = "SPEAKER trn00 1 {} {} <NA> <NA> {} <NA> <NA>\n"
    (tmp_path / "data/pyannote/debug.train.rttm").write_text(
        rttm.format("0.500", "0.700", "MÉO069") + rttm.format("1.000", "0.500", "MEE068"), "utf-8"
    )
    return tmp_path / "data"


# ---- labelled sets


def test_a_clip_is_read_with_its_labels(folder):
    first, second = data.ten(folder)
    assert first.name == "testset-audio-01"
    assert np.array_equal(first.samples, talk("0110").samples)
    assert np.array_equal(first.labels, talk("0110").labels)
    assert np.array_equal(second.labels, talk("1001").labels)


def test_speech_is_where_any_speaker_speaks_however_the_clip_is_spelt(folder):
    (clip,) = data.ami(folder)
    assert clip.name == "trn00"
    assert np.array_equal(clip.labels, talk("0110").labels)
    assert [c.name for c in data.ami(folder, split="train")] == ["trn00"]


def test_a_split_that_is_not_there_says_where_to_get_it(folder):
    with pytest.raises(data.MissingDataError, match=r"no debug\.test\.rttm.*pyannote-audio"):
        data.ami(folder, split="test")


def test_turns_without_their_sound_say_which(folder):
    for path in (folder / "pyannote").glob("*.wav"):
        path.rename(path.with_name("trn07.wav"))
    with pytest.raises(data.MissingDataError, match="no sound for trn00"):
        data.ami(folder)


def test_a_missing_set_says_where_to_get_it_and_how_to_lay_it_out(tmp_path):
    with pytest.raises(data.MissingDataError, match=r"TEN-framework/ten-vad.*into ten/") as raised:
        data.ten(tmp_path)
    assert isinstance(raised.value, FileNotFoundError)
    with pytest.raises(data.MissingDataError, match=r"pyannote-audio.*into pyannote/"):
        data.ami(tmp_path)


def test_the_data_folder_comes_from_the_argument_or_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv(data.VARIABLE, raising=False)
    with pytest.raises(data.MissingDataError, match="set NEARVOICE_DATA"):
        data.data_folder()
    monkeypatch.setenv(data.VARIABLE, str(tmp_path / "no"))
    with pytest.raises(data.MissingDataError, match="there is no data folder"):
        data.data_folder()
    assert data.data_folder(tmp_path) == tmp_path


def test_the_digest_of_a_set_changes_with_its_bytes_and_not_with_its_place(folder):
    before = data.digest(data.dataset_files(folder, "ten"))
    moved = folder.rename(folder.with_name("moved"))
    assert data.digest(data.dataset_files(moved, "ten")) == before
    with (moved / "ten/testset-audio-01.scv").open("a") as file:
        file.write("\n")
    assert data.digest(data.dataset_files(moved, "ten")) != before


def test_the_noises_of_livekit_agents_are_decoded_to_16_khz():
    noises = data.noises()
    assert noises.keys() >= set(AMBIENCES)
    assert all(noise.dtype == np.float32 and len(noise) > RATE for noise in noises.values())
    assert len(noises["city-ambience"]) == 30 * RATE


# ---- making it hard


def steady(seconds=1.3, seed=7):
    return data.stationary_noise(seconds, seed)


@pytest.mark.parametrize("snr", [20, 5, 0])
def test_a_mix_has_the_ratio_over_labelled_speech(snr):
    clip = talk()
    mixed = data.mix(clip, steady(), snr, seed=1)
    speech = clip.samples[np.repeat(clip.labels, HOP)]
    noise = mixed.samples - clip.samples
    assert data.level(speech) - data.level(noise) == pytest.approx(snr, abs=0.05)
    assert np.array_equal(mixed.labels, clip.labels)


def test_a_seed_gives_the_same_mix_and_another_seed_another():
    first, again, other = (data.mix(talk(), steady(), 5, seed).samples for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_mix_needs_speech_and_noise():
    silent = Clip("silent", talk().samples, np.zeros(200, bool))
    for clip, noise in ((silent, steady()), (talk(), data.digital_silence(1.0))):
        with pytest.raises(ValueError, match="no speech, or no noise"):
            data.mix(clip, noise, 5, seed=1)


def test_a_quieter_clip_is_as_much_quieter_and_still_of_16_bits():
    quiet = data.attenuate(talk(), 20).samples
    assert data.level(quiet) == pytest.approx(data.level(talk().samples) - 20, abs=0.1)
    assert np.array_equal(to_float32(to_int16(quiet)), quiet)


def test_a_room_decays_as_asked_and_is_as_reverberant_as_asked():
    response = data.room(rt60=0.5, direct_db=-3.0, seed=1).astype(np.float64)
    assert response[0] == 1
    assert not response[1 : RATE // 400].any()
    assert 10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(3.0)
    early, late = (np.sum(response[int(t * RATE) :][:800] ** 2) for t in (0.05, 0.3))
    assert 10 * np.log10(early / late) == pytest.approx(60 * 0.25 / 0.5, abs=1.5)
    assert np.array_equal(data.room(0.5, -3.0, 1), data.room(0.5, -3.0, 1))


def test_a_clip_in_a_room_is_as_long_and_as_loud_and_no_sound_comes_early():
    clip = talk()
    wet = data.reverberate(clip, data.room(0.4, 0.0, seed=2))
    assert len(wet.samples) == len(clip.samples)
    assert data.level(wet.samples) == pytest.approx(data.level(clip.samples), abs=0.01)
    assert data.level(wet.samples[: RATE // 2]) < -55 < data.level(wet.samples[-RATE // 2 :])


def test_a_clip_in_a_room_without_reverberation_is_the_clip():
    dry = data.reverberate(talk(), np.ones(1, np.float32))
    assert np.abs(dry.samples - talk().samples).max() < 1e-4


@pytest.mark.parametrize("name", data.PRELUDES)
def test_a_prelude_lasts_as_asked_and_comes_again_with_its_seed(name):
    prelude = data.PRELUDES[name]
    assert len(prelude(2.5, 3)) == 2.5 * RATE
    assert prelude(2.5, 3).dtype == np.float32
    assert np.array_equal(prelude(2.5, 3), prelude(2.5, 3))
    assert prelude(2.5, 3).any() == (name != "digital silence")


def test_a_phone_rings_two_seconds_and_is_silent_for_four():
    loud = [data.level(second) > -25 for second in data.ringing(12.0).reshape(-1, RATE)]
    assert loud == [True, True, False, False, False, False] * 2
    spectrum = np.abs(np.fft.rfft(data.ringing(1.0)))
    assert sorted(np.argsort(spectrum)[-2:].tolist()) == [440, 480]


def test_recorded_preludes_and_babble_have_the_level_asked_for():
    music, crowd = data.looped(tone(0.7), db=-30.0), data.babble([tone(0.9), tone(1.1)], db=-40.0)
    assert data.level(music(3.0, 1)) == pytest.approx(-30, abs=0.1)
    assert data.level(crowd(3.0, 1)) == pytest.approx(-40, abs=0.1)
    assert np.array_equal(crowd(3.0, 1), crowd(3.0, 1))


def test_what_is_heard_before_a_clip_is_labelled_as_no_speech():
    clip = data.before(data.room_tone(1.0, 1), talk())
    assert len(clip.samples) == 3 * RATE
    assert not clip.labels[:100].any()
    assert np.array_equal(clip.labels[100:], talk().labels)
    with pytest.raises(ValueError, match="multiple of 160"):
        data.before(np.zeros(100, np.float32), talk())


# ---- systems


def test_decisions_fall_at_the_end_of_the_window_that_makes_them():
    probabilities = np.array([0.0] * 5 + [1.0] * 10 + [0.0] * 30, np.float32)
    options = peers.SpeechOptions(smoothing=0.0)
    (decided,) = peers.detect(probabilities, 0.032, options)
    assert decided == (pytest.approx(7 * 0.032), pytest.approx((15 + 18) * 0.032))


def test_speech_without_an_end_ends_at_infinity():
    (decided,) = peers.detect(np.ones(10, np.float32), 0.032, peers.SpeechOptions())
    assert decided.end == np.inf


def test_the_energy_gate_opens_for_what_is_louder_than_what_went_before():
    probabilities = peers.energy_gate(talk("0110", seconds=0.64).samples)
    assert (probabilities >= 0.5).tolist() == [False] * 20 + [True] * 40 + [False] * 20


def test_the_energy_gate_stays_shut_in_silence_and_in_steady_noise():
    assert peers.energy_gate(data.digital_silence(1.0)).max() < 0.5
    assert peers.energy_gate(steady(4.0)).max() < 0.5


@pytest.mark.parametrize("name", sorted(peers.REMEDIES))
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
    options = peers.SpeechOptions(smoothing=0.0)
    decided = peers.detect(native.probabilities(sound), native.window_seconds, options)
    assert len(decided) > 0
    assert native.decisions(sound) == decided


# ---- the task


def loudness(label, asked=None):
    """A system that knows loud from quiet, and counts what it is asked."""

    def probabilities(samples):
        if asked is not None:
            asked.append(len(samples))
        windows = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
        return (np.abs(windows).max(axis=1) * 2).astype(np.float32)

    def decisions(samples):
        return peers.detect(probabilities(samples), 0.01, peers.SpeechOptions())

    return peers.System(label, 0.01, probabilities, decisions)


def absent():
    raise ModuleNotFoundError("No module named 'peer'")


@pytest.fixture
def systems(monkeypatch):
    found = {"loudness": lambda: loudness("1"), "peer": absent}
    monkeypatch.setattr(peers, "SYSTEMS", found)
    for cache in (accuracy.load, accuracy.labelled):
        cache.cache_clear()
    yield found
    for cache in (accuracy.load, accuracy.labelled):
        cache.cache_clear()


def test_a_system_that_is_always_right_has_perfect_figures(folder, tmp_path, systems, capsys):
    result = accuracy.accuracy(folder, tmp_path / "out")
    row = result["systems"]["loudness"]
    assert row["ten"] == {
        **dict.fromkeys(("auc", "ap", "f1", "precision", "recall", "best_f1"), 1.0),
        "fpr": 0.0,
        "best_threshold": row["ten"]["best_threshold"],
    }
    assert row["ami"]["auc"] == 1.0
    assert row["ten 0 dB"]["auc"] < row["ten 20 dB"]["auc"]
    assert row["ten 0 dB by noise"].keys() == set(AMBIENCES)
    events = row["ten events"]
    assert (events["segments"], events["missed"], events["false"]) == (3, 0, 0)
    assert 40 <= events["start_ms_median"] <= 70
    assert 540 <= events["end_ms_median"] <= 600
    assert "predicting" in capsys.readouterr().err


def test_figures_at_a_ratio_are_the_mean_over_the_noises(folder, tmp_path, systems):
    row = accuracy.accuracy(folder, tmp_path / "out")["systems"]["loudness"]
    by_noise = [figures["auc"] for figures in row["ten 0 dB by noise"].values()]
    assert row["ten 0 dB"]["auc"] == pytest.approx(np.mean(by_noise), abs=1e-4)


def test_a_result_is_json_and_says_which_data_it_was_made_of(folder, tmp_path, systems):
    result = json.loads(json.dumps(accuracy.accuracy(folder, tmp_path / "out")))
    assert result["task"] == "vad"
    assert result["datasets"]["ten"]["clips"] == 2
    assert result["datasets"]["ten"]["speech"] == 0.5
    assert len(result["datasets"]["noises"]["sha256"]) == 64


def test_a_missing_package_is_a_row_that_says_so_and_what_to_do(
    folder, tmp_path, systems, monkeypatch
):
    monkeypatch.setattr(peers, "REMEDIES", {"peer": "pip install peer"})
    result = accuracy.accuracy(folder, tmp_path / "out")
    missing = "ModuleNotFoundError: No module named 'peer'; pip install peer"
    assert result["systems"]["peer"] == {"missing": missing}
    assert missing in accuracy.report(result)


def test_without_the_second_set_its_figures_are_left_out_and_the_result_says_why(
    folder, tmp_path, systems
):
    (folder / "pyannote").rename(tmp_path / "elsewhere")
    result = accuracy.accuracy(folder, tmp_path / "out")
    assert "ami" not in result["systems"]["loudness"]
    assert "pyannote-audio" in result["datasets"]["ami"]["missing"]
    assert "loudness" in accuracy.report(result)


def test_without_the_first_set_nothing_is_measured(tmp_path, systems):
    with pytest.raises(data.MissingDataError, match="TEN-framework"):
        accuracy.accuracy(tmp_path, tmp_path / "out")


def test_a_second_run_asks_no_system_again_and_a_new_version_is_asked(folder, tmp_path, systems):
    asked: list[int] = []
    systems["loudness"] = lambda: loudness("1", asked)
    first = accuracy.accuracy(folder, tmp_path / "out")
    once = len(asked)
    assert once == 2 * 26 + 1
    assert accuracy.accuracy(folder, tmp_path / "out") == first
    assert len(asked) == once
    accuracy.load.cache_clear()
    systems["loudness"] = lambda: loudness("2", asked)
    accuracy.accuracy(folder, tmp_path / "out")
    assert len(asked) == 2 * once


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(folder, tmp_path, systems):
    asked: list[int] = []
    systems["loudness"] = lambda: loudness("1", asked)
    accuracy.accuracy(folder, tmp_path / "out")
    (lost,) = (tmp_path / "out").rglob("ten hold_music 5 dB.npz")
    lost.unlink()
    del asked[:]
    accuracy.accuracy(folder, tmp_path / "out")
    assert len(asked) == 2


def test_the_report_has_a_line_for_each_system_and_each_table(folder, tmp_path, systems):
    lines = accuracy.report(accuracy.accuracy(folder, tmp_path / "out")).splitlines()
    assert sum(line.startswith("loudness") for line in lines) == 2
    assert "AUC" in lines[0].split()
    assert next(line for line in lines if line.startswith("loudness")).split()[1] == "1"


def test_sets_are_named_apart():
    names = [recipe.name for recipe in accuracy.RECIPES]
    assert len(set(names)) == len(names) == 3 + len(AMBIENCES) * len(accuracy.SNRS)


def test_the_events_set_ends_with_silence_so_that_the_last_end_can_come(folder, systems):
    clips = accuracy.make(accuracy.EVENTS, folder)
    assert len(clips[0].samples) == len(talk().samples) + accuracy.SILENCE * RATE
    assert not clips[0].samples[-1000:].any()


def test_segments_survive_being_kept(folder, tmp_path, systems):
    path = tmp_path / "kept.npz"
    accuracy.run(accuracy.Task(folder, accuracy.EVENTS, {"loudness": path}))
    with np.load(path) as said:
        decided = [Segment(*pair) for pair in said["testset-audio-01"].tolist()]
    sound = accuracy.make(accuracy.EVENTS, folder)[0].samples
    assert decided == systems["loudness"]().decisions(sound)
