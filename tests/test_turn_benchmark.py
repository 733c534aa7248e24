"""The benchmarks of turn detectors, with a small network in the place of the large one."""

from __future__ import annotations

import asyncio
import json
import lzma
import random
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import (
    rounds,
    turn_accuracy,
    turn_bootstrap,
    turn_figures,
    turn_job,
    turn_pairs,
    turn_predict,
    turn_rule,
    turn_scores,
    turn_shape,
    turn_speed,
    turn_startup,
    turn_systems,
    turn_talk,
    turn_words,
    turn_worker,
)
from benchmarks.data import MissingDataError
from benchmarks.proc import Memory
from benchmarks.store import Store
from benchmarks.tasks import TASKS
from benchmarks.turn_figures import HEARD, Measured
from benchmarks.turn_pairs import Pair
from benchmarks.turn_scores import ALONE, LIVEKIT, NETWORK, RULE, TABLE, WORDS, Scored
from benchmarks.turn_speed import Cost
from benchmarks.turn_systems import AUDIO, OFFICIAL, OURS, SHAPE, SMART, System
from benchmarks.worker import Worker
from nearvoice import turn_rates
from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_bundle import MissingPartError
from nearvoice.turn_network import TurnNetwork
from tests.measuring import measured

SILENCE = np.zeros(128_000, np.int16)
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of networks: what makes the large ones made these."""
    from scripts.turn_network import Config

    own = locate("nearvoice")
    made = tmp_path_factory.mktemp("turn-shape")
    folder = made / str(own.vocabulary)
    folder.mkdir()
    turn_shape.make(folder, Config(vocab_size=own.vocabulary, **SMALL))
    return made


@pytest.fixture
def folder(out: Path) -> Path:
    return turn_shape.shape(out)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what hears."""

    def absent(sound: Any) -> dict[str, System]:
        raise ImportError("no ears")

    monkeypatch.setattr(turn_systems, "smart", absent)
    monkeypatch.setattr(turn_systems, "audio", absent)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(SILENCE.tobytes())
    return path


# ---- conversations ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector() -> TurnDetector:
    return TurnDetector.load("nearvoice")


@pytest.mark.parametrize("case", turn_speed.CASES)
def test_a_conversation_makes_as_many_tokens_as_its_case_says(
    detector: TurnDetector, case: str
) -> None:
    before, after = turn_speed.CASES[case]
    words = turn_talk.vocabulary(detector.bundle)
    begun, whole = turn_speed.pair(detector.ids, words, random.Random(0), before, after)
    ids = detector.ids(whole)
    assert len(ids) == after
    if begun is None:
        assert before == 0
    else:
        assert detector.ids(begun) == ids[:before]


def test_no_conversation_is_the_same_as_one_before(detector: TurnDetector) -> None:
    words, chance = turn_talk.vocabulary(detector.bundle), random.Random(0)
    first, second = (turn_talk.talk(detector.ids, words, chance, 32) for _ in range(2))
    assert detector.ids(first)[:4] != detector.ids(second)[:4]


def test_words_that_do_not_make_the_number_of_tokens_are_refused(detector: TurnDetector) -> None:
    chat = [{"role": "user", "content": "hello"}]
    long = ["incomprehensibilities"]
    short = len(detector.ids(chat))
    with pytest.raises(ValueError, match=f"tokens, not {short + 1}"):
        turn_talk.go_on(detector.ids, long, random.Random(0), chat, short + 1)


# ---- systems ----------------------------------------------------------------------------------


def test_the_official_plugin_reads_the_same_tokens_as_ours(
    folder: Path, detector: TurnDetector
) -> None:
    runner = turn_systems.official_runner(folder, 1)
    words, chance = turn_talk.vocabulary(detector.bundle), random.Random(0)
    for tokens in (32, 64, 128):
        chat = turn_talk.talk(detector.ids, words, chance, tokens)
        assert turn_systems.official_ids(runner, chat).tolist() == [detector.ids(chat)]


