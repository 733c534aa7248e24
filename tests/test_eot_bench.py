"""eot-bench: its rows, its moments, its metrics worked out by hand, and the task."""

from __future__ import annotations

import importlib
import io
import math
import re
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from benchmarks import __main__ as benchmarks
from benchmarks import eot_bench, eot_data, eot_predict, eot_run, turn_systems
from benchmarks.data import MissingDataError, Segment
from benchmarks.eot_bench import EOT, HOLD, Operating, Point
from benchmarks.eot_data import Turn, Word
from benchmarks.eot_predict import OURS, SMART
from benchmarks.eot_run import WAITS
from benchmarks.settings import Settings
from benchmarks.store import Store
from nearvoice.turn import TurnDetector
from tests.measuring import measured


def silence(index: int, label: str, answers: dict[float, float | None], turn: str = "a") -> Any:
    """Return the predictions in one silence."""
    return [Point(turn, "en", index, 10 + at, at, p, label) for at, p in answers.items()]


def steady(
    index: int, label: str, duration: float, p: float | None, begins: float = 0.0, turn: str = "a"
) -> Any:
    """Return predictions every 100 ms: nothing, and from a moment on always the same."""
    times = [round(at * 0.1, 6) for at in range(round(duration * 10) + 1)]
    answers = {at: p if at >= begins - 1e-9 else 0.0 for at in times}
    return silence(index, label, answers, turn)


def policy(found: eot_bench.Spans, threshold: float, delay: float, timeout: float) -> Operating:
    swept = eot_bench.sweep(found)
    of = (
        np.isclose(swept.threshold, threshold)
        & np.isclose(swept.delay, delay)
        & np.isclose(swept.timeout, timeout)
    )
    [at] = np.flatnonzero(of)
    return Operating(*(float(column[at]) for column in swept))


# ---- moments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "silent"),
    [
        (1.0, 1.25, [0.0, 0.1, 0.2, 0.25]),
        (1.0, 1.3, [0.0, 0.1, 0.2, 0.3]),
        (0.0, 0.3, [0.0, 0.1, 0.2, 0.3]),
        (2.5, 2.6, [0.0, 0.1]),
        (0.7, 0.8, [0.0, 0.1]),
    ],
)
def test_a_silence_has_a_moment_every_100_ms_and_its_end(
    start: float, end: float, silent: list[float]
) -> None:
    assert [round(at - start, 6) for at in eot_bench.grid(start, end)] == silent


@given(st.floats(0, 100), st.floats(0.1, 6))
def test_moments_begin_and_end_with_the_silence_and_rise(start: float, duration: float) -> None:
    end = start + duration
    found = eot_bench.grid(start, end)
    assert found[0] == start
    assert found[-1] == pytest.approx(end, abs=1e-6)
    assert all(0 < b - a <= 0.1 + 1e-6 for a, b in pairwise(found))


def a_turn(*silences: tuple[float, float], words: tuple[Word, ...] = ()) -> Turn:
    spans = tuple(Segment(*silence) for silence in silences)
    return Turn("a", "en", spans, words, (), lambda: eot_data.Sound(np.zeros(8, np.int16), 8))


def test_the_last_silence_is_the_end_and_short_ones_are_none() -> None:
    found = eot_bench.points(a_turn((1.0, 1.2), (2.0, 2.05), (3.0, 3.1)))
    assert [(point.span_index, point.label) for point in found] == [
        *[(0, HOLD)] * 3,
        *[(2, EOT)] * 2,
    ]
    assert found[-1].timestamp == pytest.approx(3.1)
    assert found[-1].silence_dur == 0.1


def test_a_word_is_there_when_a_recogniser_has_it() -> None:
    turn = a_turn((1.0, 2.0), words=(Word("so", 0.5), Word("long", 1.0), Word("then", 1.75)))
    assert eot_bench.heard(turn, 0.75) == ""
    assert eot_bench.heard(turn, 1.0) == "so"
    assert eot_bench.heard(turn, 1.5) == "so long"
    assert eot_bench.heard(turn, 3.0) == "so long then"


# ---- silences that count ----------------------------------------------------------------------


