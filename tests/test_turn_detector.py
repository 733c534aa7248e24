"""The turn detector's plugin without a session."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.agents import LanguageCode, llm
from livekit.agents.inference_runner import _InferenceRunner
from livekit.agents.job import _JobContextVar
from livekit.agents.voice.turn import _StreamingTurnDetector, _TurnDetector
from livekit.plugins.nearvoice import turn_process
from livekit.plugins.nearvoice.turn_detector import (
    EnglishModel,
    MultilingualModel,
    Prediction,
    Statistics,
    share_process,
)
from livekit.plugins.nearvoice.turn_process import Runner
from livekit.plugins.nearvoice.turn_thread import InThread, PrivateThread

from nearvoice.turn import Stop, TurnDetector, locate
from nearvoice.turn_network import StoppedError
from tests.offline import virtual_loop

LOGGER = "livekit.plugins.nearvoice.turn_detector"
BUNDLE = locate("nearvoice")
MODELS = [MultilingualModel, EnglishModel]


def a_chat(*said, role="user"):
    chat = llm.ChatContext.empty()
    for text in said:
        chat.add_message(role=role, content=text)
    return chat


def predict(detector, chat=None, **options):
    return asyncio.run(detector.predict_end_of_turn(chat or a_chat("so what i need"), **options))


def threshold(detector, language):
    code = None if language is None else LanguageCode(language)
    return asyncio.run(detector.unlikely_threshold(code))


class Answers:
    """A backend that answers with a number, raises an error, or awaits what a function makes."""

    def __init__(self, *answers):
        self.asked = []
        self._answers = list(answers)

    async def predict(self, messages, language, seconds):
        self.asked.append((list(messages), language))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return await answer() if callable(answer) else answer


def answering(*answers, make=MultilingualModel, **options):
    """Return a detector whose backend answers so, and the backend."""
    detector = make(**options)
    detector._backend = backend = Answers(*answers)
    return detector, backend


async def hang():
    await asyncio.get_running_loop().create_future()


def warned(caplog):
    return [one for one in caplog.records if one.name == LOGGER and one.levelno >= logging.WARNING]


# what LiveKit asks of a turn detector


@pytest.mark.parametrize("model", MODELS)
def test_a_session_takes_it_for_a_detector_of_text(model):
    detector = model()
    assert not isinstance(detector, _StreamingTurnDetector)
    assert not hasattr(detector, "stream")
    assert detector.model == f"{BUNDLE.name}-{BUNDLE.version}"
    assert detector.provider == "nearvoice"
    for name in ("unlikely_threshold", "supports_language", "predict_end_of_turn"):
        theirs = inspect.signature(getattr(_TurnDetector, name)).parameters
        ours = inspect.signature(getattr(model, name)).parameters
        assert [(one.name, one.kind, one.default) for one in theirs.values()] == [
            (one.name, one.kind, one.default) for one in ours.values()
        ]


@pytest.mark.parametrize("name", ["MultilingualModel", "EnglishModel"])
def test_whatever_constructs_the_official_one_constructs_ours(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from livekit.plugins.turn_detector import english, multilingual

    theirs = getattr(multilingual if name == "MultilingualModel" else english, name)
    ours = {"MultilingualModel": MultilingualModel, "EnglishModel": EnglishModel}[name]
    accepted = inspect.signature(ours).parameters
    for option in inspect.signature(theirs).parameters.values():
        assert accepted[option.name].kind == option.kind
        assert accepted[option.name].default == option.default


def test_it_works_outside_a_job():
    assert 0 <= predict(MultilingualModel(timeout=30)) < 1
    assert predict(EnglishModel(timeout=30)) == pytest.approx(
        TurnDetector.load().predict([{"role": "user", "content": "so what i need"}], "en")
    )


@pytest.mark.parametrize("language", [None, "", "multi", "de", "en-US", "tlh", "no language"])
def test_every_language_is_supported(language):
    code = None if language is None else LanguageCode(language)
    assert asyncio.run(MultilingualModel().supports_language(code)) is True


def test_the_report_of_a_session_shows_the_options():
    detector = MultilingualModel(unlikely_threshold={"english": 0.3}, default_language="pt_br")
    options = detector.describe_options()
    assert options["unlikely_threshold"] == {"en": 0.3}
    assert options["default_language"] == "pt-BR"
    assert options["model"] == detector.model
    json.dumps(options)


# options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unlikely_threshold": 1.1}, "from 0 to 1, got 1.1"),
        ({"unlikely_threshold": -0.1}, "from 0 to 1"),
        ({"unlikely_threshold": float("nan")}, "from 0 to 1"),
        ({"unlikely_threshold": "0.5"}, "from 0 to 1, got '0.5'"),
        ({"unlikely_threshold": {"de": 2}}, "from 0 to 1, got 2"),
        ({"unlikely_threshold": {"multi": 0.2}}, "'multi' is not a language"),
        ({"timeout": 0}, "above 0, got 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"timeout": None}, "seconds above 0"),
    ],
)
def test_an_option_out_of_its_range_is_refused_at_once_and_later(options, words):
    with pytest.raises(ValueError, match=words):
        MultilingualModel(**options)
    with pytest.raises(ValueError, match=words):
        MultilingualModel().update_options(**options)


def test_an_unknown_executor_and_a_missing_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match='"thread" or "process", got \'gpu\''):
        MultilingualModel(executor="gpu")
    with pytest.raises(FileNotFoundError, match=r"turn\.json is missing"):
        MultilingualModel(model=tmp_path)


def test_an_update_with_one_bad_option_changes_nothing():
    detector = MultilingualModel(unlikely_threshold=0.3, default_language="de", timeout=0.2)
    before = detector.describe_options()
    for bad in ({"timeout": -1}, {"unlikely_threshold": 7}):
        with pytest.raises(ValueError, match="must be"):
            detector.update_options(
                **({"unlikely_threshold": 0.1, "default_language": "fr", "timeout": 1.0} | bad)
            )
        assert detector.describe_options() == before


def test_options_can_be_changed_one_by_one_while_a_call_is_on():
    detector = MultilingualModel(unlikely_threshold=0.3, default_language="de", timeout=0.2)
    detector.update_options(unlikely_threshold=None)
    assert threshold(detector, "en") == BUNDLE.threshold_for("en")
    assert threshold(detector, None) == BUNDLE.threshold_for("de")
    detector.update_options(default_language=None, timeout=1)
    options = detector.describe_options()
    assert (options["default_language"], options["timeout"]) == (None, 1.0)


# thresholds


def test_a_number_is_the_threshold_of_every_language():
    detector = MultilingualModel(unlikely_threshold=np.float64(0.25))
    assert {threshold(detector, one) for one in (None, "de", "tlh", "multi")} == {0.25}


@pytest.mark.parametrize(
    ("given", "language", "expected"),
    [
        ({"english": 0.3}, "en", 0.3),
        ({"en": 0.3}, "en-GB", 0.3),
        ({"EN_us": 0.3}, "en-US", 0.3),
        ({"pt": 0.1, "pt_BR": 0.2}, "pt-BR", 0.2),
        ({"pt": 0.1, "pt_BR": 0.2}, "pt-PT", 0.1),
        ({"en-US": 0.3}, "en-GB", BUNDLE.threshold_for("en")),
        ({"en": 0.3}, "de", BUNDLE.threshold_for("de")),
        ({"deu": 0.4}, "de", 0.4),
        ({}, "tlh", BUNDLE.threshold),
        ({"tlh": 0.6}, "tlh", 0.6),
        ({"en": 0.0}, "en", 0.0),
    ],
)
def test_a_threshold_by_language_goes_before_the_model_s(given, language, expected):
    assert threshold(MultilingualModel(unlikely_threshold=given), language) == expected


@pytest.mark.parametrize("said", [None, "de", "multi", "ru-RU"])
def test_the_english_model_is_english_whatever_the_recogniser_says(said):
    detector, backend = answering(0.5, make=EnglishModel, unlikely_threshold={"en": 0.3, "de": 0.4})
    asyncio.run(detector.supports_language(None if said is None else LanguageCode(said)))
    predict(detector, a_chat("мне нужно"))
    assert backend.asked[0][1] == "en"
    assert threshold(detector, said) == 0.3


def test_a_language_that_nobody_says_is_the_default_one_the_last_or_that_of_the_script():
    given = {"de": 0.1, "fr": 0.2, "ru": 0.3, "ko": 0.4}
    detector, _ = answering(0.5, unlikely_threshold=given)
    assert threshold(detector, None) == BUNDLE.threshold
    predict(detector, a_chat("мне нужно"))
    assert threshold(detector, "multi") == 0.3
    predict(detector, a_chat("저는 지금"))
    assert threshold(detector, "") == 0.4
    assert threshold(detector, "de") == 0.1
    assert threshold(detector, None) == 0.1
    detector.update_options(default_language="fr")
    assert threshold(detector, None) == 0.2
    assert threshold(detector, "de") == 0.1


def test_the_script_is_that_of_the_user_and_not_of_the_agent():
    detector, _ = answering(0.5, unlikely_threshold={"ru": 0.3, "ko": 0.4})
    chat = a_chat("мне нужно")
    chat.add_message(role="assistant", content="알겠습니다")
    predict(detector, chat)
    assert threshold(detector, None) == 0.3


def test_a_language_without_a_threshold_is_told_of_once(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    detector = MultilingualModel()
    for language in ("tlh", "tlh", "eo", "en", None):
        threshold(detector, language)
    told = [one.getMessage() for one in caplog.records if one.name == LOGGER]
    assert len(told) == 2
    assert "for the language tlh" in told[0]
    assert "nearvoice calibrate" in told[0]


# what is told of a prediction


def test_whoever_listens_is_given_the_prediction():
    seen = []
    detector, _ = answering(0.4, unlikely_threshold={"de": 0.5}, on_prediction=seen.append)
    asyncio.run(detector.supports_language(LanguageCode("de-AT")))
    assert predict(detector) == 0.4
    (one,) = seen
    assert (one.probability, one.threshold, one.language) == (0.4, 0.5, "de-AT")
    assert one.outcome == "predicted"
    assert one.milliseconds >= 0
    assert not one.ended


@pytest.mark.parametrize(("probability", "ended"), [(0.49, False), (0.5, True), (0.51, True)])
def test_a_turn_has_ended_at_its_threshold(probability, ended):
    assert Prediction(probability, 0.5, None, 1.0, "predicted").ended is ended


def test_an_error_of_whoever_listens_is_logged_and_harms_no_prediction(caplog):
    def listen(prediction):
        raise LookupError("no such table")

    detector, _ = answering(0.4, on_prediction=listen)
    assert predict(detector) == 0.4
    (record,) = warned(caplog)
    assert "on_prediction" in record.getMessage()
    assert record.exc_info is not None
    assert detector.statistics == Statistics(predicted=1)


def test_what_was_said_is_logged_only_under_keys_that_say_so(caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    secret = "my number is four two"
    detector, _ = answering(0.4, OSError("gone"))
    predict(detector, a_chat(secret))
    predict(detector, a_chat(secret))
    records = [one for one in caplog.records if one.name == LOGGER]
    predictions = [one for one in records if one.getMessage() == "end of turn prediction"]
    assert [one.probability for one in predictions] == [0.4, 1.0]
    assert len(records) == 3  # one warning
    for record in records:
        private = {name: value for name, value in vars(record).items() if secret in repr(value)}
        assert all(name.startswith("lk.pii.") for name in private)
        assert bool(private) == (record in predictions)


# predictions that do not come


def test_a_failure_releases_the_turn_and_is_warned_of_with_what_to_do(caplog):
    seen = []
    detector, _ = answering(OSError("the disk is gone"), on_prediction=seen.append)
    assert predict(detector) == 1.0
    assert detector.statistics == Statistics(failed=1)
    assert [(one.probability, one.outcome, one.ended) for one in seen] == [(1.0, "failed", True)]
    (record,) = warned(caplog)
    assert "OSError: the disk is gone" in record.getMessage()
    assert "nearvoice doctor" in record.getMessage()


def test_a_late_prediction_releases_the_turn_at_the_deadline():
    async def late():
        detector, _ = answering(hang, timeout=0.2)
        await detector.predict_end_of_turn(a_chat("so"))
        first = asyncio.get_running_loop().time()
        await detector.predict_end_of_turn(a_chat("so"), timeout=1.5)
        return first, asyncio.get_running_loop().time(), detector.statistics

    first, second, counts = virtual_loop.run(late)
    assert first == pytest.approx(0.2)
    assert second == pytest.approx(1.7)
    assert counts == Statistics(late=2)


def test_there_is_one_warning_a_minute_of_each_kind(caplog):
    async def warn_again():
        detector, _ = answering(hang, hang, OSError("gone"), OSError("gone"), hang)
        for _ in range(5):
            await detector.predict_end_of_turn(a_chat("so"))
        assert len(warned(caplog)) == 2
        await asyncio.sleep(61)
        for answer in (hang, OSError("gone")):
            detector._backend = Answers(answer)
            await detector.predict_end_of_turn(a_chat("so"))

    virtual_loop.run(warn_again)
    first, second, third, _ = [record.getMessage() for record in warned(caplog)]
    assert "timeout=" in first
    assert "OSError: gone" in second
    assert "3 late and 2 failed before" in third


class Ready:
    """Answers in the same moment as something else happens."""

    async def predict(self, messages, language, seconds):
        return 0.5


@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_a_session_that_gives_up_as_the_answer_comes_is_heard(ticks):
    async def give_up():
        detector = MultilingualModel()
        detector._backend = Ready()
        asked = asyncio.ensure_future(detector.predict_end_of_turn(a_chat("so")))
        for _ in range(ticks):
            await asyncio.sleep(0)
        if asked.done():
            return
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert detector.statistics == Statistics(cancelled=1)

    asyncio.run(give_up())


def test_a_timeout_of_the_backends_own_is_a_failure_and_not_late(caplog):
    detector, _ = answering(TimeoutError("the socket"))
    assert predict(detector) == 1.0
    assert detector.statistics == Statistics(failed=1)
    assert "TimeoutError: the socket" in warned(caplog)[0].getMessage()


def test_a_prediction_that_is_given_up_is_counted_and_given_up():
    async def cancelled():
        detector, _ = answering(hang, 0.4)
        asked = asyncio.ensure_future(detector.predict_end_of_turn(a_chat("so")))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        return await detector.predict_end_of_turn(a_chat("so")), detector.statistics

    assert virtual_loop.run(cancelled) == (0.4, Statistics(predicted=1, cancelled=1))


# the thread


class Blocks:
    """A detector whose first predictions block until they are let go."""

    def __init__(self, times):
        self._left = times
        self._go = threading.Event()
        self.entered = threading.Event()
        self.blocked = []
        """The threads of those predictions."""
        self.threads = []
        """The threads of all."""
        self.stops = []

    def predict(self, messages, language, *, stop):
        self.threads.append(threading.current_thread())
        self.stops.append(stop)
        if self._left:
            self._left -= 1
            self.blocked.append(threading.current_thread())
            self.entered.set()
            self._go.wait()
        return 0.4

    def release(self):
        """Let all go; their threads, which were left behind, end."""
        self._left = 0
        self._go.set()
        for thread in self.blocked:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def blocking():
    """Make a detector whose first predictions block; it is let go in the end."""
    made = []

    def make(times, **options):
        detector = MultilingualModel(**options)
        made.append(Blocks(times))
        detector._backend = InThread(made[-1])
        return detector, made[-1]

    yield make
    for one in made:
        one.release()


def test_the_deadline_stops_the_network_and_the_next_prediction_has_a_thread_of_its_own(blocking):
    detector, blocks = blocking(1, timeout=0.5)
    assert predict(detector) == 1.0
    assert predict(detector, timeout=10) == 0.4
    assert [stop.stopped for stop in blocks.stops] == [True, False]
    assert blocks.threads[0] is not blocks.threads[1]
    assert detector.statistics == Statistics(predicted=1, late=1)
    blocks.release()


def test_a_late_prediction_is_stopped_at_once_and_not_when_its_loop_ends(blocking):
    async def two():
        detector, blocks = blocking(1, timeout=0.5)
        first = await detector.predict_end_of_turn(a_chat("so"))
        await asyncio.sleep(0)
        assert blocks.stops[0].stopped
        return first, await detector.predict_end_of_turn(a_chat("so"), timeout=10)

    assert asyncio.run(two()) == (1.0, 0.4)


def test_predictions_that_come_share_a_thread_that_no_exit_waits_for(blocking):
    detector, blocks = blocking(0)
    for _ in range(3):
        assert predict(detector, timeout=10) == 0.4
    assert len(set(blocks.threads)) == 1
    assert blocks.threads[0].daemon


async def give_up(detector, blocks):
    """Have a prediction begin and hang, and give it up as a session does."""
    blocks.entered.clear()
    asked = asyncio.ensure_future(detector.predict_end_of_turn(a_chat("so"), timeout=60))
    await asyncio.to_thread(blocks.entered.wait)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


def test_a_prediction_that_hangs_does_not_keep_the_next_one_waiting(blocking):
    detector, blocks = blocking(1)
    asyncio.run(give_up(detector, blocks))
    assert predict(detector, timeout=10) == 0.4
    assert blocks.threads[0].is_alive()
    assert blocks.stops[0].stopped


def test_when_more_than_a_few_hang_the_next_are_released_at_once_and_later_all_is_well(
    blocking, caplog
):
    detector, blocks = blocking(5)
    for _ in range(5):
        asyncio.run(give_up(detector, blocks))
    for _ in range(3):
        assert predict(detector, timeout=60) == 1.0
    assert detector.statistics == Statistics(failed=3, cancelled=5)
    assert len(blocks.threads) == 5
    (record,) = warned(caplog)
    assert "5 predictions were given up and still hang" in record.getMessage()
    blocks.release()
    assert predict(detector, timeout=10) == 0.4


def test_the_thread_ends_with_its_detector(blocking):
    detector, blocks = blocking(0)
    predict(detector, timeout=10)
    (thread,) = blocks.threads
    del detector
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_thread_hands_on_what_its_work_returns_and_raises():
    thread = PrivateThread()
    assert thread.submit(divmod, 7, 4).result(10) == (1, 3)
    assert thread.submit(int, "11", base=2).result(10) == 3
    with pytest.raises(ZeroDivisionError):
        thread.submit(divmod, 7, 0).result(10)
    thread.leave()


def test_what_waits_in_a_thread_and_is_given_up_is_never_done():
    thread, go, done = PrivateThread(), threading.Event(), []
    first = thread.submit(go.wait)
    given_up = thread.submit(done.append, 1)
    assert given_up.cancel()
    go.set()
    assert first.result(10)
    assert thread.submit(len, done).result(10) == 0
    thread.leave()


def test_a_process_exits_while_a_prediction_hangs():
    code = """
