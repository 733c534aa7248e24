"""When a real AgentSession commits a turn, with our turn detector, on virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from livekit.agents.inference_runner import _InferenceRunner
from livekit.agents.job import _JobContextVar
from livekit.plugins.nearvoice import silero, turn_process
from livekit.plugins.nearvoice.turn_detector import EnglishModel, MultilingualModel, share_process
from livekit.plugins.nearvoice.turn_thread import InThread

from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_network import TurnNetwork
from tests.offline import sample, virtual_loop
from tests.offline.call import (
    Entry,
    Failed,
    SpeechEnded,
    SpeechStarted,
    TurnCommitted,
    TurnPredicted,
)
from tests.offline.models import Line
from tests.offline.recorder import Recorder
from tests.offline.session import run_call

LOGGER = "livekit.plugins.nearvoice.turn_detector"
DEADLINE = 0.3
ENDED, UNFINISHED = 0.0, 1.0
"""Thresholds that every probability is at or above, and that every one is under."""
STEP = 0.06
"""Seconds that an event may come later, as sound arrives in frames of 0.05 s."""


@pytest.fixture(scope="module")
def recording():
    return sample.load()


@pytest.fixture(scope="module")
def hello():
    return sample.word()


@pytest.fixture(scope="module")
def hellos(hello):
    """Three of them, one every 6 s."""
    silence = np.zeros(16_000 * 6 - len(hello), np.int16)
    return np.concatenate([hello, silence] * 3)


@pytest.fixture(scope="module")
def resumed(recording, hello):
    """The word, and again 0.1 s after its END."""
    pause = np.zeros(round(16_000 * 0.45), np.int16)
    return np.concatenate([hello, pause, recording.cut(6.75, 7.3)])


LINES = [Line(1.3, "Hello?"), Line(7.3, "Hello?"), Line(13.3, "Hello?")]
"""What the STT hears in ``hellos``, each 0.3 s after it was said."""


class Calls:
    """Calls with one detector, each with a real session."""

    def __init__(self, make=MultilingualModel, **options):
        self._recorder = None
        self.detector = make(on_prediction=self._predicted, **options)

    def run(self, samples, *, run=virtual_loop.run, **options):
        """Hold a call, on the virtual clock unless ``run`` is another."""
        return run(lambda: self._call(samples, **options))

    async def _call(self, samples, *, lines=LINES[:1], vad=True, endpointing=None, tail=5.0):
        self._recorder = Recorder()
        return await run_call(
            samples,
            16_000,
            vad=silero.VAD.load(min_silence_duration=0.55) if vad else None,
            lines=lines,
            turn_handling={"turn_detection": self.detector, "endpointing": endpointing or {}},
            tail=tail,
            recorder=self._recorder,
        )

    def _predicted(self, prediction):
        self._recorder.turn_predicted(prediction)


class Stub:
    """The least that a session takes for a turn detector of text."""

    model = provider = "stub"

    def __init__(self, probability, threshold=0.5):
        self._probability = probability
        self._threshold = threshold

    async def supports_language(self, language):
        return True

    async def unlikely_threshold(self, language):
        return self._threshold

    async def predict_end_of_turn(self, chat_ctx, *, timeout=None):
        return self._probability


def official(probability):
    """The official class, on an executor that answers with ``probability``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from livekit.plugins.turn_detector.base import EOUModelBase

    class Official(EOUModelBase):
        def _inference_method(self):
            return "none"

    class Executor:
        async def do_inference(self, method, data):
            return json.dumps({"eou_probability": probability}).encode()

    detector = Official("en", Executor(), load_languages=False)
    detector._languages = {"en": {"threshold": 0.5}}
    return detector


def another(detector):
    """Return calls with a detector that tells of no predictions."""
    return Calls(lambda on_prediction: detector)


def without_predictions(call) -> list[Entry]:
    """Return the timeline but for the predictions, which only ours tells of."""
    return [entry for entry in call.timeline if not isinstance(entry, TurnPredicted)]


def commit(call):
    """Return when the only turn was committed, when its END came, and when the user stopped."""
    (turn,) = call.of(TurnCommitted)
    ended = call.of(SpeechEnded)[-1]
    assert not call.of(Failed)
    return turn.at, ended.at, ended.end


@pytest.mark.model
@pytest.mark.parametrize("min_delay", [0.5, 1.0])
def test_a_finished_turn_is_committed_at_the_end_of_speech_or_after_the_least_delay(
    hello, min_delay
):
    calls = Calls(unlikely_threshold=ENDED)
    at, end, stop = commit(calls.run(hello, endpointing={"min_delay": min_delay}))
    assert at == pytest.approx(max(end, stop + min_delay), abs=STEP)
    assert calls.detector.statistics.predicted == 1


@pytest.mark.model
@pytest.mark.parametrize("max_delay", [3.0, 4.0])
def test_an_unfinished_turn_is_committed_after_the_greatest_delay(hello, max_delay):
    calls = Calls(unlikely_threshold=UNFINISHED)
    at, _, stop = commit(calls.run(hello, endpointing={"max_delay": max_delay}))
    assert at == pytest.approx(stop + max_delay, abs=STEP)
    assert calls.detector.statistics.predicted == 1


