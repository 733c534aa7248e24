"""Every turn detector that is compared: what it is given, and how it is asked."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import PCM, to_float32
from nearvoice.digest import sha256
from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_network import Prefix, TurnNetwork
from nearvoice.turn_text import Chat

from .systems import MISSING

OURS = "nearvoice"
SHAPE = "Qwen2.5-0.5B shape, nearvoice's runtime"
OFFICIAL = "Qwen2.5-0.5B shape, livekit-plugins-turn-detector"
SMART = "smart-turn v3.2"
AUDIO = "livekit inference.TurnDetector v1-mini"
ALONE = "network alone"
OWN_THREADS = "its own threads"

SECONDS = {SMART: 8.0, AUDIO: 1.2}
"""Of sound that a system which hears is given."""
REMEDIES = {
    SMART: "pip install --no-deps --target out/peers pipecat-ai==1.14.0 loguru loudness wait_for2; "
    "PYTHONPATH=out/peers",
    OFFICIAL: "pip install livekit-plugins-turn-detector==1.8.9 transformers",
}
"""Name -> what to do when a system cannot be had."""


class System(NamedTuple):
    """A turn detector that could be loaded."""

    version: str
    given: Callable[[Chat], Any]
    """What it is asked about a conversation with; not timed."""
    ask: Callable[[Any], object]
    forget: Callable[[], object] = lambda: None
    """Has it forget all that it was asked before."""
    remembers: bool = False
    hears: bool = False
    """It is given sound, always the same, and no conversation."""


def load(shape: Callable[[], Path], sound: PCM) -> tuple[dict[str, System], dict[str, Any]]:
    """Return what could be loaded, and a row that says why for what could not.

    Args:
        shape: Makes the folder of :func:`benchmarks.turn_shape.shape`.
        sound: int16[n] at 16 kHz, at least 8 s.
    """
    loaded, missing = ours(OURS, "nearvoice"), {}
    loaders: dict[str, Callable[[], Mapping[str, System]]] = {
        SHAPE: lambda: ours(SHAPE, shape() / "bundle"),
        OFFICIAL: lambda: official(shape()),
        SMART: lambda: smart(sound),
        AUDIO: lambda: audio(sound),
    }
    for name, loader in loaders.items():
        try:
            loaded |= loader()
        except MISSING as error:
            missing[name] = {"missing": reason(name, error)}
    return loaded, missing


def reason(name: str, error: Exception) -> str:
    """Return why a system cannot be had, and what to do."""
    remedy = REMEDIES.get(name)
    return f"{type(error).__name__}: {error}" + (f"; {remedy}" if remedy else "")


def bundle() -> dict[str, str]:
    """Return which weights ours has."""
    own = locate("nearvoice")
    return {"name": own.name, "version": own.version, "sha256": sha256(own.model)}


def ours(name: str, model: str | Path) -> dict[str, System]:
    """Return a bundle as our detector reads it, and its network by itself."""
    detector = TurnDetector.load(model)
    own = f"{detector.bundle.name} {detector.bundle.version}"
    alone = _Alone(TurnNetwork(locate(model).model))
    return {
        name: System(own, lambda chat: chat, detector.predict, detector.reset, True),
        f"{name}, {ALONE}": System(
            own, lambda chat: tuple(detector.ids(chat)), alone.read, alone.forget, True
        ),
    }


class _Alone:
    """A network that goes on from what it has read last."""

    def __init__(self, network: TurnNetwork) -> None:
        self._network = network
        self._known: Prefix | None = None

    def read(self, ids: tuple[int, ...]) -> float:
        self._known = self._network.read(ids, self._known)
        return self._known.probability

    def forget(self) -> None:
        self._known = None


# ---- LiveKit's --------------------------------------------------------------------------------


def official(folder: Path) -> dict[str, System]:
    """Return the official plugin's own runner with the network of a shape, and that by itself.

    Its threads are one; where it would take more on this machine, there is a system more.
    """
    from livekit.agents.utils import hw

    runner = official_runner(folder, 1)
    own = version("livekit-plugins-turn-detector")
    usual = max(1, min(math.ceil(hw.get_cpu_monitor().cpu_count()) // 2, 4))
    systems = {
        OFFICIAL: System(own, _request, runner.run),
        f"{OFFICIAL}, {ALONE}": System(
            own,
            lambda chat: {"input_ids": official_ids(runner, chat)},
            lambda fed: runner._session.run(None, fed),
        ),
    }
    if usual > 1:
        many = official_runner(folder, usual)
        systems[f"{OFFICIAL}, {OWN_THREADS}"] = System(f"{own}, {usual}", _request, many.run)
    return systems


def official_runner(folder: Path, threads: int) -> Any:  # noqa: ANN401 - it has no types
    """Return its runner as ``initialize()`` makes it, but for the threads and where it looks."""
    import onnxruntime
    from transformers import AutoTokenizer

    from .turn_shape import snapshot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the plugin is deprecated, and says so
        from livekit.plugins.turn_detector.multilingual import _EUORunnerMultilingual

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.dynamic_block_base", "4")
    files = snapshot(folder)
    runner: Any = _EUORunnerMultilingual()
    runner._session = onnxruntime.InferenceSession(
        str(files / "onnx" / "model_q8.onnx"), options, providers=["CPUExecutionProvider"]
    )
    runner._tokenizer = AutoTokenizer.from_pretrained(str(files), truncation_side="left")
    return runner


def official_ids(runner: Any, chat: Chat) -> Any:  # noqa: ANN401 - as above
    """Return int64[1, n], what its network reads of a conversation."""
    text = runner._format_chat_ctx([dict(message) for message in chat])
    return runner._tokenizer(
        text, add_special_tokens=False, return_tensors="np", max_length=128, truncation=True
    )["input_ids"].astype("int64")


def _request(chat: Chat) -> bytes:
    return json.dumps({"chat_ctx": list(chat)}).encode()


def audio(sound: PCM) -> dict[str, System]:
    """Return the detector that an AgentSession has by default where no cloud is used."""
    from livekit.local_inference import EOT

    heard = sound[: int(SECONDS[AUDIO] * 16_000)]
    own = version("livekit-local-inference")
    return {AUDIO: System(own, lambda _: heard, EOT().predict, hears=True)}


# ---- others -----------------------------------------------------------------------------------


def smart(sound: PCM) -> dict[str, System]:
    """Return pipecat's analyzer, with the features that it computes, and its network alone."""
    from loguru import logger

    logger.disable("pipecat")
    from pipecat.audio.turn.smart_turn._whisper_features import compute_whisper_log_mel_features
    from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

    analyzer: Any = LocalSmartTurnAnalyzerV3(cpu_count=1)
    heard = to_float32(sound[: int(SECONDS[SMART] * 16_000)])
    features = np.asarray(compute_whisper_log_mel_features(heard, do_normalize=True))[None]
    own = version("pipecat-ai")
    return {
        SMART: System(own, lambda _: heard, analyzer._predict_endpoint, hears=True),
        f"{SMART}, {ALONE}": System(
            own,
            lambda _: {"input_features": features},
            lambda fed: analyzer._session.run(None, fed),
            hears=True,
        ),
    }