import asyncio, threading
from livekit.plugins.nearvoice.turn_thread import InThread
hangs = threading.Event()
class Hangs:
    def predict(self, messages, language, *, stop):
        hangs.set()
        threading.Event().wait()
async def main():
    asked = asyncio.ensure_future(InThread(Hangs()).predict([], None, 0.1))
    await asyncio.sleep(0)
    hangs.wait(30)
    asked.cancel()
    try:
        await asked
    except asyncio.CancelledError:
        print("late")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "late\n"


def test_a_stopped_network_leaves_the_detector_as_it_was():
    detector = TurnDetector.load()
    messages = [{"role": "user", "content": "so what i need is a table"}]
    stop = Stop()
    stop.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        detector.predict(messages, "en", stop=stop)
    assert detector.predict(messages, "en") == TurnDetector.load().predict(messages, "en")


# the process


@pytest.fixture
def no_runner(monkeypatch):
    """No runner is registered, and no model asked for; as before when the test is over."""
    monkeypatch.setattr(_InferenceRunner, "registered_runners", {})
    monkeypatch.delenv(turn_process._MODELS, raising=False)


class Executor:
    """LiveKit's inference executor, in this process."""

    def __init__(self, run):
        self._run = run

    async def do_inference(self, method, data):
        assert method == Runner.INFERENCE_METHOD
        return self._run(data)


