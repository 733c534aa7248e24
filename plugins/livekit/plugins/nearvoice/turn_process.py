"""A prediction in LiveKit's inference process, one for all jobs of a worker."""

from __future__ import annotations

import json
import os
from pathlib import Path

from livekit.agents import get_job_context
from livekit.agents.inference_runner import _InferenceRunner

from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_text import Chat

_CONVERSATIONS = 64
"""Calls on a worker whose prefix is remembered, half a megabyte each."""
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
    models = [*_models(), str(model)]
    os.environ[_MODELS] = json.dumps(list(dict.fromkeys(models)))
    if Runner.INFERENCE_METHOD not in _InferenceRunner.registered_runners:
        _InferenceRunner.register_runner(Runner)


def _models() -> list[str]:
    models: list[str] = json.loads(os.environ.get(_MODELS, "[]"))
    return models


class Runner(_InferenceRunner):
    """What LiveKit's inference process makes, and asks."""

    INFERENCE_METHOD = "nearvoice_end_of_turn"

    def __init__(self) -> None:
        self._detectors: dict[str, TurnDetector] = {}

    def initialize(self) -> None:
        """Load the models that jobs will ask for."""
        for model in _models():
            self._detector(model).warm()

    def run(self, data: bytes) -> bytes:
        """Take a request of :class:`InProcess`, return its answer."""
        asked = json.loads(data)
        detector = self._detector(asked["model"])
        probability = detector.predict(asked["messages"], asked["language"])
        return json.dumps({"probability": probability}).encode()

    def _detector(self, model: str) -> TurnDetector:
        if model not in self._detectors:
            self._detectors[model] = TurnDetector.load(model, conversations=_CONVERSATIONS)
        return self._detectors[model]


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
        if Runner.INFERENCE_METHOD not in _InferenceRunner.registered_runners:
            raise RuntimeError(
                "the worker has no turn detector in its inference process: call "
                "turn_detector.share_process() below the imports of the agent's file, or use "
                'executor="thread"'
            )
        self._model = str(model)
        self._executor = context.inference_executor

    async def predict(self, messages: Chat, language: str | None) -> float:
        """Return the probability that the last turn has ended.

        Raises:
            RuntimeError: The process gave no answer.
        """
        asked = {"model": self._model, "messages": list(messages), "language": language}
        answer = await self._executor.do_inference(
            Runner.INFERENCE_METHOD, json.dumps(asked).encode()
        )
        if answer is None:
            raise RuntimeError("the inference process gave no answer")
        return float(json.loads(answer)["probability"])