@pytest.mark.model
@pytest.mark.parametrize("model", [MultilingualModel, EnglishModel])
@pytest.mark.parametrize(("threshold", "probability"), [(ENDED, 0.9), (UNFINISHED, 0.1)])
def test_the_session_does_the_same_with_ours_the_official_one_and_the_least_detector(
    hello, model, threshold, probability
):
    ours = without_predictions(Calls(model, unlikely_threshold=threshold).run(hello))
    assert without_predictions(another(official(probability)).run(hello)) == ours
    assert without_predictions(another(Stub(probability)).run(hello)) == ours
    assert any(isinstance(entry, TurnCommitted) for entry in ours)


@pytest.mark.model
def test_a_final_after_the_end_of_speech_is_predicted_when_it_comes(hello):
    call = Calls(unlikely_threshold=ENDED).run(hello, lines=[Line(2.5, "Hello?")])
    (prediction,) = call.of(TurnPredicted)
    assert prediction.at == pytest.approx(2.5, abs=STEP)
    assert commit(call)[0] == pytest.approx(2.5, abs=STEP)


class Backend:
    """In place of the detector's own: awaits ``first`` some times, and then predicts.

    Args:
        detector: It becomes the backend of this one.
        first: What is awaited before a prediction.
        times: How often that is.
    """

    def __init__(self, detector, first, times=100):
        self._own = detector._backend
        self._first = first
        self._left = times
        detector._backend = self

    async def predict(self, messages, language, seconds):
        if self._left > 0:
            self._left -= 1
            await self._first()
        return await self._own.predict(messages, language, seconds)


async def hang():
    await asyncio.get_running_loop().create_future()


async def take_two_seconds():
    await asyncio.sleep(2)


async def fail():
    raise OSError("the weights are gone")


def warned(caplog):
    return [one for one in caplog.records if one.name == LOGGER and one.levelno >= logging.WARNING]


@pytest.mark.model
@pytest.mark.parametrize(
    ("what", "outcome", "delay"),
    [(hang, "late", DEADLINE), (take_two_seconds, "late", DEADLINE), (fail, "failed", 0.0)],
    ids=["hangs", "slow", "raises"],
)
def test_every_turn_is_committed_once_and_in_time_when_predictions_do_not_come(
    hellos, caplog, what, outcome, delay
):
    calls = Calls(unlikely_threshold=UNFINISHED)
    Backend(calls.detector, what)
    call = calls.run(hellos, lines=LINES)
    turns, ends = call.of(TurnCommitted), call.of(SpeechEnded)
    assert [turn.text for turn in turns] == ["Hello?"] * 3
    for turn, end in zip(turns, ends, strict=True):
        assert turn.at - end.at == pytest.approx(delay, abs=0.01)
    assert [(one.probability, one.outcome) for one in call.of(TurnPredicted)] == [(1, outcome)] * 3
    assert getattr(calls.detector.statistics, outcome) == 3
    assert calls.detector.statistics.predicted == 0
    assert len(warned(caplog)) == 1
    assert not call.of(Failed)


class Worker:
    """LiveKit's inference executor, whose process does not answer as it should."""

    def __init__(self, what):
        self._what = what

    async def do_inference(self, method, data):
        await self._what()


async def nothing():
    pass


@pytest.mark.model
@pytest.mark.parametrize(
    ("what", "outcome", "delay"),
    [(hang, "late", DEADLINE), (fail, "failed", 0.0), (nothing, "failed", 0.0)],
    ids=["hangs", "is dead", "says nothing"],
)
def test_every_turn_is_committed_once_and_in_time_when_the_inference_process(
    hellos, monkeypatch, what, outcome, delay
):
    monkeypatch.setattr(_InferenceRunner, "registered_runners", {})
    monkeypatch.delenv(turn_process._MODELS, raising=False)
    share_process()
    job = _JobContextVar.set(SimpleNamespace(inference_executor=Worker(what)))
    try:
        calls = Calls(unlikely_threshold=UNFINISHED, executor="process")
    finally:
        _JobContextVar.reset(job)
    call = calls.run(hellos, lines=LINES)
    turns, ends = call.of(TurnCommitted), call.of(SpeechEnded)
    assert [turn.text for turn in turns] == ["Hello?"] * 3
    for turn, end in zip(turns, ends, strict=True):
        assert turn.at - end.at == pytest.approx(delay, abs=0.01)
    assert [one.outcome for one in call.of(TurnPredicted)] == [outcome] * 3
    assert not call.of(Failed)


@pytest.mark.model
@pytest.mark.parametrize("what", [hang, take_two_seconds, fail])
def test_the_prediction_after_one_that_did_not_come_is_as_ever(hellos, what):
    calls = Calls(unlikely_threshold=UNFINISHED)
    Backend(calls.detector, what, times=1)
    call = calls.run(hellos, lines=LINES)
    turns, ends = call.of(TurnCommitted), call.of(SpeechEnded)
    assert [turn.text for turn in turns] == ["Hello?"] * 3
    for turn, end in list(zip(turns, ends, strict=True))[1:]:
        assert turn.at == pytest.approx(end.end + 3.0, abs=STEP)
    counts = calls.detector.statistics
    assert (counts.late + counts.failed, counts.predicted) == (1, 2)


