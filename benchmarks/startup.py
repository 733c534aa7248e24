"""What a worker pays before it hears: import, load and first event of a VAD, in new processes."""

import json
import statistics
import subprocess
import sys
from typing import Any

from . import rounds, systems
from .settings import Settings
from .store import Store


def ours(kernel: str) -> tuple[str, str]:
    """Return how our VAD is imported and loaded."""
    load = f"silero.VAD.load(kernel={kernel!r})"
    return "from livekit.plugins.nearvoice import silero", load


STEPS = {
    systems.PEER: (
        "from livekit.plugins import silero",
        "silero.VAD.load()",
    ),
    systems.NATIVE: (
        "from livekit.agents import inference",
        "inference.VAD()",
    ),
    "nearvoice, registered only": (
        "import livekit.plugins.nearvoice",
        "None",
    ),
    systems.OURS["numba"]: ours("numba"),
    systems.OURS["numpy"]: ours("numpy"),
}
"""System -> (import, load), as its documentation has them; None stops after the import."""

PROGRAM = """
import asyncio, json, os, time
import livekit.agents
from livekit import rtc
async def hear(vad):
    stream = vad.stream()
    for _ in range(2):
        stream.push_frame(rtc.AudioFrame(bytes(1024), 16000, 1, 512))
    async for _ in stream:
        break
    await stream.aclose()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
memory, began = resident(), time.perf_counter()
{imports}
imported = time.perf_counter()
loaded = {load}
ready = time.perf_counter()
if loaded:
    asyncio.run(hear(loaded))
heard = time.perf_counter()
print(json.dumps({{
    "import_ms": (imported - began) * 1e3,
    "load_ms": (ready - imported) * 1e3,
    "first_event_ms": (heard - ready) * 1e3,
    "mib": resident() - memory,
}}))
"""


WHAT = "startup"


def predict(settings: Settings, store: Store) -> None:
    """Measure each system in new processes, in turn.

    Raises:
        NotCompiledError: The numba kernel has not been compiled.
    """
    systems.check_compiled()
    systems.compile_bytecode()
    _, missing = systems.load(systems.VADS)
    there = [name for name in STEPS if name not in missing]
    store.note({"rounds": settings.rounds, "systems": there, "missing": missing})
    rounds.measure(store, WHAT, there, settings.rounds, _start, warm_up=True)


def _start(name: str) -> dict[str, float]:
    """Return ms and MiB on top of ``import livekit.agents`` (Linux), in a new process."""
    imports, load = STEPS[name]
    program = PROGRAM.format(imports=imports, load=load)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return medians of the rounds."""
    about = store.about()
    count = about["rounds"]
    found = rounds.measured(store, WHAT, about["systems"], count)
    return {
        "task": "startup",
        "what": "ms and MiB from livekit.agents to the first event, in a new process",
        "rounds": count,
        "systems": {
            name: {key: round(statistics.median(v[key] for v in values), 1) for key in values[0]}
            for name, values in found.items()
        }
        | about["missing"],
    }