@pytest.fixture
def job():
    """Run what follows in a job whose executor is given."""
    tokens = []

    def enter(run=None):
        tokens.append(_JobContextVar.set(SimpleNamespace(inference_executor=Executor(run))))

    yield enter
    for token in tokens:
        _JobContextVar.reset(token)


def test_the_process_is_refused_outside_a_job(no_runner):
    share_process()
    with pytest.raises(RuntimeError, match="works in a job only"):
        MultilingualModel(executor="process")


def test_the_process_is_refused_where_the_worker_has_none(no_runner, job):
    job()
    with pytest.raises(RuntimeError, match=r"share_process\('nearvoice'\) below the imports"):
        MultilingualModel(executor="process")


def test_a_share_of_a_model_that_is_not_there_is_refused_where_it_is_asked_for(no_runner, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"turn\.json is missing"):
        share_process(tmp_path)
    assert not _InferenceRunner.registered_runners


def test_several_shares_are_one_runner_with_each_model_once(no_runner):
    for _ in range(2):
        share_process()
    assert _InferenceRunner.registered_runners == {Runner.INFERENCE_METHOD: Runner}
    assert turn_process._models() == ["nearvoice"]


def test_a_model_that_the_process_does_not_have_is_refused(no_runner, job, tmp_path):
    share_process()
    job()
    shutil.copytree(BUNDLE.model.parent, tmp_path / "mine")
    with pytest.raises(RuntimeError, match="has no turn detector"):
        MultilingualModel(model=tmp_path / "mine", executor="process")
    share_process(tmp_path / "." / "mine")
    assert MultilingualModel(model=tmp_path / "mine", executor="process").provider == "nearvoice"


