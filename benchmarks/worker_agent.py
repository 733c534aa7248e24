"""The agent that ``benchmarks.worker`` measures: jobs of a real worker that listen to a file.

Every job process imports this module too, so it is small and the same for every system::

    python -m benchmarks.worker_agent FOLDER JOBS IMPORTS LOAD

IMPORTS and LOAD are Python, as the documentation of the VAD has them; LOAD may make an
``rtc.FrameProcessor`` instead, or nothing, or a ``Talk`` of ``benchmarks.turn_job``, with which the
jobs talk and hear nothing. The folder holds the call (``call.pcm``: int16 mono at 24 kHz). When a
job has loaded its VAD, when it has heard the call and when, after a flush, it has heard the call
again, it leaves ``loaded.PID``, ``heard.PID`` and ``flushed.PID`` there and waits for
``loaded.measured`` and so on: so all jobs are measured in the same state. ``over`` ends the worker.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import AgentServer, JobContext, JobProcess
from livekit.agents.vad import VADEventType, VADStream

RATE = 24_000
FRAME = 1_200
"""Samples of a frame: what a room delivers by default, 50 ms at 24 kHz."""
CALL = "call.pcm"
BEFORE = "before"
"""A job leaves its own ``/proc/self/smaps_rollup`` under this name before it loads its VAD."""

folder, jobs, imports, load = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
exec(imports)  # here, as an agent does: plugins register before the forkserver starts


def prewarm(proc: JobProcess) -> None:
    """Load the VAD; before that start what every job in a room has, LiveKit's native runtime."""
    rtc.AudioResampler(48_000, RATE).push(rtc.AudioFrame(bytes(4 * FRAME), 48_000, 1, 2 * FRAME))
    unfinished = folder / f"{os.getpid()}.unfinished"
    shutil.copyfile("/proc/self/smaps_rollup", unfinished)
    unfinished.rename(folder / f"{BEFORE}.{os.getpid()}")  # nobody reads half of it
    proc.userdata["vad"] = eval(load)


server = AgentServer(num_idle_processes=0, port=0)
server.setup_fnc = prewarm


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    """Listen to the call twice, with a flush in between."""
    vad = ctx.proc.userdata["vad"]
    if hasattr(vad, "talk"):
        await _talk(vad, ctx)
        return
    await _measured("loaded")
    process = vad._process if isinstance(vad, rtc.FrameProcessor) else None
    stream = vad.stream() if vad and not process else None
    ear = _Ear(stream, process)
    await ear.listen()
    await _measured("heard")
    if stream:
        stream.flush()
    await ear.listen()
    await _measured("flushed")
    if stream:
        await stream.aclose()
    ctx.shutdown()


async def _talk(talk: Any, ctx: JobContext) -> None:  # noqa: ANN401 - others do not import it
    talk.begin(ctx.job.room.name)
    await _measured("loaded")
    times = await talk.talk((folder / "loaded.measured").stat().st_mtime + 1)
    (folder / f"times.{os.getpid()}").write_text(json.dumps(times))
    await _measured("heard")
    await _measured("flushed")  # nothing is
    ctx.shutdown()


class _Ear:
    """Pushes audio into a VAD stream and reads its events, or into a processor, or into nothing."""

    def __init__(self, stream: VADStream | None, process: Callable[..., object] | None) -> None:
        self._stream = stream
        self._process = process
        self._windows = 0
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read()) if stream else None

    async def _read(self) -> None:
        assert self._stream is not None
        async for event in self._stream:
            self._windows += event.type is VADEventType.INFERENCE_DONE
            self._news.set()

    async def listen(self) -> None:
        """Push the call, at most three windows of 32 ms ahead of the events."""
        before = self._windows
        with (folder / CALL).open("rb") as call:
            for count, data in enumerate(iter(lambda: call.read(2 * FRAME), b""), start=1):
                frame = rtc.AudioFrame(data, RATE, 1, FRAME)
                if self._stream:
                    self._stream.push_frame(frame)
                if self._process:
                    self._process(frame)
                await asyncio.sleep(0)
                due = count * FRAME * 16 // 24 // 512 - 3
                while self._stream and self._windows - before < due:
                    self._news.clear()
                    await self._news.wait()
        await asyncio.sleep(0.2)  # the last windows


async def _measured(phase: str) -> None:
    (folder / f"{phase}.{os.getpid()}").touch()
    await _appears(folder / f"{phase}.measured")


async def _appears(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.05)


async def work() -> None:
    """Run the worker with its jobs until ``over`` appears."""
    started = asyncio.Event()
    server.once("worker_started", started.set)
    running = asyncio.create_task(server.run(devmode=True, unregistered=True))
    over: asyncio.Task[Any] = asyncio.create_task(_appears(folder / "over"))
    await started.wait()
    for number in range(jobs):
        await server.simulate_job(f"room {number}", fake_job=True, agent_identity="agent")
    await asyncio.wait((running, over), return_when=asyncio.FIRST_COMPLETED)
    await server.aclose()
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(work())