def test_both_files_of_a_shape_have_the_same_weights(folder: Path, detector: TurnDetector) -> None:
    runner = turn_systems.official_runner(folder, 1)
    own = TurnDetector.load(folder / "bundle")
    words, chance = turn_talk.vocabulary(detector.bundle), random.Random(0)
    for _ in range(5):
        chat = turn_talk.talk(detector.ids, words, chance, 64)
        answer = json.loads(runner.run(json.dumps({"chat_ctx": chat}).encode()))
        assert answer["eou_probability"] == pytest.approx(own.predict(chat), abs=1e-3)


def test_networks_are_made_once(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_shape.subprocess, "run", lambda *_, **__: pytest.fail("made again"))
    assert turn_shape.shape(out) == folder


def test_a_network_that_cannot_be_made_is_a_row_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_shape, "find_spec", lambda name: None)
    monkeypatch.setattr(turn_systems, "smart", lambda sound: {})
    monkeypatch.setattr(turn_systems, "audio", lambda sound: {})
    loaded, missing = turn_systems.load(lambda: turn_shape.shape(tmp_path), SILENCE)
    assert loaded.keys() == {OURS, f"{OURS}, {turn_systems.ALONE}"}
    assert missing.keys() == {SHAPE, OFFICIAL}
    assert "no torch and onnx: pip install" in missing[SHAPE]["missing"]


@pytest.mark.usefixtures("deaf")
def test_a_peer_that_is_missing_is_a_row_that_says_what_to_install(folder: Path) -> None:
    loaded, missing = turn_systems.load(lambda: folder, SILENCE)
    assert {OURS, SHAPE, OFFICIAL} <= loaded.keys()
    assert missing[SMART]["missing"].startswith("ImportError: no ears; pip install --no-deps")
    assert missing[AUDIO]["missing"] == "ImportError: no ears"


# ---- turn-speed -------------------------------------------------------------------------------


@pytest.mark.usefixtures("deaf")
def test_every_column_of_speed_has_a_figure_of_ours(
    recording: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_speed, "ASKED", {True: 1, False: 1})
    monkeypatch.setattr(turn_shape, "OUT", folder.parent)
    result = measured(turn_speed, tmp_path, sound=recording, rounds=1)
    of_text = [name for name, path in turn_speed.COLUMNS.items() if path[0] != turn_speed.HEARD]
    heading, first, *_ = turn_speed.report(result).splitlines()
    assert first.startswith(OURS)
    assert len(first.split()) == 1 + len(turn_speed.COLUMNS)
    assert first.split().count("-") == len(turn_speed.COLUMNS) - len(of_text)
    assert all(name in heading for name in turn_speed.COLUMNS)
    assert result["systems"][OURS]["128 tokens"]["times_ours"]["median"] == 1.0
    assert result["bundle"]["sha256"]


@pytest.mark.parametrize(("remembers", "sizes"), [(True, [124, 128]), (False, [128])])
def test_only_a_system_that_remembers_is_told_the_beginning_first(
    detector: TurnDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    remembers: bool,
    sizes: list[int],
) -> None:
    cases = {"128 tokens": (0, 128), "124 + 4 tokens": (124, 128)}
    monkeypatch.setattr(turn_speed, "CASES", cases)
    said: list[Any] = []

    def forget() -> None:
        said.append("forget")

    def ask(chat: Any) -> None:
        said.append(len(detector.ids(chat)))

    system = System("1", lambda chat: chat, ask, forget, remembers)
    turn_speed.measure(Store(tmp_path), {"it": system}, 1, {False: 1})
    once = ["forget", 128, "forget", *sizes]
    assert said == once + once


def test_a_system_that_hears_has_one_case(tmp_path: Path) -> None:
    system = System("1", lambda _: "sound", lambda _: None, hears=True)
    turn_speed.measure(Store(tmp_path), {"it": system}, 2, {False: 3})
    for kept in rounds.measured(Store(tmp_path), turn_speed.WHAT, ["it"], 2)["it"]:
        assert list(kept) == [turn_speed.HEARD]
        assert len(kept[turn_speed.HEARD]) == 3


