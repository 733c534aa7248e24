"""The benchmarks of turn detectors, with a small network in the place of the large one."""

from __future__ import annotations

import asyncio
import json
import random
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import (
    turn_job,
    turn_shape,
    turn_speed,
    turn_startup,
    turn_systems,
    turn_talk,
    turn_worker,
)
from benchmarks.turn_speed import Cost
from benchmarks.turn_systems import AUDIO, OFFICIAL, OURS, SHAPE, SMART, System
from benchmarks.worker import Memory, Worker
from nearvoice.turn import TurnDetector, locate

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
    recording: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_speed, "ASKED", {True: 1, False: 1})
    result = turn_speed.speed(recording, 1, folder.parent)
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
    detector: TurnDetector, monkeypatch: pytest.MonkeyPatch, remembers: bool, sizes: list[int]
) -> None:
    cases = {"128 tokens": (0, 128), "124 + 4 tokens": (124, 128)}
    monkeypatch.setattr(turn_speed, "CASES", cases)
    monkeypatch.setattr(turn_speed, "ASKED", {False: 1})
    said: list[Any] = []

    def forget() -> None:
        said.append("forget")

    def ask(chat: Any) -> None:
        said.append(len(detector.ids(chat)))

    system = System("1", lambda chat: chat, ask, forget, remembers)
    turn_speed.measure({"it": system}, 1)
    once = ["forget", 128, "forget", *sizes]
    assert said == once + once


def test_a_system_that_hears_has_one_case() -> None:
    system = System("1", lambda _: "sound", lambda _: None, hears=True)
    costs = turn_speed.measure({"it": system}, 2)
    assert list(costs["it"]) == [turn_speed.HEARD]
    assert len(costs["it"][turn_speed.HEARD]) == 2


def test_ratios_are_of_the_same_round_and_percentiles_of_all() -> None:
    costs = {
        OURS: {"128 tokens": [[Cost(1, 1, 1)], [Cost(2, 2, 4)]]},
        "it": {turn_speed.HEARD: [[Cost(10, 1, 2)], [Cost(30, 2, 2), Cost(50, 2, 2)]]},
    }
    found = turn_speed.figures(costs, "it", turn_speed.HEARD)
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
    assert rows["it"]["8 calls"] == {
        "median_ms": 2.5,
        "p99_ms": 8.82,
        "max_ms": 9.0,
        "first_ms": 2.0,
    }


def test_without_the_official_plugin_a_worker_has_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn_worker, "find_spec", lambda name: None)
    steps, missing = turn_worker._there(lambda: pytest.fail("no network is needed"))
    assert {turn_worker.NONE, turn_worker.THREAD, AUDIO} <= steps.keys()
    assert missing.keys() == {OFFICIAL}
    assert "no transformers; pip install" in missing[OFFICIAL]["missing"]


def test_a_real_worker_asks_ours_and_the_official_plugin(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = turn_worker.steps(folder)
    names = (turn_worker.NONE, turn_worker.PROCESS, OFFICIAL)
    few = {name: every[name]._replace(calls=(2,)) for name in names}
    monkeypatch.setattr(turn_worker, "steps", lambda folder: few)
    rows = turn_worker.work(1, folder.parent, 2, 0.1)["systems"]
    assert tuple(rows) == names
    for name in names[1:]:
        assert rows[name]["2 calls"]["median_ms"] > 0
        assert rows[name]["memory"]["inference_process_mib"]["median"] > 1
    assert rows[turn_worker.NONE]["memory"]["inference_process_mib"]["median"] == 0


# ---- turn-startup -----------------------------------------------------------------------------


def test_startup_is_measured_of_ours_and_of_the_official_plugin(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = turn_startup.steps(folder)
    names = (OURS, OFFICIAL)
    monkeypatch.setattr(turn_startup, "steps", lambda folder: {name: every[name] for name in names})
    result = turn_startup.startup(1, folder.parent)
    for name in names:
        row = result["systems"][name]
        assert {path[0] for path in turn_startup.COLUMNS.values()} <= row.keys()
        assert row["imports_ms"]["median"] > row["libraries_ms"]["median"] > 0
    assert "missing" not in turn_startup.report(result)


def test_a_system_that_does_not_start_is_a_row_that_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = turn_startup.Step("import no_such_package", "pass", "pass", "pass")
    monkeypatch.setattr(turn_startup, "steps", lambda folder: {SMART: broken})
    (row,) = turn_startup.startup(1, folder.parent)["systems"].values()
    assert "No module named 'no_such_package'; pip install --no-deps" in row["missing"]


# ---- tasks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["turn-speed", "turn-worker", "turn-startup"])
def test_a_task_can_be_named_and_is_documented(task: str) -> None:
    assert task in benchmarks.TASKS
    page = Path(__file__).parents[1] / "docs/benchmarks.md"
    assert f"| `{task}` |" in page.read_text("utf-8")
