"""End of turn for an ``AgentSession``: what the user said in, how likely it is that it was all out.

For where LiveKit's documentation has ``livekit.plugins.turn_detector``, with the same two classes::

    from livekit.plugins.nearvoice.turn_detector import MultilingualModel

    session = AgentSession(turn_handling={"turn_detection": MultilingualModel()}, ...)
"""

from __future__ import annotations

import asyncio
import logging
import math
import numbers
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal, Protocol

from livekit.agents import NOT_GIVEN, LanguageCode, NotGivenOr, Plugin, llm

from nearvoice import __version__
from nearvoice.turn import Bundle, TurnDetector, locate
from nearvoice.turn_text import Chat

from .counters import TURN_SECONDS, TURNS, mark_span
from .turn_language import Languages, Threshold, checked, code
from .turn_process import InProcess, share_process
from .turn_thread import InThread

__all__ = ["EnglishModel", "MultilingualModel", "Prediction", "Statistics", "share_process"]

logger = logging.getLogger(__name__)

RELEASED = 1.0
"""The probability of a turn that nothing could be said about in time: it is not held back."""
_QUIET = 60.0
"""Seconds after a warning in which there is no other of its kind."""
_LOGGED = 64
"""Newest messages in the debug record: more than any model reads."""
_SLOW = "give it more with timeout=, or the machine fewer calls"
_BROKEN = "`nearvoice doctor` checks model and machine"

Outcome = Literal["predicted", "late", "failed"]


@dataclass(frozen=True)
class Prediction:
    """What ``on_prediction`` is given."""

    probability: float
    """That the user has finished; 1.0 if the turn was released without a prediction."""
    threshold: float
    """Under it the session waits for more."""
    language: str | None
    """Whose threshold that is; None for the one of all other languages."""
    milliseconds: float
    """From the session's question to the answer."""
    outcome: Outcome
    """``late`` and ``failed`` turns are released."""

    @property
    def ended(self) -> bool:
        """Whether the session takes the turn as ended."""
        return self.probability >= self.threshold


@dataclass
class Statistics:
    """Counts of what became of the questions."""

    predicted: int = 0
    late: int = 0
    """Released at the deadline."""
    failed: int = 0
    """Released as the prediction failed."""
    cancelled: int = 0
    """Given up by the session, mostly as the user went on."""


class _Backend(Protocol):
    async def predict(self, messages: Chat, language: str | None, seconds: float) -> float:
        """Return P(end of turn), for which nobody waits longer than ``seconds``."""


class _LateError(Exception):
    """There is no prediction yet."""


class _TurnDetectorPlugin(Plugin):
    """Has LiveKit's forkserver load the model, for agents that import this module."""

    def __init__(self) -> None:
        package = f"{__package__}.preload_turn"
        super().__init__(__name__, __version__, package, logger)

    def download_files(self) -> None:
        """Nothing more: the plugin nearvoice fetches all there is."""