def test_silences_within_turns_count_from_200_ms_to_5_s_and_all_after_turns() -> None:
    held = {0.1: False, 0.2: True, 5.0: True, 5.1: False}
    predictions = [
        point for index, duration in enumerate(held) for point in steady(index, HOLD, duration, 0.5)
    ]
    predictions += steady(9, EOT, 0.1, 0.5)
    found = eot_bench.spans(predictions)
    assert sorted(found.duration[~found.eot]) == [0.2, 5.0]
    assert found.duration[found.eot].tolist() == [0.1]


def test_without_silences_of_both_kinds_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="within turns and after"):
        eot_bench.spans(steady(0, EOT, 0.5, 0.5))
    with pytest.raises(ValueError, match="within turns and after"):
        eot_bench.spans(steady(0, HOLD, 0.5, 0.5))


def test_a_system_must_answer_at_every_end() -> None:
    held = steady(0, HOLD, 0.5, 0.5)
    with pytest.raises(ValueError, match="no answer at the end"):
        eot_bench.spans([*held, *steady(1, EOT, 0.5, None)])


def test_a_system_that_answers_once_does_so_after_its_time_in_every_silence_as_long() -> None:
    short = silence(0, HOLD, {0.0: None, 0.1: None, 0.25: None})
    end = silence(1, EOT, {0.0: 0.9, 0.1: 0.9, 0.3: 0.4})
    found = eot_bench.spans([*short, *end], 0.3)
    assert math.isnan(found.score[0])
    assert found.score[1] == 0.4
    assert found.fires[39, 1] == 0.3
    assert found.fires[40, 1] == math.inf
    with pytest.raises(ValueError, match=r"no answer after 0\.1 s"):
        eot_bench.spans([*short, *end], 0.1)
    with pytest.raises(ValueError, match=r"no answer after 0\.2 s"):
        eot_bench.spans([*short, *end], 0.2)
    assert eot_bench.sweep(found, 0.3).delay.min() == 0.3


# ---- policies, by hand ------------------------------------------------------------------------

BRIEF = silence(0, HOLD, {0.0: 0.1, 0.1: 0.1, 0.2: 0.6, 0.3: 0.2, 0.4: 0.2, 0.5: 0.2})
END = steady(1, EOT, 1.0, 0.7, begins=0.3)
"""A pause of 500 ms with a peak of .6 after 200, and an end that is seen after 300."""


def test_a_pause_is_cut_off_if_it_lasts_longer_than_the_detector_and_the_delay() -> None:
    found = eot_bench.spans([*BRIEF, *END])
    assert policy(found, 0.5, 0.2, 1.0)[3:] == (1.0, pytest.approx(0.3), 0.0)
    assert policy(found, 0.5, 0.4, 1.0)[3:] == (1.0, pytest.approx(0.4), 0.0)
    assert policy(found, 0.5, 0.5, 1.0)[3:] == (0.0, pytest.approx(0.5), 0.0)


def test_a_probability_at_the_threshold_is_not_over_it() -> None:
    found = eot_bench.spans([*BRIEF, *END])
    assert policy(found, 0.59, 0.2, 1.0).cutoff_rate == 1.0
    assert policy(found, 0.6, 0.2, 1.0).cutoff_rate == 0.0
    assert policy(found, 0.69, 0.2, 1.0).timeout_rate == 0.0
    assert policy(found, 0.7, 0.2, 1.0)[3:] == (0.0, 1.0, 1.0)


def test_a_timeout_cuts_off_long_pauses_and_ends_what_the_detector_missed() -> None:
    long = steady(0, HOLD, 1.2, 0.0)
    late = steady(1, EOT, 2.0, 0.9, begins=1.6)
    found = eot_bench.spans([*long, *late])
    assert policy(found, 0.5, 0.2, 1.0)[3:] == (1.0, 1.0, 1.0)
    assert policy(found, 0.5, 0.2, 1.5)[3:] == (0.0, 1.5, 1.0)
    assert policy(found, 0.5, 0.2, 2.0)[3:] == (0.0, pytest.approx(1.6), 0.0)


