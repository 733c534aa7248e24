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
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal, Protocol

from livekit.agents import NOT_GIVEN, LanguageCode, NotGivenOr, Plugin, llm

from nearvoice import __version__
from nearvoice.script import language_of
from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_bundle import of_language
from nearvoice.turn_text import Chat

from .turn_process import InProcess, share_process
from .turn_thread import InThread

__all__ = ["EnglishModel", "MultilingualModel", "Prediction", "Statistics", "share_process"]

logger = logging.getLogger(__name__)

Threshold = float | Mapping[str, float] | None
"""One for all languages, by language, or None for those of the model."""

RELEASED = 1.0
"""The probability of a turn that nothing could be said about in time: it is not held back."""
_QUIET = 60.0
"""Seconds after a warning in which there is no other."""
_UNKNOWN = ("", "auto", "multi", "und")
"""What a recogniser calls a language that it does not know."""


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
    outcome: Literal["predicted", "late", "failed"]
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
    async def predict(self, messages: Chat, language: str | None) -> float: ...


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
        self._thresholds = _checked_threshold(unlikely_threshold)
        self._timeout = _checked_timeout(timeout)
        self._default = _code(default_language)
        self._on_prediction = on_prediction
        self._bundle = locate(model)
        self._backend = _backend(model, executor)
        self._executor = executor
        self._asked: str | None = None
        """The language that the session named last."""
        self._last: str | None = None
        """The last that was one."""
        self._said = ""
        """What the user said last, for its script."""
        self._unlisted: set[str] = set()
        self._warned = -math.inf
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
            "unlikely_threshold": self._thresholds,
            "default_language": self._default,
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
        thresholds, limit = self._thresholds, self._timeout
        if unlikely_threshold is not NOT_GIVEN:
            thresholds = _checked_threshold(unlikely_threshold)  # type: ignore[arg-type]
        if timeout is not NOT_GIVEN:
            limit = _checked_timeout(timeout)  # type: ignore[arg-type]
        if default_language is not NOT_GIVEN:
            self._default = _code(default_language)  # type: ignore[arg-type]
        self._thresholds, self._timeout = thresholds, limit

    async def supports_language(self, language: LanguageCode | None) -> bool:
        """Return True: a language without a threshold of its own has that of all others."""
        self._asked = language
        return True

    async def unlikely_threshold(self, language: LanguageCode | None) -> float:
        """Return the probability under which the user has probably not finished."""
        self._asked = language
        return self._threshold(self._resolve(language))

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
        outcome: Literal["predicted", "late", "failed"] = "predicted"
        messages: list[dict[str, str]] = []
        try:
            messages = _messages(chat_ctx)
            self._said = next((m["content"] for m in messages[::-1] if m["role"] == "user"), "")
            asked = self._backend.predict(messages, self._resolve(self._asked))
            probability = await asyncio.wait_for(asked, limit)
        except asyncio.CancelledError:
            self.statistics.cancelled += 1
            raise
        except asyncio.TimeoutError:
            outcome, probability = "late", RELEASED
            self._warn(f"not done after {limit:g} s", "is the machine overloaded?", None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the turn must go on
            outcome, probability = "failed", RELEASED
            remedy = "`nearvoice doctor` checks the machine"
            self._warn(f"failed, as {type(error).__name__}: {error}", remedy, error)
        self._report(probability, outcome, perf_counter() - began, messages)
        return probability

    def _report(
        self,
        probability: float,
        outcome: Literal["predicted", "late", "failed"],
        seconds: float,
        messages: Chat,
    ) -> None:
        setattr(self.statistics, outcome, getattr(self.statistics, outcome) + 1)
        language = self._resolve(self._asked)
        prediction = Prediction(
            probability, self._threshold(language), language, seconds * 1e3, outcome
        )
        logger.debug(
            "end of turn prediction",
            extra={**vars(prediction), "model": self.model, "lk.pii.input": messages[-6:]},
        )
        if self._on_prediction is not None:
            try:
                self._on_prediction(prediction)
            except Exception:
                logger.exception("on_prediction of the turn detector failed")

    def _resolve(self, language: str | None) -> str | None:
        """Return the language whose threshold counts."""
        if self._language is not None:
            return self._language
        if (code := _code(language)) is not None:
            self._last = code
            return code
        return self._default or self._last or language_of(self._said)

    def _threshold(self, language: str | None) -> float:
        given = self._thresholds
        if isinstance(given, float):
            return given
        if given is not None and (own := of_language(given, language)) is not None:
            return own
        if language is not None and of_language(self._bundle.thresholds, language) is None:
            self._say_unlisted(language)
        return self._bundle.threshold_for(language)

    def _say_unlisted(self, language: str) -> None:
        if language in self._unlisted:
            return
        self._unlisted.add(language)
        logger.info(
            "%s has no threshold for the language %s: it takes %.4g, as for all others; "
            "unlikely_threshold={%r: ...} sets one, and `nearvoice calibrate` finds it",
            self.model,
            language,
            self._bundle.threshold,
            language,
        )

    def _warn(self, what: str, remedy: str, error: Exception | None) -> None:
        now = time.monotonic()
        if now - self._warned < _QUIET:
            return
        self._warned = now
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


def _backend(model: str | Path, executor: str) -> _Backend:
    if executor == "thread":
        detector = TurnDetector.load(model)
        detector.warm()
        return InThread(detector)
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


def _code(language: str | None) -> str | None:
    """Return a language as ISO 639-1, perhaps with its region; None where it is not known."""
    if language is None or language.lower() in _UNKNOWN:
        return None
    return LanguageCode(language).iso


def _checked_threshold(given: Threshold) -> Threshold:
    if given is None:
        return None
    if isinstance(given, Mapping):
        checked = {}
        for language, value in given.items():
            if (code := _code(language)) is None:
                raise ValueError(f"unlikely_threshold: {language!r} is not a language")
            checked[code] = _share(value)
        return checked
    return _share(given)


def _share(value: object) -> float:
    if not isinstance(value, numbers.Real) or not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"unlikely_threshold must be from 0 to 1, got {value!r}")
    return float(value)


def _checked_timeout(value: float) -> float:
    if not isinstance(value, numbers.Real) or not 0.0 < value < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0, got {value!r}")
    return float(value)


Plugin.register_plugin(_TurnDetectorPlugin())