class MultilingualModel:
    """A turn detector for an ``AgentSession``: LiveKit's protocol for text, in this process.

    It never holds a turn back longer than its deadline: a prediction that is late or fails releases
    the turn, is counted, and is warned of once a minute. It needs no job: tests and notebooks may
    ``await detector.predict_end_of_turn(chat_ctx)``.

    Args:
        unlikely_threshold: Probability under which the session waits for more, from 0 to 1, for all
            languages, or by language; None for those of the model.
        model: ``"nearvoice"``, the weights that come with it; ``"livekit"``, LiveKit's, which
            ``nearvoice download-files --livekit`` fetches; or the folder of a bundle.
        default_language: Spoken where the recogniser says none, such as ``"de"``. Without it the
            last that it said is taken, or one that the script of the words gives away.
        timeout: Seconds that a turn waits for its prediction, at most.
        executor: ``"thread"``, in this process; or ``"process"``, in LiveKit's inference process,
            see :func:`share_process`.
        on_prediction: Called with each :class:`Prediction`.

    Raises:
        ValueError: An option is out of its range.
        nearvoice.turn_bundle.BundleError: The model is damaged or incomplete; a ValueError, and
            when a file is missing or not downloaded also a FileNotFoundError.
        RuntimeError: ``executor="process"`` where there is no such process.
    """

    _livekit: ClassVar[str] = "livekit"
    _language: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        unlikely_threshold: Threshold = None,
        model: str | Path = "nearvoice",
        default_language: str | None = None,
        timeout: float = 0.3,
        executor: Literal["thread", "process"] = "thread",
        on_prediction: Callable[[Prediction], object] | None = None,
    ) -> None:
        if model == "livekit":
            model = self._livekit
        self._timeout = _checked_timeout(timeout)
        self._on_prediction = on_prediction
        self._bundle = locate(model)
        self._languages = Languages(
            self._bundle, unlikely_threshold, default_language, self._language
        )
        self._backend = _backend(self._bundle, model, executor)
        self._executor = executor
        self._asked: str | None = None
        """The language that the session named last."""
        self._warned: dict[str, float] = {}
        self.statistics = Statistics()

    @property
    def model(self) -> str:
        """Name of the model, with its version."""
        return f"{self._bundle.name}-{self._bundle.version}"

    @property
    def provider(self) -> str:
        """Always ``nearvoice``."""
        return "nearvoice"

    def describe_options(self) -> Mapping[str, Any]:
        """Return what LiveKit's session report shows."""
        return {
            "model": self.model,
            "unlikely_threshold": self._languages.thresholds,
            "default_language": self._languages.default,
            "timeout": self._timeout,
            "executor": self._executor,
        }

    def update_options(
        self,
        *,
        unlikely_threshold: NotGivenOr[Threshold] = NOT_GIVEN,
        default_language: NotGivenOr[str | None] = NOT_GIVEN,
        timeout: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Change options; in force from the next prediction on.

        Raises:
            ValueError: One is out of its range; nothing is changed then.
        """
        thresholds, limit = self._languages.thresholds, self._timeout
        if unlikely_threshold is not NOT_GIVEN:
            thresholds = checked(unlikely_threshold)  # type: ignore[arg-type]
        if timeout is not NOT_GIVEN:
            limit = _checked_timeout(timeout)  # type: ignore[arg-type]
        if default_language is not NOT_GIVEN:
            self._languages.default = code(default_language)  # type: ignore[arg-type]
        self._languages.thresholds, self._timeout = thresholds, limit

    async def supports_language(self, language: LanguageCode | None) -> bool:
        """Return True: a language without a threshold of its own has that of all others."""
        self._asked = language
        return True

    async def unlikely_threshold(self, language: LanguageCode | None) -> float:
        """Return the probability under which the user has probably not finished."""
        self._asked = language
        return self._languages.threshold(self._languages.resolve(language))

    async def predict_end_of_turn(
        self, chat_ctx: llm.ChatContext, *, timeout: float | None = None
    ) -> float:
        """Return the probability that the user has finished, from 0 to 1; 1 where there is none.

        Args:
            chat_ctx: The conversation; instructions and function calls are left out.
            timeout: Seconds to wait at most; None for the detector's own.
        """
        began = perf_counter()
        limit = self._timeout if timeout is None else timeout
        outcome: Outcome = "predicted"
        messages: list[dict[str, str]] = []
        try:
            messages = _messages(chat_ctx)
            said = next((m["content"] for m in messages[::-1] if m["role"] == "user"), "")
            self._languages.said = said
            probability = await self._answer(messages, limit)
        except asyncio.CancelledError:
            self.statistics.cancelled += 1
            TURNS.labels(self.model, "cancelled").inc()
            raise
        except _LateError:
            outcome, probability = "late", RELEASED
            self._warn(outcome, f"is not there after {limit:g} s", _SLOW, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the turn must go on
            outcome, probability = "failed", RELEASED
            self._warn(outcome, f"failed, as {type(error).__name__}: {error}", _BROKEN, error)
        self._report(probability, outcome, perf_counter() - began, messages)
        return probability

    async def _answer(self, messages: Chat, limit: float) -> float:
        """Return the prediction; one that nobody waits for any more is cancelled.

        Not by ``asyncio.wait_for``, which before Python 3.12 may lose the session's cancellation.
        """
        language = self._languages.resolve(self._asked)
        asked = asyncio.ensure_future(self._backend.predict(messages, language, limit))
        try:
            done, _ = await asyncio.wait({asked}, timeout=limit)
        finally:
            asked.cancel()
        if not done:
            raise _LateError
        return asked.result()

    def _report(self, probability: float, outcome: Outcome, seconds: float, messages: Chat) -> None:
        setattr(self.statistics, outcome, getattr(self.statistics, outcome) + 1)
        TURNS.labels(self.model, outcome).inc()
        TURN_SECONDS.labels(self.model).observe(seconds)
        language = self._languages.resolve(self._asked)
        threshold = self._languages.threshold(language)
        prediction = Prediction(probability, threshold, language, seconds * 1e3, outcome)
        mark_span(model=self.model, **vars(prediction))
        if logger.isEnabledFor(logging.DEBUG):
            said = {"model": self.model, "lk.pii.input": messages[-_LOGGED:]}
            logger.debug("end of turn prediction", extra={**vars(prediction), **said})
        if self._on_prediction is not None:
            try:
                self._on_prediction(prediction)
            except Exception:
                logger.exception("on_prediction of the turn detector failed")

    def _warn(self, outcome: Outcome, what: str, remedy: str, error: Exception | None) -> None:
        now = time.monotonic()
        if now - self._warned.get(outcome, -math.inf) < _QUIET:
            return
        self._warned[outcome] = now
        counts = self.statistics
        logger.warning(
            "end of turn prediction %s: the turn is released (%d late and %d failed before, %d "
            "predicted); %s",
            what,
            counts.late,
            counts.failed,
            counts.predicted,
            remedy,
            exc_info=error,
        )


class EnglishModel(MultilingualModel):
    """A turn detector for callers who speak English, whatever language the recogniser names.

    See :class:`MultilingualModel` for the options; ``model="livekit"`` is LiveKit's English one.
    """

    _livekit = "livekit-en"
    _language = "en"


def _backend(bundle: Bundle, model: str | Path, executor: str) -> _Backend:
    if executor == "thread":
        thread = InThread(TurnDetector.load(bundle))
        thread.warm()
        return thread
    if executor == "process":
        return InProcess(model)
    raise ValueError(f'executor must be "thread" or "process", got {executor!r}')


def _messages(chat_ctx: llm.ChatContext) -> list[dict[str, str]]:
    """Return what the user and the assistant said, oldest first."""
    found = []
    for message in chat_ctx.messages():
        if message.role in ("user", "assistant") and (text := message.text_content):
            found.append({"role": message.role, "content": text})
    return found


def _checked_timeout(value: float) -> float:
    if not isinstance(value, numbers.Real) or not 0.0 < value < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0, got {value!r}")
    return float(value)


if threading.current_thread() is threading.main_thread():  # elsewhere LiveKit refuses it
    Plugin.register_plugin(_TurnDetectorPlugin())