def test_ratios_are_of_the_same_round_and_percentiles_of_all() -> None:
    ours = {"128 tokens": [[Cost(1, 1, 1)], [Cost(2, 2, 4)]]}
    heard = [[Cost(10, 1, 2)], [Cost(30, 2, 2), Cost(50, 2, 2)]]
    found = turn_speed.figures(heard, ours, turn_speed.HEARD)
    assert found["wall_ms"] == 30
    assert found["wall_p99_ms"] == pytest.approx(49.6)
    assert found["times_ours"] == {"median": 15.0, "min": 10.0, "max": 20.0}
    assert found["process_times_ours"] == {"median": 1.25, "min": 0.5, "max": 2.0}


# ---- turn-worker ------------------------------------------------------------------------------


class Asked:
    """A detector that keeps what it is asked, and takes as long as it is told on a clock."""

    def __init__(self, takes: list[float] | None = None) -> None:
        self.now = 1_000.0
        self.takes = takes or []
        self.said: list[str] = []
        self.asked: list[float] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def predict_end_of_turn(self, chat: Any, *, timeout: float) -> float:
        self.said.append(" / ".join(f"{m.role}: {m.text_content}" for m in chat.messages()))
        self.asked.append(self.now)
        self.now += self.takes.pop(0) if self.takes else 0.0
        return 0.5


def hold(name: str, asked: Asked, predictions: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = SimpleNamespace(time=asked.time, perf_counter=asked.time)
    monkeypatch.setattr(turn_job, "time", clock)
    talk = turn_job.Talk(lambda: asked, predictions, 1.0)
    talk.begin(name)
    with monkeypatch.context() as patch:
        patch.setattr(turn_job.asyncio, "sleep", asked.sleep)
        return asyncio.run(talk.talk(1_001.0))


def test_a_conversation_grows_by_words_and_by_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    assert hold("room", asked, 7, monkeypatch) == [0.0] * 7
    for before, after in zip(asked.said, asked.said[1:], strict=False):
        assert after.startswith(before)
    words = [len(said.split("user: ")[-1].split()) for said in asked.said]
    assert words == [3, 6, 9, 12, 15, 3, 6]
    assert ["assistant" in said for said in asked.said] == [False] * 5 + [True] * 2


def test_each_call_has_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for name in ("room 0", "room 1", "room 0"):
        asked = Asked()
        hold(name, asked, 1, monkeypatch)
        said += asked.said
    assert said[0] == said[2] != said[1]


def test_calls_ask_at_ticks_and_whoever_is_late_at_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked(takes=[0.25, 1.5, 0.0])
    assert hold("room", asked, 3, monkeypatch) == [250.0, 1500.0, 0.0]
    assert asked.asked == [1_001.0, 1_002.0, 1_004.0]


def test_a_detector_that_hears_is_given_sound_and_closed() -> None:
    done = []

    class Stream:
        def push_audio(self, frame: Any) -> None:
            done.append(frame.duration)

        async def predict(self) -> None:
            done.append("predict")

        async def aclose(self) -> None:
            done.append("close")

    talk = turn_job.Talk(lambda: SimpleNamespace(stream=Stream), 2, 0.0001)
    talk.begin("room")
    assert len(asyncio.run(talk.talk(0.0))) == 2
    assert done == [1.2, "predict", 1.2, "predict", "close"]


def test_memory_is_above_jobs_without_and_latency_of_all_jobs() -> None:
    def a_worker(unique: float, times: list[list[float]], *shared: Memory) -> Worker:
        job = Memory(unique, 60.0, 300.0)
        return Worker({"heard": [job, job]}, job, 500.0, shared, times)

    measured = {
        turn_worker.NONE: {8: [a_worker(20.0, [[0.0]])]},
        "it": {
            1: [a_worker(20.0, [[2.0, 4.0]])],
            8: [a_worker(23.0, [[1.0, 2.0], [3.0, 9.0]], Memory(600.0, 1.0, 1.0))],
        },
    }
    rows = turn_worker.rows(measured)
    assert rows.keys() == measured.keys()
    assert rows[turn_worker.NONE].keys() == {"memory"}
    assert rows["it"]["memory"]["above_none_mib"]["median"] == 3.0
    assert rows["it"]["memory"]["inference_process_mib"]["median"] == 600.0
    assert rows["it"]["1 calls"]["median_ms"] == 3.0
    assert rows["it"]["8 calls"] == {"median_ms": 2.5, "max_ms": 9.0, "first_ms": 2.0}
    many = turn_worker.latency([a_worker(20.0, [[1.0] * 50, [1.0] * 49 + [9.0]])])
    assert many["p99_ms"] == pytest.approx(1.08)


def test_without_the_official_plugin_a_worker_has_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn_worker, "find_spec", lambda name: None)
    steps, missing = turn_worker._there(lambda: pytest.fail("no network is needed"))
    assert {turn_worker.NONE, turn_worker.THREAD, AUDIO} <= steps.keys()
    assert missing.keys() == {OFFICIAL}
    assert "no transformers; pip install" in missing[OFFICIAL]["missing"]


