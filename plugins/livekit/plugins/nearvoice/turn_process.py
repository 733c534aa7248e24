"""A prediction in LiveKit's inference process, one for all jobs of a worker."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections import OrderedDict
from pathlib import Path

from livekit.agents import get_job_context
from livekit.agents.inference_runner import _InferenceRunner

from nearvoice.turn import LIVEKIT, Stop, TurnDetector, locate
from nearvoice.turn_text import Chat

_CALLS = 64
"""On a worker, whose prefix is remembered, half a megabyte each."""
_MODELS = "NEARVOICE_TURN_MODELS"
"""Environment variable, of our own processes: JSON of the models that are loaded at the start."""


def share_process(model: str | Path = "nearvoice") -> None:
    """Have the worker start LiveKit's inference process, with a turn detector in it.

    For ``MultilingualModel(executor="process")``: to be called where the agent's file is imported,
    before the worker starts, as in ``turn_detector.share_process()`` below the imports.

    Args:
        model: As for ``MultilingualModel``.

    Raises:
        RuntimeError: Called in another thread than the main one.
        nearvoice.turn_bundle.BundleError: The model is damaged, incomplete, or not downloaded.
    """
    locate(model)
    os.environ[_MODELS] = json.dumps(list(dict.fromkeys([*_models(), _name(model)])))
    if Runner.INFERENCE_METHOD not in _InferenceRunner.registered_runners:
        _InferenceRunner.register_runner(Runner)


def _name(model: str | Path) -> str:
    """Return one name for a model, however its folder is called."""
    if model in ("nearvoice", *LIVEKIT):
        return str(model)
    return str(Path(model).expanduser().resolve())


def _models() -> list[str]:
    models: list[str] = json.loads(os.environ.get(_MODELS, "[]"))
    return models


class Runner(_InferenceRunner):
    """What LiveKit's inference process makes, and asks."""

    INFERENCE_METHOD = "nearvoice_end_of_turn"

    def __init__(self) -> None:
        self._calls: OrderedDict[str, TurnDetector] = OrderedDict()
        """By their name; the one that asked last comes last."""
        self._loaded: list[TurnDetector] = []

    def initialize(self) -> None:
        """Load the models that jobs will ask for."""
        self._loaded = [TurnDetector.load(model) for model in _models()]
        for detector in self._loaded:
            detector.warm()

    def run(self, data: bytes) -> bytes:
        """Take a request of :class:`InProcess`, return its answer.

        Raises:
            TimeoutError: Nobody waits for it any more, so the next need not either.
        """
        asked = json.loads(data)
        left = asked["until"] - time.time()
        if left <= 0:
            raise TimeoutError("the prediction is asked for too late")
        stop = Stop()
        timer = threading.Timer(left, stop.stop)
        timer.start()
        try:
            detector = self._detector(asked["call"], asked["model"])
            probability = detector.predict(asked["messages"], asked["language"], stop=stop)
        finally:
            timer.cancel()
        return json.dumps({"probability": probability}).encode()

    def _detector(self, call: str, model: str) -> TurnDetector:
        detector = self._calls.pop(call, None) or TurnDetector.load(model, conversations=1)
        self._calls[call] = detector
        if len(self._calls) > _CALLS:
            self._calls.popitem(last=False)
        return detector


class InProcess:
    """Asks LiveKit's inference process, from a job.

    Args:
        model: As for ``MultilingualModel``.

    Raises:
        RuntimeError: There is no job, or its worker has no such process.
    """

    def __init__(self, model: str | Path) -> None:
        context = get_job_context(required=False)
        if context is None:
            raise RuntimeError(
                'executor="process" works in a job only, in LiveKit\'s inference process: use '
                'executor="thread" here'
            )
        registered = Runner.INFERENCE_METHOD in _InferenceRunner.registered_runners
        if not registered or _name(model) not in _models():
            raise RuntimeError(
                f"the worker's inference process has no turn detector {model}: call "
                f"turn_detector.share_process({str(model)!r}) below the imports of the agent's "
                'file, or use executor="thread"'
            )
        self._model = _name(model)
        self._call = uuid.uuid4().hex
        self._executor = context.inference_executor

    async def predict(self, messages: Chat, language: str | None, seconds: float) -> float:
        """Return the probability that the last turn has ended.

        Raises:
            RuntimeError: The process gave no answer.
        """
        asked = {
            "call": self._call,
            "model": self._model,
            "messages": list(messages),
            "language": language,
            "until": time.time() + seconds,
        }
        answer = await self._executor.do_inference(
            Runner.INFERENCE_METHOD, json.dumps(asked).encode()
        )
        if answer is None:
            raise RuntimeError("the inference process gave no answer")
        return float(json.loads(answer)["probability"])
