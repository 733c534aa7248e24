"""What a worker pays before it hears: import, load and first event of a VAD, in new processes."""

import json
import statistics
import subprocess
import sys
from typing import Any

from . import systems
from .rounds import turns


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


def startup(rounds: int) -> dict[str, Any]:
    """Return milliseconds and MiB on top of ``import livekit.agents`` (Linux), systems in turn.

    Args:
        rounds: Turns of each system.

    Raises:
        NotCompiledError: The numba kernel has not been compiled.
    """
    systems.check_compiled()
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in STEPS}
    for turn, name in turns(rounds + 1, STEPS, "startup"):
        imports, load = STEPS[name]
        program = PROGRAM.format(imports=imports, load=load)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if turn:  # the first round fills the disk cache
            measured[name].append(json.loads(done.stdout))
    return {
        "task": "startup",
        "what": "ms and MiB from livekit.agents to the first event, in a new process",
        "rounds": rounds,
        "systems": {
            name: {key: round(statistics.median(v[key] for v in values), 1) for key in values[0]}
            for name, values in measured.items()
        },
    }