def test_a_real_worker_asks_ours_and_the_official_plugin(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = turn_worker.steps(folder)
    names = (turn_worker.NONE, turn_worker.PROCESS, OFFICIAL)
    few = {name: every[name]._replace(calls=(2,)) for name in names}
    monkeypatch.setattr(turn_worker, "steps", lambda folder: few)
    monkeypatch.setattr(turn_shape, "OUT", folder.parent)
    monkeypatch.setattr(turn_worker, "CALLS", {2: 2})
    monkeypatch.setattr(turn_worker, "SECONDS", 0.1)
    rows = measured(turn_worker, tmp_path)["systems"]
    assert tuple(rows) == names
    for name in names[1:]:
        assert rows[name]["2 calls"]["median_ms"] > 0
        assert rows[name]["memory"]["inference_process_mib"]["median"] > 1
    assert rows[turn_worker.NONE]["memory"]["inference_process_mib"]["median"] == 0


# ---- turn-startup -----------------------------------------------------------------------------


def test_startup_is_measured_of_ours_and_of_the_official_plugin(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = turn_startup.steps(folder)
    names = (OURS, OFFICIAL)
    monkeypatch.setattr(turn_startup, "steps", lambda folder: {name: every[name] for name in names})
    monkeypatch.setattr(turn_shape, "OUT", folder.parent)
    result = measured(turn_startup, tmp_path, rounds=1)
    for name in names:
        row = result["systems"][name]
        assert {path[0] for path in turn_startup.COLUMNS.values()} <= row.keys()
        assert row["imports_ms"]["median"] > row["libraries_ms"]["median"] > 0
    assert "missing" not in turn_startup.report(result)


def test_a_system_that_does_not_start_is_a_row_that_says_why(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = turn_startup.Step("import no_such_package", "pass", "pass", "pass")
    monkeypatch.setattr(turn_startup, "steps", lambda folder: {SMART: broken})
    monkeypatch.setattr(turn_shape, "OUT", folder.parent)
    (row,) = measured(turn_startup, tmp_path, rounds=1)["systems"].values()
    assert "No module named 'no_such_package'; pip install --no-deps" in row["missing"]


# ---- turn: the pairs --------------------------------------------------------------------------


def row(text: str, cut: str, before: list[list[str]] | None = None, **known: Any) -> dict[str, Any]:
    fields = {"lang": "en", "src": "sgd", "raw": text, "cut_ambig": False, "cut_sent_end": False}
    return {**fields, "ctx": before or [], "text": text, "cut": cut, **known}


def record(name: str, *turns: str, **known: Any) -> dict[str, Any]:
    """Return a dialogue whose turns are the user's and the assistant's in turn."""
    roles = ("user", "assistant")
    said = [[roles[at % 2], text] for at, text in enumerate(turns)]
    return {"lang": "en", "src": "sgd", "id": name, "turns": said, **known}


def keep(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(each)}\n" for each in rows)


def recognised(name: str, *turns: str) -> dict[str, Any]:
    return record(name, *turns, src=turn_pairs.HEARD)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A data folder of a few dialogues."""
    asked = [["assistant", "which day"]]
    test = [
        row("i need a table for two", "i need a table"),
        row("on friday please", "on friday", [["user", "i need a table for two"], *asked]),
        row("on friday please", "on", asked),
        row("yes that is what i heard", "yes that", src=turn_pairs.HEARD),
    ]
    german = [row("am freitag bitte", "am", lang="de"), row("ja bitte gern", "ja", lang="de")]
    keep(tmp_path, turn_pairs.TEST, [*test, *german])
    keep(tmp_path, turn_pairs.DEV, [*test, *german])
    dialogues = [
        record("1", "i need a table for two", "Which day?", "on friday please"),
        record("2", "Hello.", "which day", "On Friday, please"),
        {**record("3"), "turns": [["assistant", "Which day?"], ["user", "on friday please"]]},
    ]
    spoken = [
        recognised("v1", "uh i need a a room", "for how many", "two of us", "ok", "thanks"),
        recognised("v2", "is there parking. in the hotel"),
    ]
    keep(tmp_path, turn_pairs.DIALOGUES, [*dialogues, *spoken[:1]])
    keep(tmp_path, "turn/dev.jsonl.xz", [])
    keep(tmp_path, turn_pairs.TRAIN, [*dialogues, *spoken[1:]])
    return tmp_path


def test_a_pair_is_of_the_dialogue_with_the_same_words_before(corpus: Path) -> None:
    first, second, third, *_ = turn_pairs.of_test(corpus)
    assert first.dialogue == second.dialogue == "sgd 1"
    assert third.dialogue == "sgd 3"


def test_a_pair_of_no_known_dialogue_is_one_by_itself(corpus: Path) -> None:
    *_, last = turn_pairs.of_test(corpus)
    assert last.dialogue == "sgd ja bitte gern"


def test_turns_that_have_a_record_each_are_of_their_dialogue() -> None:
    known = turn_pairs._Dialogues(
        [record(f"uuid#{at}", f"turn {at} of it", src="multidogo") for at in range(2)]
    )
    found = {known.of(row(f"turn {at} of it", "turn", src="multidogo")) for at in range(2)}
    assert found == {"multidogo uuid"}


def test_what_was_recognised_has_pairs_of_its_own_and_is_in_no_other_set(corpus: Path) -> None:
    heard = turn_pairs.of_heard(corpus)
    assert {pair.complete for pair in heard} == {
        "uh i need a a room",
        "two of us",
        "is there parking in the hotel",
    }
    for pair in heard:
        assert pair.complete.startswith(f"{pair.cut} ")
    asked = {pair.complete: pair.before for pair in heard}
    assert asked["two of us"][-1] == ("assistant", "for how many")
    assert heard == turn_pairs.of_heard(corpus)
    assert len(turn_pairs.of_heard(corpus, 2)) == 2
    others = [*turn_pairs.of_test(corpus), *turn_pairs.of_dev(corpus)]
    assert turn_pairs.HEARD not in {pair.source for pair in others}


def test_counting_words_is_taught_nothing_that_was_recognised(corpus: Path) -> None:
    taught = {text for text, *_ in turn_words._examples(corpus, 1_000)}
    assert "on friday please" in taught
    assert not any("parking" in text for text in taught)


def test_a_set_that_is_not_there_is_an_error_that_names_the_page(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"docs/turn-data\.md"):
        turn_pairs.of_heard(tmp_path)


# ---- turn: intervals --------------------------------------------------------------------------

SCORE = st.sampled_from([0.0, 0.2, 0.2001, 0.5, 0.9, 1.0])
DRAWN = st.tuples(SCORE, SCORE, st.integers(0, 3))
"""A complete turn, its cut, and how often both are drawn."""


@given(st.lists(DRAWN, min_size=1, max_size=30).filter(lambda rows: any(n for *_, n in rows)))
def test_a_resample_has_the_figures_of_its_pairs_as_often_as_they_were_drawn(rows: Any) -> None:
    complete, cut, times = (np.array(column) for column in zip(*rows, strict=True))
    weights = np.stack([times, np.ones(len(times), int)])
    aucs = turn_bootstrap.auc(complete, cut, weights)
    tnrs = turn_bootstrap.tnr_at(complete, cut, weights, 0.95)
    for at, own in enumerate(weights):
        again = np.repeat(complete, own), np.repeat(cut, own)
        assert aucs[at] == pytest.approx(turn_rates.auc(*again))
        assert tnrs[at] == pytest.approx(turn_rates.tnr_at(*again, 0.95))


def test_pairs_of_a_dialogue_are_drawn_together_and_the_same_way_again() -> None:
    dialogues = ["a", "b", "a", "c", "b"]
    weights = turn_bootstrap.weights(dialogues, "en", 40)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert (weights == turn_bootstrap.weights(dialogues, "en", 40)).all()
    assert (weights != turn_bootstrap.weights(dialogues, "de", 40)).any()


def test_an_interval_is_wider_where_the_same_pairs_are_of_fewer_dialogues() -> None:
    chance = np.random.default_rng(0)
    by_dialogue = np.repeat(chance.normal(size=20), 10)
    complete, cut = by_dialogue + 1.0, chance.normal(size=200)
    widths = []
    for dialogues in ([str(at // 10) for at in range(200)], [str(at) for at in range(200)]):
        weights = turn_bootstrap.weights(dialogues, "en")
        low, high = turn_bootstrap.interval(turn_bootstrap.auc(complete, cut, weights))
        assert low < turn_rates.auc(complete, cut) < high
        widths.append(high - low)
    assert widths[0] > 1.3 * widths[1]


# ---- turn: figures ----------------------------------------------------------------------------


def some(language: str, count: int, source: str = "cv") -> list[Pair]:
    return [
        Pair(language, source, (), "a b", "a", dialogue=f"{source} {at}") for at in range(count)
    ]


def figures(above: float, pairs: list[Pair], **thresholds: float) -> Measured:
    """Return the figures of a system whose complete turns score so much above cuts."""
    cut = np.linspace(0, 0.5, len(pairs))
    languages = {pair.language for pair in pairs}
    of_each = {name: dict.fromkeys(languages, at) for name, at in thresholds.items()}
    return Measured(pairs, Scored(cut + above, cut), of_each)


def test_what_was_recognised_counts_in_no_language_and_in_no_mean() -> None:
    spoken = some("en", 60, turn_pairs.HEARD)
    rows = figures(0.1, [*some("de", 60), *some("en", 60), *spoken]).rows
    assert rows["en"]["n"] == rows[HEARD]["n"] == 60
    assert rows["mean"]["auc"] == pytest.approx(
        (rows["de"]["auc"] + rows["en"]["auc"]) / 2, abs=1e-4
    )
    assert rows["mean without en"]["auc"] == rows["de"]["auc"]
    assert rows["by source"].keys() == {"de cv", "en cv"}


def test_a_threshold_of_other_turns_gives_rates_with_intervals() -> None:
    row = figures(0.5, some("en", 101), shipped=0.75).rows["en"]["shipped"]
    assert row["threshold"] == 0.75
    assert row["tpr"]["value"] == pytest.approx(51 / 101, abs=1e-4)
    assert row["tnr"]["value"] == 1.0
    assert row["tpr"]["low"] < row["tpr"]["value"] < row["tpr"]["high"]


def test_only_clear_cuts_are_in_the_strict_column_and_answers_in_theirs() -> None:
    pairs = some("en", 100)
    pairs = [p._replace(ambiguous=at < 30) for at, p in enumerate(pairs)]
    pairs = [p._replace(before=(("assistant", "well"),)) if at < 60 else p
             for at, p in enumerate(pairs)]  # fmt: skip
    row = figures(0.1, pairs).rows["en"]
    assert row["strict"]["n"] == 70
    assert row["with something before"]["n"] == 60


def test_a_difference_is_of_the_same_resamples() -> None:
    pairs = [*some("de", 60), *some("en", 60)]
    better, worse = figures(0.2, pairs), figures(0.1, pairs)
    turn_figures.compare(better, worse, "above words")
    for name in ("mean", "mean without en", "de", "en"):
        found = better.rows[name]["above words"]["auc"]
        assert 0 < found["low"] <= found["value"] <= found["high"]
    assert "above words" in better.rows["by source"]["en cv"]
    same = figures(0.2, pairs)
    turn_figures.compare(same, figures(0.2, pairs), "above words")
    assert same.rows["en"]["above words"]["auc"] == {"value": 0.0, "low": 0.0, "high": 0.0}


# ---- turn: systems ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "answers", "wanted"),
    [
        ("i want to go home", "en", False, turn_rule.OPEN),
        ("i want to", "en", True, turn_rule.HANGS),
        ("i want um", "en", True, turn_rule.HANGS),
        ("yes", "en", True, turn_rule.OPEN),
        ("yes", "en", False, turn_rule.SHORT),
        ("The day after that.", "en", False, turn_rule.ENDED),
        ("the day after,", "en", True, turn_rule.HANGS),
        ("ich möchte einen", "de", True, turn_rule.HANGS),
        ("明日の朝に", "ja", True, turn_rule.HANGS),
        ("내일 아침에", "ko", True, turn_rule.HANGS),
        ("we are here", "xx", False, turn_rule.OPEN),
        ("", "en", True, turn_rule.HANGS),
    ],
)
def test_the_rule_reads_the_last_word_and_how_much_was_said(
    text: str, language: str, answers: bool, wanted: float
) -> None:
    found = turn_rule.probability(text, language, answers=answers)
    assert wanted <= found <= wanted + 0.1


@given(st.text(max_size=40), st.sampled_from(["en", "ja", "ko", "zh", "xx"]), st.booleans())
def test_the_rule_gives_a_probability_of_anything(text: str, language: str, answers: bool) -> None:
    assert 0.0 <= turn_rule.probability(text, language, answers=answers) <= 1.0


def test_ours_is_asked_with_what_was_said_before_and_without(detector: TurnDetector) -> None:
    before = (("assistant", "which day"),)
    pairs = [Pair("en", "sgd", before, "on friday please", "on friday")]
    with_it = turn_scores.reading(locate("nearvoice"), {})(pairs)
    alone = turn_scores.reading(locate("nearvoice"), {}, with_before=False)(pairs)
    said = {"role": "user", "content": "on friday please"}
    asked = {"role": "assistant", "content": "which day"}
    assert with_it.complete[0] == pytest.approx(detector.predict([asked, said], "en"), abs=0.05)
    assert alone.complete[0] == pytest.approx(detector.predict([said], "en"), abs=0.05)


def test_what_is_asked_twice_is_read_once_and_answered_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [Pair("en", "sgd", (), "on friday please", "on friday")] * 2
    read = []
    said: turn_scores.Answers = {}
    whole = TurnNetwork.read
    monkeypatch.setattr(TurnNetwork, "read", lambda *asked: read.append(asked[1]) or whole(*asked))
    first = turn_scores.reading(locate("nearvoice"), said)(pairs)
    assert len(read) == len(said) == 2
    again = turn_scores.reading(locate("nearvoice"), said, with_before=False)(pairs)
    assert len(read) == 2
    assert first.complete.tolist() == again.complete.tolist() == [first.complete[0]] * 2
    assert first.cut.tolist() == again.cut.tolist()


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    pairs = [
        Pair("en", "sgd", (), "i need a table for two", "i need a table"),
        Pair("en", "sgd", (), "i need a table for two or three", "i need a table for two or"),
    ]
    both = turn_scores.reading(locate("nearvoice"), {})(pairs)
    alone = turn_scores.reading(locate("nearvoice"), {})(pairs[1:])
    assert both.complete[1] == alone.complete[0]
    assert both.cut[1] == alone.cut[0]


def test_a_system_is_asked_only_pairs_that_are_for_it(corpus: Path, tmp_path: Path) -> None:
    sets = turn_accuracy.parts(tmp_path / "kept", corpus, None)
    every = turn_scores.systems(corpus, Store(tmp_path), 1)
    silence = every[turn_scores.SILENCE]._replace(languages=("en",), most=2)
    assert {len(item.pairs[: silence.most]) for item in sets["test"].values()} == {2}
    known = {"label": "silence", "languages": silence.languages}
    (english,) = (item for item in sets["test"].values() if item.language == "en")
    (german,) = (item for item in sets["test"].values() if item.language == "de")
    assert turn_predict.answers(Store(tmp_path / "kept"), known, german) is None
    Store(english.folder).arrays(
        "silence", english.name, silence.load({})(english.pairs[:2])._asdict
    )
    pairs, scored = turn_predict.answers(Store(tmp_path / "kept"), known, english) or ([], None)
    assert scored is not None
    assert pairs == list(english.pairs[:2])
    assert scored.cut.tolist() == [0.5, 0.5]


def test_a_quick_run_asks_the_first_pairs_of_each_language(corpus: Path, tmp_path: Path) -> None:
    whole = turn_accuracy.parts(tmp_path, corpus, None)
    few = turn_accuracy.parts(tmp_path, corpus, 1)
    for part, items in few.items():
        for language, item in items.items():
            assert item.pairs == whole[part][language].pairs[:1]
            assert item.name != whole[part][language].name or len(whole[part][language].pairs) == 1


@pytest.fixture
def accuracy(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The result over the small corpus."""

    def absent(flavour: str) -> Any:
        raise MissingPartError(f"{flavour} is not there: download it")

    monkeypatch.setattr("nearvoice.turn_livekit.read", absent)
    return measured(turn_accuracy, tmp_path / "turn", folder=corpus)


def test_every_system_has_rows_or_says_why_not(accuracy: dict[str, Any]) -> None:
    systems = accuracy["systems"]
    known = (OURS, ALONE, NETWORK, TABLE, WORDS, RULE, turn_scores.SILENCE)
    assert systems.keys() == {*known, *LIVEKIT.values(), SMART}
    for name in known:
        assert systems[name].keys() == {
            *("mean", "mean without en", "de", "en", HEARD, "by source")
        }
        assert {"dev 0.993", "dev 0.95"} <= systems[name]["en"].keys()
    for name in LIVEKIT.values():
        assert "is not there: download it" in systems[name]["missing"]
    assert systems[SMART]["missing"] == "hears: needs sound, see turn-eot"
    assert "shipped" in systems[OURS]["en"]
    assert "shipped" not in systems[WORDS]["en"]
    assert "above words" in systems[OURS]["mean"]
    assert accuracy["model"]["sha256"]


def test_silence_knows_nothing(accuracy: dict[str, Any]) -> None:
    row = accuracy["systems"][turn_scores.SILENCE]["mean"]
    assert row["auc"] == 0.5
    assert row["tnr at .95"] == row["ece"] == 0.0


def test_the_report_has_a_line_for_each_row_and_a_cell_for_each_column(
    accuracy: dict[str, Any],
) -> None:
    heading, *lines = turn_accuracy.report(accuracy).splitlines()
    assert all(name.strip() in heading for name in turn_accuracy.COLUMNS)
    [line] = [line for line in lines if line.startswith(f"{OURS}, en ")]
    assert len(line.removeprefix(f"{OURS}, en").split()) == len(turn_accuracy.COLUMNS)
    assert any(line.startswith(f"{OURS}, {HEARD}") for line in lines)


# ---- tasks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["turn-speed", "turn-worker", "turn-startup"])
def test_a_task_can_be_named_and_is_documented(task: str) -> None:
    assert task in TASKS
    page = Path(__file__).parents[1] / "docs/benchmarking.md"
    assert f"| `{task}` |" in page.read_text("utf-8")
