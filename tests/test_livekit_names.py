"""Names of LiveKit that it does not promise to keep: what we rely on, each by itself.

One that moved is a failure here, with what it was for; everything else that then fails follows from
it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from importlib.metadata import version
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import AgentServer, Plugin, vad
from livekit.agents.voice import turn

PLUGIN, TESTS, BENCHMARKS = "the plugins", "the tests", "the benchmarks"


def moved(name: str, used: str) -> str:
    return (
        f"{name} is not in livekit-agents {version('livekit-agents')} as it was: {used} rely on "
        "it; find what took its place, and say in pyproject.toml which versions have it"
    )


@pytest.mark.parametrize(
    ("module", "path", "used"),
    [
        ("livekit.agents.inference_runner", "_InferenceRunner.initialize", PLUGIN),
        ("livekit.agents.inference_runner", "_InferenceRunner.register_runner", PLUGIN),
        ("livekit.agents.inference_runner", "_InferenceRunner.registered_runners", PLUGIN),
        ("livekit.agents.vad", "VADStream._FlushSentinel", PLUGIN),
        ("livekit.agents.vad", "VADStream._main_task", PLUGIN),
        ("livekit.agents.utils", "log_exceptions", PLUGIN),
        ("livekit.agents", "Plugin.registered_plugins", TESTS),
        ("livekit.agents.job", "_JobContextVar", TESTS),
        ("livekit.agents.voice.turn", "_TurnDetector", TESTS),
        ("livekit.agents.voice.turn", "_StreamingTurnDetector", TESTS),
        ("livekit.agents.voice.room_io._input", "_ParticipantAudioInputStream", TESTS),
        ("livekit.rtc._proto.track_pb2", "AudioTrackFeature", TESTS),
        ("livekit.agents.inference.vad", "_NativeVAD.predict", BENCHMARKS),
        ("livekit.local_inference", "EOT", BENCHMARKS),
        ("livekit.local_inference", "VAD_WINDOW_SAMPLES", BENCHMARKS),
    ],
)
def test_a_name_is_where_it_was(module: str, path: str, used: str) -> None:
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        pytest.fail(moved(f"{module}.{path}", used))


@pytest.mark.parametrize("name", ["_input_ch", "_event_ch", "push_frame", "end_input", "flush"])
def test_a_stream_of_a_vad_has_its_channels(name: str) -> None:
    class Stream(vad.VADStream):
        async def _main_task(self) -> None:
            async for _ in self._input_ch:
                pass

    class Deaf(vad.VAD):
        def stream(self) -> vad.VADStream:
            return Stream(self)

    async def there() -> bool:
        stream = Deaf(capabilities=vad.VADCapabilities(update_interval=0.1)).stream()
        try:
            return hasattr(stream, name)
        finally:
            await stream.aclose()

    assert asyncio.run(there()), moved(f"livekit.agents.vad.VADStream.{name}", PLUGIN)


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("_process", ()),
        ("_close", ()),
        ("_on_stream_info_updated", ("room_name", "participant_identity", "publication_sid")),
    ],
)
def test_a_frame_processor_is_told_what_it_was(name: str, keywords: tuple[str, ...]) -> None:
    function = getattr(rtc.FrameProcessor, name, None)
    assert function is not None, moved(f"livekit.rtc.FrameProcessor.{name}", PLUGIN)
    known = inspect.signature(function).parameters
    assert {*keywords} <= known.keys(), moved(f"the arguments of rtc.FrameProcessor.{name}", PLUGIN)


def test_a_plugin_says_what_the_forkserver_imports() -> None:
    known = inspect.signature(Plugin.__init__).parameters
    assert [*known][1:4] == ["title", "version", "package"], moved("Plugin.__init__", PLUGIN)


@pytest.mark.parametrize(
    "name", ["predict_end_of_turn", "unlikely_threshold", "supports_language", "model", "provider"]
)
def test_a_turn_detector_is_asked_what_it_was(name: str) -> None:
    assert hasattr(turn._TurnDetector, name), moved(f"_TurnDetector.{name}", PLUGIN)


@pytest.mark.parametrize(
    ("name", "keyword"), [("run", "unregistered"), ("simulate_job", "fake_job")]
)
def test_a_worker_runs_without_a_server(name: str, keyword: str) -> None:
    known = inspect.signature(getattr(AgentServer, name)).parameters
    assert keyword in known, moved(f"AgentServer.{name}({keyword}=)", BENCHMARKS)
