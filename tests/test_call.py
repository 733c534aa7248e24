import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import call, call_build, call_scores, call_session, call_systems
from benchmarks.call_scores import Seen, Silence
from benchmarks.data import RATE, MissingDataError, digest
from benchmarks.noise_build import write_flac
from benchmarks.settings import Settings
from benchmarks.sources import Source
from benchmarks.store import Store
from nearvoice.audio import to_int16
from tests.measuring import measured
from tests.offline.models import Line, ScriptedSTT

TURNS = [
    [
        {"text": "i would like", "start": 1.0, "end": 2.0},
        {"text": "a table", "start": 3.0, "end": 4.0},
    ],
    [{"text": "for two", "start": 9.0, "end": 10.0}],
]


def happened(**what: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "predictions": [],
        "speech": [],
        "silence": [],
        "commits": [],
        "replies": [],
        "charged": 0.5,
    }
    return nothing | what


# ---- the set ----------------------------------------------------------------------------------


def tone(seconds: float) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 300 * at)).astype(np.float32)


def test_a_pause_is_put_in_at_each_cut_and_a_wait_after_each_turn() -> None:
    pieces = [["one", 0.6], ["two", None]]
    samples, turns = call_build.call([(tone(1.5), pieces)] * 4, seed=1)
    assert [len(turn) for turn in turns] == [2] * 4
    for turn in turns:
        first, second = turn
        low, high = call_build.HOLDS
        assert low <= second["start"] - first["end"] <= high
        assert first["end"] - first["start"] == pytest.approx(0.6, abs=0.01)
        middle = slice(round(first["end"] * RATE) + 50, round(second["start"] * RATE) - 50)
        assert np.abs(samples[middle]).max() < 0.01
        assert np.abs(samples[round(second["start"] * RATE) :][:RATE]).max() > 0.03
    waits = [b[0]["start"] - a[-1]["end"] for a, b in pairwise(turns)]
    assert waits == pytest.approx([call_build.WAIT, call_build.WAIT, call_build.IMPATIENT])
    again, same = call_build.call([(tone(1.5), pieces)] * 4, seed=1)
    assert np.array_equal(samples, again)
    assert turns == same


