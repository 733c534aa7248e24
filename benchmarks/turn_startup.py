"""What a process pays for a turn detector: imports, load, first prediction, and memory.

In new processes, started in turn; pages of the disk are in memory after the first round.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from . import rounds, systems, turn_shape, turn_systems
from .progress import track
from .rounds import spread
from .settings import Settings
from .show import Columns, table
from .store import Store
from .turn_worker import official_environment


class Step(NamedTuple):
    """How a process has a turn detector, in Python."""

    libraries: str
    """Imports of packages that others made."""
    imports: str
    load: str
    """Makes ``loaded``."""
    predict: str
    before: str = ""
    """What is not timed."""


_CHAT = (
    "hello how can i help you today",
    "i would like to change the address of my order please",
    "sure what is the new address",
    "it is twelve",
)
_SAID = [
    {"role": role, "content": text}
    for role, text in zip(("assistant", "user") * 2, _CHAT, strict=True)
]
_ASKED = f"chat = {_SAID!r}\n"
_SOUND = "sound = numpy.random.default_rng(0).normal(0, 1e3, {}).astype(numpy.int16)\n"

PROGRAM = """
import asyncio, json, os, sys, time, warnings
import numpy
import livekit.agents
from livekit.agents import llm
from benchmarks import proc
warnings.simplefilter("ignore")
{before}
held, times = proc.memory("self"), [time.perf_counter()]
{libraries}
times.append(time.perf_counter())
{imports}
times.append(time.perf_counter())
{load}
times.append(time.perf_counter())
{predict}
times.append(time.perf_counter())
for _ in range(20):
    {predict}
now = proc.memory("self")
names = ("libraries_ms", "own_imports_ms", "load_ms", "first_ms")
found = {{name: (b - a) * 1e3 for name, a, b in zip(names, times, times[1:])}}
found["imports_ms"] = found["libraries_ms"] + found["own_imports_ms"]
found["cold_ms"] = found["imports_ms"] + found["load_ms"]
found["unique_mib"], found["resident_mib"] = now.unique - held.unique, now.resident - held.resident
print(json.dumps(found), flush=True)
os._exit(0)  # LiveKit's native library now and then aborts a process that ends by itself
"""


def steps(folder: Path) -> dict[str, Step]:
    """Return system -> its steps; ``folder`` is that of :func:`benchmarks.turn_shape.shape`."""
    detector = "from livekit.plugins.nearvoice.turn_detector import MultilingualModel"
    libraries = "from nearvoice import onnx_session\nonnx_session.runtime()\nimport tokenizers"
    ask = "asyncio.run(loaded.predict_end_of_turn(chat, timeout=60))"
    chat = f"{_ASKED}chat = llm.ChatContext.from_dict({{'items': [dict(one, type='message') "
    chat += "| {'content': [one['content']]} for one in chat]})"
    return {
        turn_systems.OURS: Step(libraries, detector, "loaded = MultilingualModel()", ask, chat),
        turn_systems.SHAPE: Step(
            libraries,
            detector,
            f"loaded = MultilingualModel(model={str(folder / 'bundle')!r})",
            ask,
            chat,
        ),
        turn_systems.OFFICIAL: Step(
            "import onnxruntime\nfrom transformers import AutoTokenizer",
            "from livekit.plugins.turn_detector.multilingual import _EUORunnerMultilingual",
            "loaded = _EUORunnerMultilingual()\nloaded.initialize()",
            "loaded.run(asked)",
            f"{official_environment(folder)}\n{_ASKED}"
            "asked = json.dumps({'chat_ctx': chat}).encode()",
        ),
        turn_systems.SMART: Step(
            "import onnxruntime, soxr",
            "from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import "
            "LocalSmartTurnAnalyzerV3",
            "loaded = LocalSmartTurnAnalyzerV3(cpu_count=1)",
            "loaded._predict_endpoint(sound)",
            _SOUND.format(128_000)
            + "sound = (sound / 32768).astype(numpy.float32)\n"
            + "from loguru import logger\nlogger.disable('pipecat')",
        ),
        turn_systems.AUDIO: Step(
            "pass",
            "from livekit.local_inference import EOT",
            "loaded = EOT()",
            "loaded.predict(sound)",
            _SOUND.format(19_200),
        ),
    }


WHAT = "turn-startup"
ROUNDS = 3
"""Enough: each system takes seconds, and hardly differs from round to round."""


# ---- predict ----------------------------------------------------------------------------------


def predict(settings: Settings, store: Store) -> None:
    """Measure what a new process pays for each system (Linux), systems in turn."""
    systems.compile_bytecode()
    folder, missing = _shape(settings.quick)
    taken = {name: step for name, step in steps(folder).items() if name not in missing}
    for name in track([*taken], f"{WHAT}, pages of the disk"):
        try:
            start(taken[name])
        except ImportError as error:
            missing[name] = {"missing": turn_systems.reason(name, error)}
    count = 1 if settings.quick else min(settings.rounds, ROUNDS)
    there = [name for name in taken if name not in missing]
    store.note(
        {
            "rounds": count,
            "bundle": turn_systems.bundle(),
            "systems": [*steps(folder)],
            "missing": missing,
        }
    )
    rounds.measure(store, WHAT, there, count, lambda name: start(taken[name]))


def start(step: Step) -> dict[str, float]:
    """Return ms and MiB of a system in a new process.

    Raises:
        ImportError: It ends with an error.
    """
    command = [sys.executable, "-c", PROGRAM.format(**step._asdict())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImportError(*done.stderr.strip().splitlines()[-1:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _shape(quick: bool) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the networks, and a row for what needs them if they cannot be made."""
    try:
        return turn_shape.shape(quick=quick), {}
    except systems.MISSING as error:
        names = (turn_systems.SHAPE, turn_systems.OFFICIAL)
        return Path(), {name: {"missing": turn_systems.reason(name, error)} for name in names}


# ---- score ------------------------------------------------------------------------------------


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return medians of the rounds."""
    about = store.about()
    there = [name for name in about["systems"] if name not in about["missing"]]
    found = rounds.measured(store, WHAT, there, about["rounds"])
    rows = {
        name: {key: spread([one[key] for one in kept]) for key in kept[0]}
        for name, kept in found.items()
    } | about["missing"]
    return {
        "task": "turn-startup",
        "what": "ms from livekit.agents and numpy on, in a new process: imports (of others' "
        "libraries, and of its own modules), load, first prediction; cold_ms is imports and load. "
        "MiB added by all that and 20 predictions. The 0.5B shape has random weights and "
        "our vocabulary: less to load and to hold than with Qwen's. transformers finds no torch",
        "rounds": about["rounds"],
        "bundle": about["bundle"],
        "systems": {name: rows[name] for name in about["systems"]},
    }


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    "libraries": ("libraries_ms", "median"),
    "imports": ("imports_ms", "median"),
    "load": ("load_ms", "median"),
    "cold": ("cold_ms", "median"),
    "first": ("first_ms", "median"),
    "unique MiB": ("unique_mib", "median"),
    "RSS MiB": ("resident_mib", "median"),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