def question(text, call="a", seconds=30.0):
    messages = [{"role": "user", "content": text}]
    asked = {"model": "nearvoice", "messages": messages, "language": "de", "call": call}
    return json.dumps({**asked, "until": time.time() + seconds}).encode()


def test_the_runner_loads_its_models_and_answers_bytes_with_bytes(no_runner):
    share_process()
    runner = Runner()
    runner.initialize()
    answer = runner.run(question("wie spät ist es"))
    messages = [{"role": "user", "content": "wie spät ist es"}]
    assert json.loads(answer) == {"probability": TurnDetector.load().predict(messages, "de")}


def test_the_runner_remembers_each_call_by_itself_and_the_newest_of_them(no_runner, monkeypatch):
    monkeypatch.setattr(turn_process, "_CALLS", 2)
    runner = Runner()
    for call in ("a", "b", "a", "c"):
        runner.run(question("guten tag", call))
    assert list(runner._calls) == ["a", "c"]
    assert len({id(detector._model) for detector in runner._calls.values()}) == 1


def test_the_runner_leaves_what_nobody_waits_for_any_more(no_runner):
    runner = Runner()
    with pytest.raises(TimeoutError, match="too late"):
        runner.run(question("guten tag", seconds=-0.1))
    assert not runner._calls


def test_the_runner_stops_at_the_deadline(no_runner, monkeypatch):
    class Slow:
        def predict(self, messages, language, *, stop):
            deadline = time.monotonic() + 10
            while not stop.stopped and time.monotonic() < deadline:
                time.sleep(0.01)
            raise StoppedError("stopped" if stop.stopped else "never")

    runner = Runner()
    monkeypatch.setattr(runner, "_detector", lambda call, model: Slow())
    with pytest.raises(StoppedError, match="stopped"):
        runner.run(question("guten tag", seconds=0.05))


