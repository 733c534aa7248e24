"""What a stream costs with each noise suppressor: CPU, what it holds up, and how long it loads.

Systems take turns in one process, each with a stream that goes on from round to round. CPU time
counts, not the clock: of the thread that calls ``_process``, and of the whole process, where a
suppressor has threads of its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from livekit import rtc

from nearvoice import Denoiser
from nearvoice.audio import PCM, Samples, resample, to_float32, to_int16

from . import noise_systems
from .noise_systems import BVC, DENOISE, DTLN, HUSH, NC, NOTHING, Stream, System
from .playback import frames, recording
from .rounds import spread, turns
from .show import Columns, table
from .sounds import level
from .systems import NotCompiledError

SECONDS = 5.0
"""Of sound in a turn."""
SNR = 15.0
"""dB of the call above the noise that is added: a clean line would be passed on as it is."""
KERNELS = ("numba", "onnxruntime", "numpy")
FRAMES = (50, 10)
"""Milliseconds of a frame: what a room delivers by default, and what a track does."""
STALL_SECONDS = 5.0
PEERS = {"ratio_to_dtln": DTLN, "ratio_to_hush": HUSH}


def cpu(path: Path, rounds: int) -> dict[str, Any]:
    """Return what every system costs for 10 ms of sound, systems in turn.

    Args:
        path: 16-bit WAV of a call.
        rounds: Turns of each system.

    Raises:
        NotCompiledError: The numba kernel has not been compiled.
    """
    check_compiled()
    loaded, rows = noise_systems.load(_systems())
    call = noisy(recording(path, 48_000, SECONDS))
    for name, system in loaded.items():
        rows[name] = {"version": system.version}
    for frame_ms in FRAMES:
        costs = _costs(loaded, call, frame_ms, rounds)
        for name, figures in costs.items():
            rows[name][f"frames of {frame_ms} ms"] = _figures(costs, name, figures)
    for name, found in _stalls(loaded, call, min(rounds, 3)).items():
        rows[name]["loop"] = found
    for name, found in _starts(loaded, min(rounds, 3)).items():
        rows[name]["start"] = found
    return {
        "task": "noise-cpu",
        "what": "µs of CPU for 10 ms of a noisy call (24 kHz; libraries at their own rate), int16 "
        "in and out: of the calling thread, and of the process; ms of a frame at the 99th "
        "percentile; ms for which an event loop stands still, in real time; ms and MiB to load",
        "rounds": rounds,
        "systems": {name: rows[name] for name in _systems()},
    }


def _systems() -> dict[str, Callable[[], System]]:
    kernels = noise_systems.kernels(*KERNELS)
    others = {k: v for k, v in noise_systems.SYSTEMS.items() if k not in (NC, BVC)}
    return {NOTHING: others.pop(NOTHING), **kernels, **others}


def check_compiled() -> None:
    """Make sure that ``kernel="numba"`` is measured where a row says so.

    Raises:
        NotCompiledError: Another kernel would take its place.
    """
    for model in ("gtcrn", "hush"):
        kernel = Denoiser(model, kernel="numba").kernel
        if kernel != "numba":
            raise NotCompiledError(f"{model}: {kernel}")


def noisy(call: PCM) -> PCM:
    """Return a call with white noise under it, made from a seed."""
    return to_int16(to_float32(call) + hiss(call))


def hiss(call: PCM) -> Samples:
    """Return that noise alone, as long as the call."""
    noise = np.random.default_rng(0).standard_normal(len(call)).astype(np.float32)
    gain = 10 ** ((level(to_float32(call)) - SNR) / 20)
    return np.float32(gain) * noise


# ---- CPU --------------------------------------------------------------------------------------


class _Costs:
    """CPU of one system: µs for 10 ms of each frame, and of each round."""

    def __init__(self) -> None:
        self.frames: list[float] = []
        self.thread: list[float] = []
        self.process: list[float] = []


def _costs(
    loaded: Mapping[str, System], call: PCM, frame_ms: int, rounds: int
) -> dict[str, _Costs]:
    streams = {name: system.open() for name, system in loaded.items()}
    sounds = {
        rate: frames(resample(call, 48_000, rate), rate, frame_ms)
        for rate in {system.rate for system in loaded.values()}
    }
    costs = {name: _Costs() for name in loaded}
    # the first round warms up: caches, and what a stream only does once
    for turn, name in turns(rounds + 1, loaded, f"noise-cpu, {frame_ms} ms"):
        heard = sounds[loaded[name].rate]
        before = time.process_time_ns()
        spent = [cost(streams[name], frame) for frame in heard]
        whole = time.process_time_ns() - before
        if not turn:
            continue
        blocks = frame_ms / 10 * 1e3
        costs[name].frames += [one / blocks for one in spent]
        costs[name].thread.append(sum(spent) / blocks / len(heard))
        costs[name].process.append(whole / blocks / len(heard))
    return costs


def cost(stream: Stream, frame: rtc.AudioFrame) -> int:
    """Return the nanoseconds of this thread that a stream takes for a frame."""
    began = time.thread_time_ns()
    stream(frame)
    return time.thread_time_ns() - began


def _figures(costs: Mapping[str, _Costs], name: str, own: _Costs) -> dict[str, Any]:
    return {
        "us_per_10ms": spread(own.thread),
        "process_us_per_10ms": spread(own.process),
        "frame_median_us_per_10ms": round(statistics.median(own.frames), 1),
        "frame_p99_us_per_10ms": round(float(np.percentile(own.frames, 99)), 1),
        **{
            figure: spread([a / b for a, b in zip(own.thread, costs[peer].thread, strict=True)])
            for figure, peer in PEERS.items()
            if peer in costs
        },
    }


# ---- the event loop ---------------------------------------------------------------------------


def _stalls(loaded: Mapping[str, System], call: PCM, rounds: int) -> dict[str, dict[str, Any]]:
    measured: dict[str, list[list[float]]] = {name: [] for name in loaded}
    for _, name in turns(rounds, loaded, "noise-cpu, loop"):
        system = loaded[name]
        pcm = np.resize(resample(call, 48_000, system.rate), int(STALL_SECONDS * system.rate))
        heard = frames(pcm, system.rate)
        measured[name].append(asyncio.run(_stall(system.open(), heard)))
    return {
        name: {
            "median_ms": spread([statistics.median(one) for one in stalls]),
            "longest_ms": spread([max(one) for one in stalls]),
        }
        for name, stalls in measured.items()
    }


async def _stall(stream: Stream, heard: Sequence[rtc.AudioFrame]) -> list[float]:
    """Return for how many ms each frame, coming in real time, keeps the loop from other tasks."""
    loop = asyncio.get_running_loop()
    stream(heard[0])  # what is only done once is in the time of loading
    began = loop.time()
    held: list[float] = []
    for number, frame in enumerate(heard[1:], start=1):
        await asyncio.sleep(max(0.0, began + number * 0.05 - loop.time()))
        woken: asyncio.Future[float] = loop.create_future()
        asked = time.perf_counter()
        loop.call_soon(_note, woken)
        stream(frame)
        held.append((await woken - asked) * 1e3)
    return held


def _note(then: asyncio.Future[float]) -> None:
    then.set_result(time.perf_counter())


# ---- start ------------------------------------------------------------------------------------

PROGRAM = """
import json, os, time
import livekit.agents
from livekit import rtc
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
memory, began, busy = resident(), time.perf_counter(), time.process_time()
{imports}
processor = {load}
loaded, cpu = time.perf_counter(), time.process_time()
processor._process(rtc.AudioFrame(bytes(range(1, 101)) * 24, 24000, 1, 1200))
print(json.dumps({{
    "load_ms": (loaded - began) * 1e3,
    "load_cpu_ms": (cpu - busy) * 1e3,
    "first_frame_ms": (time.perf_counter() - loaded) * 1e3,
    "mib": resident() - memory,
}}), flush=True)
os._exit(0)  # LiveKit's native library now and then aborts a process that ends by itself
"""


def steps(kernels: Sequence[str] = KERNELS) -> dict[str, tuple[str, str]]:
    """Return system -> (import, load) as its documentation has them, of plugins of LiveKit."""
    ours = "from livekit.plugins.nearvoice import noise_cancellation"
    denoise = "livekit.plugins.telephony_denoise"
    options = "DenoiseOptions(enhancer='webrtc')"
    return {
        **{
            f"{name} {kernel}": (ours, f"noise_cancellation.{short}(kernel={kernel!r})")
            for name, short in ((NC, "NC"), (BVC, "BVC"))
            for kernel in kernels
        },
        DTLN: ("from livekit.plugins import dtln", "dtln.noise_suppression()"),
        HUSH: ("from livekit.plugins import hush", "hush.noise_suppression()"),
        DENOISE: (f"import {denoise} as it", f"it.TelephonyDenoiser(it.{options})"),
    }


def _starts(names: Container[str], rounds: int) -> dict[str, dict[str, float]]:
    """Return what import, load and the first frame take, in new processes (Linux)."""
    taken = {name: step for name, step in steps().items() if name in names}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in taken}
    for turn, name in turns(rounds + 1, taken, "noise-cpu, start"):
        imports, load = taken[name]
        program = PROGRAM.format(imports=imports, load=load)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if turn:  # the first round fills the disk cache
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: {key: round(statistics.median(one[key] for one in found), 1) for key in found[0]}
        for name, found in measured.items()
    }


# ---- report -----------------------------------------------------------------------------------

_ROOM, _TRACK = (f"frames of {frame_ms} ms" for frame_ms in FRAMES)
COLUMNS: Columns = {
    "µs": (_ROOM, "us_per_10ms", "median"),
    "process": (_ROOM, "process_us_per_10ms", "median"),
    "p99": (_ROOM, "frame_p99_us_per_10ms"),
    "/ dtln": (_ROOM, "ratio_to_dtln", "median"),
    "/ hush": (_ROOM, "ratio_to_hush", "median"),
    "µs, 10 ms": (_TRACK, "us_per_10ms", "median"),
    "p99, 10 ms": (_TRACK, "frame_p99_us_per_10ms"),
    "held ms": ("loop", "median_ms", "median"),
    "longest": ("loop", "longest_ms", "median"),
    "load ms": ("start", "load_ms"),
    "first ms": ("start", "first_frame_ms"),
    "MiB": ("start", "mib"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