def test_every_cut_of_the_set_lies_inside_its_utterance_and_in_order() -> None:
    pieces = json.loads(call_build.WORDS.read_text("utf-8"))
    assert len(pieces) == 52
    for parts in pieces.values():
        cuts = [at for _, at in parts]
        assert cuts[-1] is None
        assert cuts[:-1] == sorted(cuts[:-1])
        assert all(text == text.lower().strip() for text, _ in parts)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two calls of tones, as the set has them."""
    names = ["1-2-0000", "1-2-0001", "3-4-0000"]
    for name in names:
        path = tmp_path / f"sources/{name}.flac"
        path.parent.mkdir(exist_ok=True)
        write_flac(path, to_int16(tone(1.5)))
    paths = tuple(f"{name}.flac" for name in names)
    sha256 = digest([tmp_path / "sources" / path for path in paths])
    monkeypatch.setattr(
        call_build, "SPEECH", Source("a/b", "0" * 40, "tones", "CC0", paths, sha256)
    )
    words = tmp_path / "words.json"
    words.write_text(json.dumps({name: [["so", 0.6], ["what", None]] for name in names}))
    monkeypatch.setattr(call_build, "WORDS", words)
    assert call_build.build(tmp_path / "data", tmp_path / "sources") == 2
    return tmp_path / "data"


def test_the_set_is_the_same_each_time_and_says_where_it_is_from(folder: Path) -> None:
    before = call_build.read(folder)
    assert [one["name"] for one in before["calls"]] == ["1-2", "3-4"]
    assert (before["licence"], before["origin"]) == ("CC0", "tones")
    call_build.build(folder, folder.with_name("sources"))
    assert call_build.read(folder) == before


def test_without_the_set_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="python -m benchmarks data call"):
        call_build.read(tmp_path)


# ---- scores -----------------------------------------------------------------------------------


def test_a_silence_ends_a_turn_or_holds_it_and_lasts_until_the_caller_goes_on() -> None:
    assert call_scores.silences(TURNS) == [
        Silence(False, 2.0, 3.0, 4.0),
        Silence(True, 4.0, 9.0, 10.0),
        Silence(True, 10.0, math.inf, math.inf),
    ]


def test_a_session_is_ready_when_it_has_the_end_of_speech_the_words_and_the_prediction() -> None:
    call = happened(
        silence=[(2.4, 2.0), (4.2, 4.0)],
        predictions=[(2.2, 0.1), (2.5, 0.2), (4.6, 0.9)],
        commits=[(4.7, "i would like a table")],
    )
    hold, end, last = call_scores.seen(TURNS, call)
    assert (hold.ready, hold.p, hold.commit) == (pytest.approx(0.5), 0.2, None)
    assert (end.ready, end.p) == (pytest.approx(0.6), 0.9)
    assert end.commit == pytest.approx(0.7)
    assert last.ready == math.inf
    assert last.commit is None


def test_a_turn_that_is_taken_as_ended_in_a_pause_is_a_false_cut_off() -> None:
    cut = happened(
        silence=[(2.5, 2.0), (4.5, 4.0), (10.5, 10.0)],
        commits=[(2.6, "i would like"), (4.8, "a table"), (10.9, "for two")],
    )
    figures = call_scores.figures([(TURNS, cut)], detects=False)
    assert figures["false_cutoffs"]["value"] == 1.0
    assert figures["latency_ms_median"] == 850
    assert (figures["turns_lost"], figures["answered"]) == (0, 2)
    # who waits 1.0 s cuts nobody off; who waits less does
    assert figures["latency_ms at 5 %"] == 1000


def test_a_turn_whose_words_never_come_is_lost() -> None:
    assert call_scores.lost(TURNS, happened(commits=[(5.0, "i would like a table")])) == 1
    assert call_scores.lost(TURNS, happened(commits=[(5.0, "i would like"), (6.0, "a table")])) == 1
    every = [(5.0, "i would like"), (6.0, "a table for two")]
    assert call_scores.lost(TURNS, happened(commits=every)) == 0


def test_an_agent_that_is_talked_over_falls_silent_late_or_never() -> None:
    assert call_scores.barge_ins(TURNS, happened(replies=[(5.0, 9.7, True)])) == [
        pytest.approx(0.7)
    ]
    assert call_scores.barge_ins(TURNS, happened(replies=[(5.0, 9.7, False)])) == [None]
    assert call_scores.barge_ins(TURNS, happened(replies=[(5.0, 8.0, False)])) == []


def test_an_agent_that_falls_silent_for_nobody_was_interrupted_falsely() -> None:
    assert call_scores.false_interruptions(TURNS, happened(replies=[(5.0, 7.0, True)])) == 1
    assert call_scores.false_interruptions(TURNS, happened(replies=[(5.0, 7.0, False)])) == 0
    assert call_scores.false_interruptions(TURNS, happened(replies=[(5.0, 9.5, True)])) == 0


def test_a_detector_that_knows_the_ends_answers_sooner_without_cutting_off() -> None:
    def found(p_hold: float, p_end: float) -> list[Seen]:
        hold = Seen(Silence(False, 0.0, 1.5, 2.0), 0.5, p_hold, None)
        end = Seen(Silence(True, 0.0, 6.0, 7.0), 0.5, p_end, None)
        return [hold, end] * 10

    def latency(found: list[Seen], detects: bool) -> float:
        soon = call_scores.eot_bench.soonest(call_scores.policies(found, detects), 0.0)
        assert soon is not None
        return soon.mean_latency

    assert latency(found(0.1, 0.9), True) == pytest.approx(0.5)
    assert latency(found(0.9, 0.1), True) == pytest.approx(1.5)  # one that knows nothing waits
    assert latency(found(0.1, 0.9), False) == pytest.approx(1.5)


def test_the_curve_falls_as_more_cut_offs_are_allowed() -> None:
    chance = np.random.default_rng(0)
    found = [
        Seen(Silence(bool(i % 2), 0.0, float(chance.uniform(0.3, 2)), 9.0), 0.4, chance.random(), 1)
        for i in range(80)
    ]
    curve = call_scores._operating(call_scores.policies(found, True))["curve"]
    budgets, latencies = zip(*curve, strict=True)
    assert list(budgets) == sorted(budgets)
    assert all(a >= b for a, b in pairwise(latencies))


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert call_scores.wilson(5, 10) == pytest.approx([0.2366, 0.7634], abs=1e-3)
    assert call_scores.wilson(0, 0) == [0.0, 1.0]


# ---- calls ------------------------------------------------------------------------------------


def test_the_clock_moves_by_what_is_computed_and_not_by_what_is_waited_for() -> None:
    loop = call_session.ChargingLoop()

    async def work() -> tuple[float, float]:
        began = loop.time()
        await call_session.asyncio.to_thread(lambda: sum(range(3_000_000)))
        await call_session.asyncio.sleep(0)
        computed = loop.time()
        await call_session.asyncio.sleep(5.0)
        return computed - began, loop.time() - computed

    took: list[tuple[float, float]] = []

    async def main() -> None:
        took.append(await work())

    call_session._run(loop, main())
    computed, slept = took[0]
    assert computed > 0.005
    assert 5.0 <= slept < 5.0 + computed
    assert loop.charged >= computed


def test_a_transcript_comes_when_its_second_has_been_heard() -> None:
    lines = [Line(piece["end"] + call_session.LAG, piece["text"]) for piece in TURNS[0]]
    assert [line.at for line in ScriptedSTT(lines).lines] == pytest.approx([2.3, 4.3])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> Any:
        raise ImportError("no such part")

    kept = "nearvoice VAD and turn", "livekit defaults"
    chosen = {name: call_systems.SYSTEMS[name] for name in kept}
    monkeypatch.setattr(call_systems, "SYSTEMS", chosen | {"gone": call_systems.System(absent)})


@pytest.mark.model
@pytest.mark.usefixtures("few")
def test_calls_are_held_once_scored_alone_and_what_is_missing_is_a_row(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = json.loads(json.dumps(measured(call, tmp_path / "call", folder=folder, quick=True)))
    rows = result["systems"]
    assert list(rows) == ["nearvoice VAD and turn", "livekit defaults", "gone"]
    assert rows["gone"]["missing"].startswith("ImportError: no such part")
    assert rows["livekit defaults"]["by noise"].keys() == {"clean", "0 dB"}
    assert rows["nearvoice VAD and turn"]["holds"] == 6
    assert result["dataset"]["calls"] == 2
    assert all(one in call.report(result) for one in rows)

    def never(*_: Any) -> Any:
        raise AssertionError("held again")

    monkeypatch.setattr(call, "hold", never)
    assert (
        json.loads(json.dumps(measured(call, tmp_path / "call", folder=folder, quick=True)))
        == result
    )


@pytest.mark.model
@pytest.mark.parametrize("name", call_systems.SYSTEMS)
def test_a_session_has_the_parts_of_its_system(name: str) -> None:
    system = call_systems.SYSTEMS[name]
    happened = call_session.hold(system, np.zeros(RATE, np.int16), [])
    assert happened["commits"] == []
    assert happened["charged"] > 0
    assert (system.parts(lambda _: None).turn_detection == "vad") == ("fixed" in name)


def test_the_task_of_a_folder_without_calls_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError):
        call.predict(Settings(folder=tmp_path), Store(tmp_path / "call"))