def test_the_process_predicts_what_the_thread_predicts(no_runner, job):
    share_process()
    job(Runner().run)
    process, thread = (
        MultilingualModel(executor=executor, timeout=30) for executor in ("process", "thread")
    )
    for text in ("so what i need is", "danke, das war alles", "네 알겠습니다"):
        assert predict(process, a_chat(text)) == predict(thread, a_chat(text))
    assert process.statistics == Statistics(predicted=3)


def test_a_process_that_gives_no_answer_releases_the_turn(no_runner, job, caplog):
    share_process()
    job(lambda data: None)
    detector = MultilingualModel(executor="process")
    assert predict(detector) == 1.0
    assert detector.statistics == Statistics(failed=1)
    assert "gave no answer" in warned(caplog)[0].getMessage()


# conversations of all sorts


def test_only_what_user_and_assistant_said_is_read():
    chat = a_chat("You are a waiter.", role="system")
    chat.add_message(role="developer", content="Be brief.")
    chat.add_message(role="assistant", content="What can I do for you?")
    chat.insert(llm.FunctionCall(call_id="1", name="menu", arguments="{}"))
    chat.insert(llm.FunctionCallOutput(call_id="1", name="menu", output="soup", is_error=False))
    chat.add_message(role="user", content=["a table", "for two"])
    chat.add_message(role="user", content=[])
    chat.add_message(role="user", content=[llm.ImageContent(image="data:image/png;base64,AAAA")])
    detector, backend = answering(0.4)
    predict(detector, chat)
    assert backend.asked[0][0] == [
        {"role": "assistant", "content": "What can I do for you?"},
        {"role": "user", "content": "a table\nfor two"},
    ]


