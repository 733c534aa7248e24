"""What a VAD costs: CPU of the plugin path, time of one window, memory of a stream.

The audio is the sample call that ``nearvoice download-files`` fetches, or any 16-bit WAV file.
"""

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents.vad import VAD, VADEventType

from nearvoice import SileroVAD
from nearvoice.audio import PCM, resample, to_float32

from . import systems

RATE = 24_000
FRAME = 1_200
"""Samples of a frame: what a room delivers by default, 50 ms at 24 kHz."""


def recording(path: Path, rate: int, seconds: float) -> PCM:
    """Return int16 mono audio of ``path`` at ``rate`` Hz, repeated or cut to ``seconds``."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        at_rate = resample(pcm[:: file.getnchannels()], file.getframerate(), rate)
    return np.resize(at_rate, int(seconds * rate))


def frames(pcm: PCM) -> list[rtc.AudioFrame]:
    """Cut audio at 24 kHz into frames of 50 ms."""
    return [
        rtc.AudioFrame(pcm[i : i + FRAME].tobytes(), RATE, 1, FRAME)
        for i in range(0, len(pcm) - FRAME + 1, FRAME)
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


# ---- CPU of the plugin path -------------------------------------------------------------------


def cpu(path: Path, rounds: int, seconds: float = 30.0) -> dict[str, Any]:
    """Return CPU milliseconds per second of audio of every VAD: frames pushed, events read.

    All in one process and in turn, A B C A B C; the CPU time is that of the whole process, worker
    threads included. The pusher waits for the events of earlier frames, so nothing piles up.
    """
    audio = frames(recording(path, RATE, seconds))
    loaded = {name: load() for name, load in systems.VADS.items()}
    costs: dict[str, list[float]] = {name: [] for name in loaded}
    latencies: dict[str, list[float]] = {name: [] for name in loaded}
    asyncio.run(_cpu_rounds(loaded, audio, rounds, costs, latencies))
    return {
        "task": "vad-cpu",
        "what": "CPU ms per second of audio, 24 kHz, frames of 50 ms, one stream",
        "rounds": rounds,
        "seconds": seconds,
        "systems": {
            name: {
                "cpu_ms_per_audio_s": spread(costs[name]),
                "inference_us": spread([d * 1e6 for d in latencies[name]]),
                "ratio_to_plugin": _ratio(costs[name], costs[systems.PEER]),
                "ratio_to_native": _ratio(costs[name], costs[systems.NATIVE]),
            }
            for name in loaded
        },
    }


def _ratio(costs: Sequence[float], peer: Sequence[float]) -> dict[str, float]:
    return spread([ours / theirs for ours, theirs in zip(costs, peer, strict=True)])


async def _cpu_rounds(
    loaded: dict[str, VAD],
    audio: list[rtc.AudioFrame],
    rounds: int,
    costs: dict[str, list[float]],
    latencies: dict[str, list[float]],
) -> None:
    for turn in range(rounds + 1):
        for name, vad in loaded.items():
            gc.collect()
            started = time.process_time()
            durations = await _listen(vad, audio)
            used = time.process_time() - started
            if turn:  # the first round warms up
                costs[name].append(used * 1e3 / (len(audio) * FRAME / RATE))
                latencies[name].append(statistics.median(durations))
        print(f"round {turn} of {rounds}", file=sys.stderr)


async def _listen(vad: VAD, audio: list[rtc.AudioFrame]) -> list[float]:
    """Push every frame, at most three windows ahead of the events; return inference durations."""
    stream = vad.stream()
    durations: list[float] = []
    heard = asyncio.Event()

    async def collect() -> None:
        async for event in stream:
            if event.type is VADEventType.INFERENCE_DONE:
                durations.append(event.inference_duration)
                heard.set()

    reader = asyncio.create_task(collect())
    for i, frame in enumerate(audio, start=1):
        stream.push_frame(frame)
        await asyncio.sleep(0)
        while len(durations) < i * FRAME * 16 // 24 // 512 - 3:
            heard.clear()
            await heard.wait()
    stream.end_input()
    await reader
    await stream.aclose()
    return durations


# ---- one window -------------------------------------------------------------------------------


def window(path: Path, rounds: int) -> dict[str, Any]:
    """Return microseconds of one 32 ms window through each kernel, back to back, in turn."""
    samples = to_float32(recording(path, 16_000, 30.0))
    networks = {name: SileroVAD(kernel=name) for name in ("numpy", "onnxruntime")}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(rounds + 1):
        for name, network in networks.items():
            took = _time_windows(network, samples)
            if turn:
                times[name].append(took)
    return {
        "task": "vad-window",
        "what": "µs of SileroVAD.step for a window of 512 samples at 16 kHz",
        "rounds": rounds,
        "systems": {
            name: {"us_per_window": spread(values), "ratio": _ratio(values, times["onnxruntime"])}
            for name, values in times.items()
        },
    }


def _time_windows(network: SileroVAD, samples: np.ndarray) -> float:
    windows = samples[: len(samples) // 512 * 512].reshape(-1, 512)
    state = network.initial_state()
    started = time.perf_counter()
    for one in windows:
        _, state = network.step(one, state)
    return (time.perf_counter() - started) / len(windows) * 1e6


# ---- memory of a stream -----------------------------------------------------------------------


def memory(path: Path, streams: int) -> dict[str, Any]:
    """Return KiB per stream that listened for 10 s, and after a flush; a process each."""
    results = {}
    for name in systems.VADS:
        command = [sys.executable, "-m", "benchmarks.vad", name, str(path), str(streams)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr.strip().splitlines()[-1]}")
        results[name] = json.loads(done.stdout)
        print(f"{name}: {results[name]}", file=sys.stderr)
    return {
        "task": "vad-memory",
        "what": f"KiB per stream of {streams} streams on one loaded VAD, 10 s of a call each",
        "streams": streams,
        "systems": results,
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
    due = len(audio) * FRAME * 16 // 24 // 512 - 1
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