def test_rates_are_over_pauses_and_latencies_over_ends() -> None:
    predictions = [
        *steady(0, HOLD, 0.4, 0.9),
        *steady(1, HOLD, 0.8, 0.1),
        *steady(2, HOLD, 0.2, 0.9),
        *steady(3, HOLD, 3.0, 0.1),
        *steady(4, EOT, 2.0, 0.9),
        *steady(0, EOT, 2.0, 0.9, begins=0.6, turn="b"),
        *steady(0, EOT, 2.0, 0.1, turn="c"),
    ]
    found = eot_bench.spans(predictions)
    # of the pauses: over the threshold and longer than 200 ms; no; over and not longer; timeout
    best = policy(found, 0.5, 0.2, 2.0)
    assert best.cutoff_rate == pytest.approx(2 / 4)
    assert best.mean_latency == pytest.approx((0.2 + 0.6 + 2.0) / 3)
    assert best.timeout_rate == pytest.approx(1 / 3)


def test_of_equal_policies_the_one_with_the_shorter_timeout_delay_and_threshold_is_named() -> None:
    found = eot_bench.sweep(eot_bench.spans([*BRIEF, *END]))
    best = eot_bench.soonest(found, 0.0)
    assert best is not None
    assert (best.threshold, best.delay, best.timeout) == (0.6, 0.2, 1.0)
    assert best.mean_latency == pytest.approx(0.3)


def test_of_equally_safe_policies_the_sooner_and_then_the_higher_threshold_is_named() -> None:
    found = eot_bench.sweep(eot_bench.spans([*BRIEF, *END]))
    best = eot_bench.safest(found, 0.6)
    assert best is not None
    assert (best.threshold, best.delay, best.timeout) == (0.69, 0.2, 1.0)
    assert best.mean_latency == pytest.approx(0.3)


def test_a_budget_that_no_policy_keeps_has_none() -> None:
    found = eot_bench.sweep(eot_bench.spans([*steady(0, HOLD, 4.0, 0.0), *END]))
    assert eot_bench.soonest(found, 0.99) is None
    assert math.isnan(eot_bench.frontier(found))
    late = eot_bench.sweep(eot_bench.spans([*BRIEF, *steady(1, EOT, 1.0, 0.0)]))
    assert eot_bench.safest(late, 0.6) is None


def test_the_frontier_is_the_mean_over_the_budgets_that_can_be_kept() -> None:
    held = [
        point
        for index in range(19)
        for point in steady(index, HOLD, 0.4, 0.9 if index == 0 else 0.0)
    ]
    longest = steady(19, HOLD, 4.0, 0.0)
    found = eot_bench.sweep(eot_bench.spans([*held, *longest, *steady(20, EOT, 1.0, 0.8)]))
    # one in 20 is cut off by every timeout: 5.0 to 9.9 %; for 10 % the detector may cut one more
    soonest = [eot_bench.soonest(found, budget) for budget in (0.049, 0.05, 0.099, 0.1)]
    latencies = [None if best is None else best.mean_latency for best in soonest]
    assert latencies == [None, pytest.approx(0.4), pytest.approx(0.4), pytest.approx(0.2)]
    assert eot_bench.frontier(found) == pytest.approx((50 * 0.4 + 0.2) / 51)


def test_without_a_detector_waiting_longer_cuts_off_less_and_takes_as_long() -> None:
    held = [*steady(0, HOLD, 0.3, None), *steady(1, HOLD, 1.0, None)]
    found = eot_bench.waiting(eot_bench.spans([*held, *steady(2, EOT, 1.0, 0.0)]))
    at = {round(float(wait), 1): float(rate) for wait, rate in zip(found.delay, found.cutoff_rate)}  # noqa: B905
    assert (at[0.2], at[0.3], at[0.9], at[1.0]) == (1.0, 0.5, 0.5, 0.0)
    best = eot_bench.soonest(found, 0.05)
    assert best is not None
    assert best.mean_latency == 1.0
    assert math.isnan(best.threshold)


