"""How near each network is to what the processor could do: its arithmetic, and its weights.

The floor of a step is the longer of two times: its multiplications at the speed of a large product
of matrices, and its weights once through the core, from where they are between two steps.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from nearvoice import files, networks
from nearvoice.turn import locate
from nearvoice.turn_network import TurnNetwork

from . import macs, noise_cpu, rounds, systems
from .rounds import spread
from .settings import Settings
from .show import Columns, table
from .store import Store
from .window import MODES, block

CALLS = {"hot": 300, "cold": 40}
"""Mode, see :data:`benchmarks.window.MODES`, to steps of a round."""
FAR = 1 << 28
"""Bytes that are in no cache."""
MACHINE = "machine"

PROGRAM = """
import json, sys, time
import numpy as np
def seconds(call, least=0.05):
    times = []
    while sum(times) < least or len(times) < 5:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
a = np.random.default_rng(0).random((1024, 1024), np.float32)
found = {"gflops": 2 * 1024**3 / seconds(lambda: a @ a) / 1e9, "gb_s": {}}
for size in map(int, sys.argv[1:]):
    half = np.ones(max(size // 8, 16), np.float32)
    other = np.ones_like(half)
    many = max(1, (1 << 22) // size)
    def read():
        for _ in range(many):
            half @ other
    read()
    found["gb_s"][size] = many * 2 * half.nbytes / seconds(read) / 1e9
print(json.dumps(found))
"""
"""What one core does: float32 products, and bytes read again and again, by their number."""


class Network(NamedTuple):
    """What is compared with its floor."""

    step: Callable[[], object]
    every: float | None
    """Seconds from one step to the next; None where there is no such time."""
    macs: int
    """Multiply-adds of a step, of the graph as it was published."""
    bytes: int
    """Of weights that a step reads; 0 where that is not known."""
    of: str
    """What a step is."""


# ---- networks ---------------------------------------------------------------------------------


def every() -> dict[str, Callable[[], Network]]:
    """Return name -> what loads a network."""
    return {
        "Silero, compiled": lambda: _silero("numba"),
        "Silero, numpy": lambda: _silero("numpy"),
        "Silero, onnxruntime": lambda: _silero("onnxruntime"),
        **{
            f"{label}, {words}": lambda model=model, kernel=kernel: _denoiser(model, kernel)  # type: ignore[misc]
            for model, label in (("gtcrn", "GTCRN (NC)"), ("hush", "Hush (BVC)"))
            for kernel, words in (("numba", "compiled"), ("onnxruntime", "onnxruntime"))
        },
        "turn detector, 128 tokens": lambda: _turn(0, 128),
        "turn detector, 4 tokens more": lambda: _turn(124, 128),
    }


def _noise(*shape: int) -> Any:  # noqa: ANN401 - float32
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def _silero(kernel: systems.Kernel) -> Network:
    model = systems.model(16_000, kernel)
    state, window = model.initial_state(), _noise(model.window)

    def step() -> None:
        nonlocal state
        _, state = model.step(window, state)

    context = {"input": _noise(1, 576), "sr": np.array(16_000)}
    multiplied = macs.count(files.path("silero_vad.onnx"), context)
    return Network(step, 0.032, multiplied, _bytes(model._network), "a window of 32 ms")


def _denoiser(model: str, kernel: networks.Kernel) -> Network:
    network = networks.load(model, kernel)
    memory = network.model.initial_memory()
    spectrum = _noise(network.model.shape.bins).astype(np.complex64)
    multiplied = sum(macs.count(files.path(name)) for name in network.model.files)
    hop = network.model.shape.duration / 2
    of = f"a hop of {1000 * hop:.0f} ms"
    return Network(lambda: network.run(spectrum, memory), hop, multiplied, _bytes(network.run), of)


def _turn(known: int, tokens: int) -> Network:
    path = locate("nearvoice").model
    network = TurnNetwork(path)
    before = network.read(tuple(range(known))) if known else None
    wanted = tuple(range(tokens))
    new = np.zeros((1, tokens - known), np.int64)
    past = network._empty if before is None else before.past
    multiplied = macs.count(path, {"input_ids": new, "past": np.asarray(past)})
    return Network(lambda: network.read(wanted, before), None, multiplied, 0, "a prediction")


def _bytes(run: Any) -> int:  # noqa: ANN401 - a function
    """Return the bytes of the weights that a compiled network reads."""
    kept = getattr(run, "weights", ())
    return sum(one.nbytes for one in kept if isinstance(one, np.ndarray))


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Time the steps of every network, in turn, with caches warm and cold; and the processor.

    Raises:
        NotCompiledError: The numba kernels have not been compiled.
    """
    noise_cpu.check_compiled()
    loaded, missing = systems.load(every())
    known = {
        name: {"macs": one.macs, "bytes": one.bytes, "every": one.every, "of": one.of}
        for name, one in loaded.items()
    }
    store.note({"rounds": settings.rounds, "systems": known, "missing": missing})
    for mode, calls in CALLS.items():
        before, _ = MODES[mode]

        def ask(name: str, calls: int = calls, before: Callable[[], object] = before) -> float:
            return block(lambda _: loaded[name].step(), range(calls), before)

        rounds.measure(store, mode, loaded, settings.rounds, ask, warm_up=True)
    sizes = sorted({one.bytes for one in loaded.values() if one.bytes})
    rounds.measure(store, MACHINE, (MACHINE,), settings.rounds, lambda _: machine(sizes))


def machine(sizes: Collection[int]) -> dict[str, Any]:
    """Return GFLOP/s of one core, and GB/s that it reads, of sets of so many bytes and of memory.

    In a process of its own, as a library of products asks for its threads when it is loaded.
    """
    command = [sys.executable, "-c", PROGRAM, *map(str, sizes), str(FAR)]
    one = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | one, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return µs of a step of each network beside its floor."""
    about = store.about()
    count, known = about["rounds"], about["systems"]
    times = {mode: rounds.measured(store, mode, known, count) for mode in CALLS}
    (found,) = rounds.measured(store, MACHINE, (MACHINE,), count).values()
    core = {
        "gflops": round(max(one["gflops"] for one in found), 1),
        "gb_s": {
            size: round(max(one["gb_s"][size] for one in found), 1) for size in found[0]["gb_s"]
        },
    }
    return {
        "task": "floors",
        "what": "µs of a step of each network, with warm caches and after 16 MiB of other data; "
        "its floor: the longer of its multiplications at the speed of a product of 1024 x 1024 "
        "float32 matrices, and its weights read once, from the cache that they fit or from "
        "memory. Multiplications are those of the graph as it was published, padding too: a "
        "kernel may need fewer. int8 products could be faster than this floor",
        "rounds": count,
        "core": core,
        "systems": {
            name: row(one, {mode: times[mode][name] for mode in CALLS}, core)
            for name, one in known.items()
        }
        | about["missing"],
    }


def row(
    known: Mapping[str, Any], times: Mapping[str, list[float]], core: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of a network: µs, and how many times its floor they are.

    Args:
        known: What :func:`predict` kept of it.
        times: Mode -> µs of a step in each round.
        core: GFLOP/s, and GB/s by bytes.
    """
    arithmetic = 2 * known["macs"] / core["gflops"] / 1e3
    found: dict[str, Any] = {
        "of": known["of"],
        "mmacs": round(known["macs"] / 1e6, 3),
        "arithmetic_us": round(arithmetic, 2),
    }
    if known["every"]:
        found["real_time"] = round(known["every"] * 1e6 / statistics.median(times["hot"]))
    if known["bytes"]:
        found["weights_kb"] = round(known["bytes"] / 1e3, 1)
    for mode, size in (("hot", known["bytes"]), ("cold", FAR)):
        memory = known["bytes"] / core["gb_s"][str(size)] / 1e3 if size and known["bytes"] else 0.0
        floor = max(arithmetic, memory)
        found[mode] = {
            "us": spread(times[mode]),
            "floor_us": round(floor, 2),
            "times_floor": round(statistics.median(times[mode]) / floor, 2),
        }
    return found


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    "MMAC": ("mmacs",),
    "kB": ("weights_kb",),
    "µs": ("hot", "us", "median"),
    "floor": ("hot", "floor_us"),
    "x floor": ("hot", "times_floor"),
    "cold": ("cold", "us", "median"),
    "cold floor": ("cold", "floor_us"),
    "x cold floor": ("cold", "times_floor"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each network."""
    return table(result, COLUMNS)
