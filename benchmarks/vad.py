"""What memory a stream of a VAD holds, in a process for each system."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents.vad import VAD, VADEventType

from . import systems
from .playback import FRAME_MS, RATE, frames, recording
from .progress import track
from .settings import Settings
from .store import Store

QUICK_STREAMS = 200
ITEM = "a call"


def predict(settings: Settings, store: Store) -> None:
    """Let streams of every VAD listen, a process each.

    Raises:
        RuntimeError: A process failed, for another reason than a package that is not there.
    """
    streams = min(settings.streams, QUICK_STREAMS) if settings.quick else settings.streams
    loaded, missing = systems.load(systems.VADS)
    store.note({"streams": streams, "systems": [*loaded], "missing": missing})
    for name in track([*loaded], "vad-memory"):
        store.json(name, ITEM, lambda name=name: _listen(name, settings.audio, streams))  # type: ignore[misc]


def _listen(name: str, path: Path, streams: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.vad", name, str(path), str(streams)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr.strip().splitlines()[-1]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return KiB per stream that listened for 10 s, and after a flush."""
    about = store.about()
    return {
        "task": "vad-memory",
        "what": f"KiB per stream of {about['streams']} streams on one loaded VAD, 10 s of a call "
        "each",
        "streams": about["streams"],
        "systems": {name: store.json(name, ITEM) for name in about["systems"]} | about["missing"],
    }


async def _memory(load: Callable[[], VAD], path: Path, count: int) -> dict[str, float]:
    audio = frames(recording(path, RATE, 20.0)[10 * RATE :])
    vad = load()
    await _hear(vad.stream(), audio[:20])
    gc.collect()
    before = _resident()
    streams = []
    for _ in range(count):
        stream = vad.stream()
        await _hear(stream, audio)
        streams.append(stream)
    gc.collect()
    listened = _resident()
    for stream in streams:
        stream.flush()
    await asyncio.sleep(1.0)
    gc.collect()
    flushed = _resident()
    await asyncio.gather(*(stream.aclose() for stream in streams))
    return {
        "kib_per_stream": round((listened - before) / count, 1),
        "kib_per_stream_after_flush": round((flushed - before) / count, 1),
    }


async def _hear(stream: Any, audio: list[rtc.AudioFrame]) -> None:  # noqa: ANN401
    """Push frames and read the events they give, so that none is left in the stream."""
    due = len(audio) * FRAME_MS // 32 - 1
    for i, frame in enumerate(audio, start=1):
        stream.push_frame(frame)
        if i % 10 == 0:
            await asyncio.sleep(0)
    got = 0
    async for event in stream:
        got += event.type is VADEventType.INFERENCE_DONE
        if got >= due:
            return


def _resident() -> float:
    """Return resident memory of this process in KiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1024


if __name__ == "__main__":
    name, file, number = sys.argv[1:]
    print(json.dumps(asyncio.run(_memory(systems.VADS[name], Path(file), int(number)))))