def test_auc_and_average_precision_take_the_highest_answer_and_count_draws() -> None:
    predictions = [
        *silence(0, HOLD, {0.0: 0.1, 0.2: 0.5, 0.3: 0.2}),
        *silence(1, HOLD, {0.0: 0.4, 0.3: 0.0}),
        *silence(2, EOT, {0.0: 0.9, 0.3: 0.1}),
        *silence(0, EOT, {0.0: 0.0, 0.3: 0.4}, "b"),
    ]
    found = eot_bench.spans(predictions)
    assert eot_bench.auc(found) == pytest.approx(2.5 / 4)
    assert eot_bench.average_precision(found) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)


# ---- policies, always -------------------------------------------------------------------------

ANSWERS = st.lists(st.sampled_from([0.0, 0.3, 0.305, 0.5, 0.99, 1.0]), min_size=3, max_size=40)
"""One every 100 ms."""


@st.composite
def found_spans(draw: st.DrawFn) -> eot_bench.Spans:
    predictions = []
    for label in (HOLD, EOT):
        for index, answers in enumerate(draw(st.lists(ANSWERS, min_size=1, max_size=6))):
            times = {round(at * 0.1, 6): p for at, p in enumerate(answers)}
            predictions += silence(index, label, times, label)
    return eot_bench.spans(predictions)


@given(found_spans())
def test_more_delay_or_a_higher_threshold_cuts_off_less_and_takes_longer(
    found: eot_bench.Spans,
) -> None:
    swept = eot_bench.sweep(found)
    sizes = (len(eot_bench.DELAYS), len(eot_bench.TIMEOUTS), len(eot_bench.THRESHOLDS))
    for axis in range(3):
        assert (np.diff(swept.cutoff_rate.reshape(sizes), axis=axis) <= 1e-12).all()
        assert (np.diff(swept.mean_latency.reshape(sizes), axis=axis) >= -1e-12).all()


@given(found_spans())
def test_a_detector_that_never_speaks_is_a_timeout(found: eot_bench.Spans) -> None:
    swept = eot_bench.sweep(found)
    never = swept.threshold == 1.0
    assert (swept.mean_latency[never] == swept.timeout[never]).all()
    waits = eot_bench.waiting(found, eot_bench.TIMEOUTS)
    for timeout, rate in zip(waits.timeout, waits.cutoff_rate, strict=True):
        assert (swept.cutoff_rate[never & (swept.timeout == timeout)] == rate).all()


