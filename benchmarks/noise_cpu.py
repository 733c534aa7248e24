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
from typing import Any

import numpy as np
from livekit import rtc

from nearvoice import Denoiser
from nearvoice.audio import PCM, Samples, resample, to_float32, to_int16

from . import noise_systems, rounds, systems
from .noise_systems import BVC, DENOISE, DTLN, HUSH, NC, NOTHING, Stream, System
from .playback import frames, recording
from .rounds import spread
from .settings import Settings
from .show import Columns, table
from .sounds import level
from .store import Store
from .systems import NotCompiledError

SECONDS = 5.0
"""Of sound in a turn."""
SNR = 15.0
"""dB of the call above the noise that is added: a clean line would be passed on as it is."""
KERNELS = ("numba", "onnxruntime", "numpy")
FRAMES = (50, 10)
"""Milliseconds of a frame: what a room delivers by default, and what a track does."""
STALL_SECONDS = 3.0
FEW, QUICK_FEW = 3, 1
"""Rounds of what takes long: a loop in real time, and new processes; and in a quick run."""
LOOP, START = "loop", "start"
Costs = dict[str, Any]
"""Of a round, in µs of CPU for 10 ms: "frames" of each frame, "thread" and "process" of all."""
PEERS = {"ratio_to_dtln": DTLN, "ratio_to_hush": HUSH}


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Measure what every system costs for 10 ms of sound, systems in turn; and what else they do.

    Raises:
        NotCompiledError: The numba kernel has not been compiled.
    """
    check_compiled()
    systems.compile_bytecode()
    loaded, missing = noise_systems.load(_systems())
    call = noisy(recording(settings.audio, 48_000, SECONDS))
    few = QUICK_FEW if settings.quick else min(settings.rounds, FEW)
    store.note(
        {
            "rounds": settings.rounds,
            "few": few,
            "versions": {name: system.version for name, system in loaded.items()},
            "missing": missing,
        }
    )
    for frame_ms in FRAMES:
        measure_costs(store, loaded, call, frame_ms, settings.rounds)
    measure_stalls(store, loaded, call, few)
    programs = started(loaded)
    # the first round fills the disk cache
    rounds.measure(store, START, programs, few, lambda name: _start(programs[name]), warm_up=True)


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


def measure_costs(
    store: Store, loaded: Mapping[str, System], call: PCM, frame_ms: int, count: int
) -> None:
    """Keep the CPU of each system and round: µs for 10 ms of each frame, and of all."""
    streams = {name: system.open() for name, system in loaded.items()}
    sounds = {
        rate: frames(resample(call, 48_000, rate), rate, frame_ms)
        for rate in {system.rate for system in loaded.values()}
    }

    def ask(name: str) -> Costs:
        heard = sounds[loaded[name].rate]
        before = time.process_time_ns()
        spent = [cost(streams[name], frame) for frame in heard]
        whole = time.process_time_ns() - before
        blocks = frame_ms / 10 * 1e3
        return {
            "frames": [round(one / blocks, 2) for one in spent],
            "thread": sum(spent) / blocks / len(heard),
            "process": whole / blocks / len(heard),
        }

    # the first round warms up: caches, and what a stream only does once
    rounds.measure(store, _cpu(frame_ms), loaded, count, ask, warm_up=True)


def _cpu(frame_ms: int) -> str:
    return f"frames of {frame_ms} ms"


def cost(stream: Stream, frame: rtc.AudioFrame) -> int:
    """Return the nanoseconds of this thread that a stream takes for a frame."""
    began = time.thread_time_ns()
    stream(frame)
    return time.thread_time_ns() - began


def figures(costs: Mapping[str, Sequence[Costs]], name: str) -> dict[str, Any]:
    """Return the figures of a system, of its costs in each round and those of others."""
    own = costs[name]
    every = [one for turn in own for one in turn["frames"]]
    return {
        "us_per_10ms": spread([turn["thread"] for turn in own]),
        "process_us_per_10ms": spread([turn["process"] for turn in own]),
        "frame_median_us_per_10ms": round(statistics.median(every), 1),
        "frame_p99_us_per_10ms": round(float(np.percentile(every, 99)), 1),
        **{
            figure: spread(
                [a["thread"] / b["thread"] for a, b in zip(own, costs[peer], strict=True)]
            )
            for figure, peer in PEERS.items()
            if peer in costs
        },
    }


# ---- the event loop ---------------------------------------------------------------------------


def measure_stalls(store: Store, loaded: Mapping[str, System], call: PCM, count: int) -> None:
    """Keep for how many ms each system holds up an event loop: the median frame, the longest."""

    def ask(name: str) -> dict[str, float]:
        system = loaded[name]
        pcm = np.resize(resample(call, 48_000, system.rate), int(STALL_SECONDS * system.rate))
        held = asyncio.run(_stall(system.open(), frames(pcm, system.rate)))
        return {"median_ms": statistics.median(held), "longest_ms": max(held)}

    rounds.measure(store, LOOP, loaded, count, ask)


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


def started(names: Container[str]) -> dict[str, str]:
    """Return programs that import, load and hear a first frame, of those that can be measured."""
    return {
        name: PROGRAM.format(imports=imports, load=load)
        for name, (imports, load) in steps().items()
        if name in names
    }


def _start(program: str) -> dict[str, float]:
    """Return what a program says that it took, in a new process (Linux)."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return medians and ratios of the rounds."""
    about = store.about()
    rows: dict[str, Any] = about["missing"] | {
        name: {"version": version} for name, version in about["versions"].items()
    }
    names = about["versions"]
    for frame_ms in FRAMES:
        costs = rounds.measured(store, _cpu(frame_ms), names, about["rounds"])
        for name in names:
            rows[name][_cpu(frame_ms)] = figures(costs, name)
    for name, held in rounds.measured(store, LOOP, names, about["few"]).items():
        rows[name]["loop"] = {key: spread([one[key] for one in held]) for key in held[0]}
    for name, found in rounds.measured(store, START, started(names), about["few"]).items():
        rows[name]["start"] = {
            key: round(statistics.median(one[key] for one in found), 1) for key in found[0]
        }
    return {
        "task": "noise-cpu",
        "what": "µs of CPU for 10 ms of a noisy call (24 kHz; libraries at their own rate), int16 "
        "in and out: of the calling thread, and of the process; ms of a frame at the 99th "
        "percentile; ms for which an event loop stands still, in real time; ms and MiB to load",
        "rounds": about["rounds"],
        "systems": {name: rows[name] for name in _systems()},
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