@pytest.mark.model
def test_a_prediction_is_given_up_when_the_user_goes_on_and_the_turn_is_committed_once(
    resumed, caplog
):
    async def take_long():
        await asyncio.sleep(0.25)

    calls = Calls(unlikely_threshold=ENDED)
    Backend(calls.detector, take_long)
    call = calls.run(resumed, lines=[Line(1.3, "Hello?"), Line(2.4, "Anybody?")])
    first, again = call.of(SpeechEnded)[0], call.of(SpeechStarted)[1]
    assert first.at < again.at < first.at + 0.25
    assert [turn.text for turn in call.of(TurnCommitted)] == ["Hello? Anybody?"]
    counts = calls.detector.statistics
    assert (counts.cancelled, counts.predicted) == (2, 1)  # by speech, and by its transcript
    assert (counts.late, counts.failed) == (0, 0)
    assert not warned(caplog)


@pytest.mark.model
def test_a_thread_that_really_hangs_holds_neither_the_turn_nor_the_next_prediction(hello):
    release = threading.Event()
    hung = []

    class Hangs:
        """A detector whose first prediction hangs."""

        def __init__(self):
            self._own = TurnDetector.load()

        def predict(self, messages, language, *, stop):
            if not hung:
                hung.append(threading.current_thread())
                release.wait()
            return self._own.predict(messages, language, stop=stop)

    calls = Calls(timeout=1.0)
    calls.detector._backend = InThread(Hangs())
    try:
        held = calls.run(hello, tail=2.5, run=lambda call: asyncio.run(call()))
        assert [turn.text for turn in held.of(TurnCommitted)] == ["Hello?"]
        assert [one.outcome for one in held.of(TurnPredicted)] == ["late"]
        again = calls.run(hello)
        assert [one.outcome for one in again.of(TurnPredicted)] == ["predicted"]
        assert hung[0].is_alive()
    finally:
        release.set()
    hung[0].join()


@pytest.mark.model
def test_the_same_words_are_predicted_again_after_another_end_and_computed_once(
    resumed, monkeypatch
):
    calls = Calls(unlikely_threshold=UNFINISHED)
    calls.detector._backend._thread.submit(lambda: None).result(30)  # it has been warmed
    read, computed = TurnNetwork.read, []

    def watched(self, ids, known=None, stop=None):
        found = read(self, ids, known, stop)
        computed.append(found is not known)
        return found

    monkeypatch.setattr(TurnNetwork, "read", watched)
    call = calls.run(resumed, lines=[Line(1.3, "Hello?")])
    first, second = call.of(TurnPredicted)
    assert first.probability == second.probability
    assert computed == [True, False]
    assert [turn.text for turn in call.of(TurnCommitted)] == ["Hello?"]


THRESHOLDS = {"de": 0.11, "fr": 0.12, "ru": 0.13, "ko": 0.14}
LATIN = "this is what was said"


def languages(lines, **options):
    """Return the language and threshold of each prediction of a call without a VAD."""
    at = [replace(line, at=1.0 + 5 * n) for n, line in enumerate(lines)]
    silence = np.zeros(16_000 * 5 * len(lines), np.int16)
    calls = Calls(unlikely_threshold=THRESHOLDS, **options)
    call = calls.run(silence, lines=at, vad=False)
    assert [turn.text for turn in call.of(TurnCommitted)] == [line.text for line in lines]
    return [(one.language, one.threshold) for one in call.of(TurnPredicted)]


GLOBAL = (None, locate("nearvoice").threshold)
FRENCH, GERMAN, RUSSIAN, KOREAN = (
    (language, THRESHOLDS[language]) for language in ("fr", "de", "ru", "ko")
)


@pytest.mark.parametrize(
    ("default", "unknown"), [(None, GLOBAL), ("fr", FRENCH)], ids=["no default", "a default"]
)
def test_a_recogniser_without_a_language_gets_the_default_one_until_it_says_one(default, unknown):
    lines = [Line(0, LATIN, language) for language in ("", "multi", "de", "multi", "")]
    found = languages(lines, default_language=default)
    assert found == [unknown, unknown, GERMAN, GERMAN, GERMAN]


def test_the_script_of_the_words_stands_for_a_language_that_nobody_says():
    lines = [
        Line(0, "я хотел бы сказать", "multi"),
        Line(0, "알겠습니다 감사합니다", ""),
        Line(0, LATIN, "auto"),
    ]
    assert languages(lines) == [RUSSIAN, KOREAN, GLOBAL]


def test_a_language_of_the_session_goes_before_the_script_of_the_words():
    lines = [Line(0, LATIN, "de"), Line(0, "я хотел бы сказать", "multi")]
    assert languages(lines) == [GERMAN, GERMAN]