@given(found_spans(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_budget_is_never_worse(found: eot_bench.Spans, one: float, other: float) -> None:
    swept = eot_bench.sweep(found)
    low, high = sorted((one, other))
    tight, loose = eot_bench.soonest(swept, low), eot_bench.soonest(swept, high)
    if tight is not None:
        assert loose is not None
        assert loose.mean_latency <= tight.mean_latency
        assert tight.cutoff_rate <= low + 1e-9


# ---- the data set -----------------------------------------------------------------------------


def wav(seconds: float, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.arange(int(seconds * rate), dtype=np.int16).tobytes())
    return file.getvalue()


def row(name: str, language: str = "en", **known: Any) -> dict[str, Any]:
    """Return a turn of 4 s: "i would like", a pause, "a table", and silence."""
    spoken = {"i": 0.3, "would": 0.6, "like": 1.0, "a": 2.2, "table": 2.5}
    return {
        "id": name,
        "language": language,
        "audio": {"bytes": wav(4.0), "path": None},
        "silence_spans": [{"start": 1.0, "end": 1.95}, {"start": 2.5, "end": 4.0}],
        "words": [{"word": word, "end": end} for word, end in spoken.items()],
        "messages": [{"role": "assistant", "content": "How can I help?"}],
        **known,
    }


def keep(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def read(folder: Path) -> list[Turn]:
    """Return all turns of a folder."""
    return [turn for path in eot_data.files(folder) for turn in eot_data.turns(path)]


def test_turns_are_read_from_every_parquet_file_of_the_split(tmp_path: Path) -> None:
    keep(tmp_path / "en/validation-00000-of-00001.parquet", row("a"), row("b", "EN"))
    keep(tmp_path / "de/validation-00000-of-00001.parquet", row("c", "de"))
    keep(tmp_path / "de/train-00000-of-00001.parquet", row("d", "de"))
    found = read(tmp_path)
    assert [(turn.id, turn.language) for turn in found] == [("c", "de"), ("a", "en"), ("b", "en")]
    assert found[0].silences == (Segment(1.0, 1.95), Segment(2.5, 4.0))
    assert found[0].words[-1] == Word("table", 2.5)
    assert found[0].messages == ({"role": "assistant", "content": "How can I help?"},)


def test_some_turns_of_a_file_are_read_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "validation.parquet"
    keep(path, *(row(f"{at}") for at in range(40)))
    assert eot_data.count(path) == 40
    assert [turn.id for turn in eot_data.turns(path, 14, 18)] == ["14", "15", "16", "17"]


def test_the_cache_of_the_hub_is_read_at_its_newest_revision(tmp_path: Path) -> None:
    keep(tmp_path / "snapshots/old/en/validation.parquet", row("old"))
    keep(tmp_path / "snapshots/new/en/validation.parquet", row("new"))
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs/main").write_text("new")
    assert [turn.id for turn in read(tmp_path)] == ["new"]
    (tmp_path / "refs/main").unlink()
    assert len(read(tmp_path)) == 1


def test_without_a_folder_the_cache_of_the_hub_is_read_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingDataError, match="the cache of huggingface_hub has none"):
        eot_data.files(None)
    own = tmp_path / "datasets--livekit--eot-bench-data"
    keep(own / "snapshots/abc/en/validation.parquet", row("a"))
    (own / "refs").mkdir()
    (own / "refs/main").write_text("abc")
    assert [path.parent.name for path in eot_data.files(None)] == ["en"]


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_sound_is_read_as_it_was_recorded(tmp_path: Path, rate: int) -> None:
    keep(tmp_path / "a.parquet", row("a", audio={"bytes": wav(0.5, rate), "path": None}))
    [turn] = read(tmp_path)
    sound = turn.sound()
    assert sound.rate == rate
    assert (sound.pcm == np.arange(rate // 2, dtype=np.int16)).all()


def test_sound_may_be_an_array_and_spans_may_be_columns_and_messages_none(tmp_path: Path) -> None:
    known = {
        "audio": {"array": [0.0, 0.5, -1.0], "sampling_rate": 8_000},
        "silence_spans": {"start": [1.0, 2.5], "end": [1.5, 4.0]},
        "messages": None,
    }
    keep(tmp_path / "a.parquet", row("a", **known))
    [turn] = read(tmp_path)
    assert turn.sound().pcm.tolist() == [0, 16384, -32767]
    assert turn.silences == (Segment(1.0, 1.5), Segment(2.5, 4.0))
    assert turn.messages == ()


def test_what_is_not_there_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(MissingDataError, match="hf download livekit/eot-bench-data"):
            eot_data.files(folder)


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"id": ["a"], "text": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet is not of eot-bench: no column"):
        read(tmp_path)


def test_without_pyarrow_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    keep(tmp_path / "a.parquet", row("a"))
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"livekit-plugins-nearvoice\[bench\]"):
        measured(eot_run, tmp_path, eot=tmp_path)


# ---- the task ---------------------------------------------------------------------------------


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    keep(tmp_path / "eot/en/validation.parquet", row("a"), row("b"))
    keep(tmp_path / "eot/de/validation.parquet", row("c", "de"))
    return tmp_path / "eot"


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(sound: Any) -> Any:
        raise ImportError("no ears")

    monkeypatch.setattr(turn_systems, "smart", absent)


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What smart-turn is given, which finds everything complete."""
    given: list[Any] = []

    def hears(samples: Any) -> Any:
        given.append(samples)
        return {"prediction": 1, "probability": 0.75}

    system = turn_systems.System("1", lambda _: None, hears, hears=True)
    monkeypatch.setattr(turn_systems, "smart", lambda sound: {SMART: system})
    return given


@pytest.mark.usefixtures("deaf")
def test_ours_and_waiting_have_rows_and_what_is_missing_says_why(
    data_set: Path, tmp_path: Path
) -> None:
    result = measured(eot_run, tmp_path / "out", eot=data_set)
    systems = result["systems"]
    assert list(systems) == [WAITS, OURS, SMART]
    assert "no ears; pip install" in systems[SMART]["missing"]
    for name in (WAITS, OURS):
        assert systems[name].keys() == {"mean", "de", "en"}
        assert systems[name]["en"]["silences after turns"] == 2
    # a pause of 950 ms is cut off by all that wait for less, and by none of those for 1 s
    assert systems[WAITS]["en"]["cutoff at 600 ms"] == 1.0
    assert systems[WAITS]["en"]["latency at 5%"] == 1.0
    heading, *lines = eot_run.report(result).splitlines()
    assert all(column in heading for column in eot_run.COLUMNS)
    assert len(lines) == 7


@pytest.mark.usefixtures("deaf")
def test_predictions_are_kept_with_the_columns_of_eot_bench(data_set: Path, tmp_path: Path) -> None:
    measured(eot_run, tmp_path / "out", eot=data_set)
    paths = sorted((tmp_path / "out").rglob("predictions.parquet"))
    assert [path.relative_to(tmp_path / "out").parts[1] for path in paths] == ["de", "en"]
    table = parquet.read_table(paths[1])
    assert table.column_names == list(Point._fields)
    kept = [Point(**one) for one in table.to_pylist()]
    assert [point.id for point in kept] == ["a"] * 27 + ["b"] * 27
    detector = TurnDetector.load("nearvoice")
    before = {"role": "assistant", "content": "How can I help?"}
    words = {1.0: "i", 1.95: "i would like", 4.0: "i would like a table"}
    for at, said in words.items():
        [p] = {point.p_eot for point in kept if point.timestamp == at}
        chat = [before, {"role": "user", "content": said}]
        assert p == pytest.approx(detector.predict(chat, "en"), abs=0.05)


def test_before_the_first_word_ours_is_sure_that_nothing_has_ended() -> None:
    turn = a_turn((0.0, 0.2), words=(Word("so", 1.0),))
    [first, *_] = eot_bench.points(turn)
    assert eot_predict.ours().ask(turn, first) == 0.0


def test_what_hears_is_asked_once_a_silence_and_hears_nothing_of_the_future(
    data_set: Path, tmp_path: Path, sounds: list[Any]
) -> None:
    result = measured(eot_run, tmp_path / "out", eot=data_set)
    assert [len(samples) for samples in sounds] == [math.floor(1.2 * 16_000), 2.7 * 16_000] * 3
    row = result["systems"][SMART]["en"]
    assert row["auc"] == 0.5
    assert row["cutoff at 300 ms"] == 1.0
    assert row["policies"]["latency at 5%"]["delay"] == 1.0


@pytest.mark.usefixtures("deaf")
def test_scores_are_made_of_what_was_kept_alone(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = measured(eot_run, tmp_path / "out", eot=data_set)
    monkeypatch.setattr(eot_predict, "ours", lambda: pytest.fail("asked again"))
    assert eot_run.score(Settings(), Store(tmp_path / "out")) == result


@pytest.mark.usefixtures("deaf")
def test_what_was_predicted_is_not_asked_again(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ours = eot_predict.ours()

    def ask(turn: Turn, point: Point) -> float | None:
        asked.append(turn.id)
        return ours.ask(turn, point)

    monkeypatch.setattr(eot_predict, "ours", lambda: ours._replace(ask=ask))
    result = measured(eot_run, tmp_path / "out", eot=data_set)
    assert set(asked) == {"a", "b", "c"}
    next((tmp_path / "out").rglob("*-0-1-1.npz")).unlink()
    asked.clear()
    assert measured(eot_run, tmp_path / "out", eot=data_set) == result
    assert set(asked) == {"c"}


@pytest.mark.usefixtures("deaf")
def test_a_quick_run_has_the_first_turns_of_each_file(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eot_predict, "QUICK", 1)
    result = measured(eot_run, tmp_path / "out", eot=data_set, quick=True)
    assert result["dataset"]["n"] == 2


def test_the_task_is_named_with_its_folder_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("logging.disable", lambda level: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    ask = ["predict", "turn-eot", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main(ask)
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main([*ask, "--eot", str(tmp_path / "no")])
    said = capsys.readouterr().out
    assert "turn-eot: skipped: no folder of eot-bench is named, and the cache" in said
    assert re.search(r"turn-eot: skipped: there is no .*/no: download", said)