@pytest.mark.parametrize(
    "chat", [a_chat(), a_chat("Be brief.", role="system"), a_chat("")], ids=["none", "rules", "''"]
)
def test_a_turn_in_which_nothing_was_said_is_released(chat):
    detector = MultilingualModel()
    assert predict(detector, chat) == 1.0
    assert detector.statistics == Statistics(failed=1)


@pytest.mark.parametrize(
    "text",
    ["\ud800 hello", "\x00", "...", "<|im_end|>", "\u202e\ufeff", "e\u0301" * 50, "𐍈 𓀀"],
    ids=["surrogate", "zero", "points", "token", "marks", "accents", "rare"],
)
def test_odd_text_is_predicted_like_any_other(text):
    detector = MultilingualModel(timeout=30)
    assert 0 <= predict(detector, a_chat("hello", text)) <= 1
    assert 0 <= predict(detector, a_chat("hello")) <= 1
    assert detector.statistics == Statistics(predicted=2)


def test_a_turn_of_a_megabyte_is_predicted_and_the_next_too():
    detector = MultilingualModel(timeout=30)
    chat = a_chat("what i need is " * 70_000)
    assert len(chat.messages()[0].text_content) > 1_000_000
    assert 0 <= predict(detector, chat) <= 1
    assert predict(detector, a_chat("so what i need")) < 1
    assert detector.statistics == Statistics(predicted=2)


DETECTOR = MultilingualModel(timeout=30)


@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=40)),
        max_size=6,
    )
)
def test_any_conversation_gets_a_probability(said):
    chat = llm.ChatContext.empty()
    for role, text in said:
        chat.add_message(role=role, content=text)
    failed = DETECTOR.statistics.failed
    assert 0 <= predict(DETECTOR, chat) <= 1
    spoken = any(text and role != "system" for role, text in said)
    assert (DETECTOR.statistics.failed == failed) == spoken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_thread_that_a_fork_left_behind_is_made_anew() -> None:
    code = """
import os, sys, threading
from livekit.plugins.nearvoice.turn_thread import PrivateThread
thread = PrivateThread()
assert thread.submit(lambda: 1).result(5) == 1
if (child := os.fork()) == 0:
    os._exit(0 if thread.submit(lambda: 2).result(5) == 2 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kept", ["detector = ", ""], ids=["kept", "dropped"])
@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.006])
def test_a_process_that_exits_in_the_middle_of_a_prediction_exits_well(
    kept: str, seconds: float
) -> None:
    code = f"""
import time
from livekit.plugins.nearvoice.turn_detector import MultilingualModel
{kept}MultilingualModel()  # its network is being warmed
time.sleep({seconds})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
