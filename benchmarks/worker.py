"""Memory of a worker whose jobs all hear a call: a real AgentServer, forkserver and job processes.

No LiveKit server is needed: the jobs are fake ones, and their audio comes from a file. What is read
is Linux's own account of each process, see :mod:`.proc`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import proc, rounds, startup, systems
from .playback import RATE, recording
from .proc import Memory, median, parse
from .rounds import spread
from .settings import Settings
from .store import Store

NONE = "no VAD"
"""A job without VAD: what all the others are compared with."""
SYSTEMS = {
    NONE: ("import livekit.agents", "None"),
    **{name: startup.STEPS[name] for name in (systems.PEER, systems.NATIVE)},
    **{name: startup.ours(kernel) for kernel, name in systems.OURS.items()},
}
"""System -> (import, load), as its documentation has them."""

BEFORE = "before"
PHASES = {
    BEFORE: "before load",
    "loaded": "loaded",
    "heard": "after a call",
    "flushed": "after flush and another call",
}
"""Name of a phase in ``worker_agent`` -> in a result. At the end of each all jobs wait and are
measured at once, but for the first: they are not started at once, so each measures itself."""
ROUNDS = 2
"""Enough: memory hardly differs from round to round, and each takes minutes."""
LIMIT = 180.0
"""Seconds within which all jobs must reach the next phase."""


class Worker(NamedTuple):
    """The memory of a worker."""

    jobs: dict[str, list[Memory]]
    """Phase -> each job."""
    forkserver: Memory
    """In the last phase."""
    total: float
    """Proportional MiB of all processes in the last phase: worker, forkserver, jobs, the rest."""
    shared: Sequence[Memory] = ()
    """In the last phase, what the forkserver made beside jobs: the inference process, if any."""
    times: Sequence[Sequence[float]] = ()
    """Job -> what each of its predictions took in ms; of turn detectors only."""


class Load(NamedTuple):
    """What a worker is measured with."""

    rounds: int
    """Turns of each system."""
    jobs: int
    """Job processes at once."""
    seconds: float
    """Length of the call that each of them hears."""


FULL, QUICK = Load(ROUNDS, 8, 60.0), Load(1, 4, 10.0)


def load(settings: Settings) -> Load:
    """Return what a run measures with."""
    return QUICK if settings.quick else FULL._replace(rounds=min(settings.rounds, ROUNDS))


def predict(settings: Settings, store: Store) -> None:
    """Measure the memory of a worker and its jobs; systems in turn, each in a new worker.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
        NotCompiledError: The numba kernel has not been compiled.
    """
    systems.check_compiled()
    _, missing = systems.load(systems.VADS)
    steps = {name: taken for name, taken in SYSTEMS.items() if name not in missing}
    store.note({**load(settings)._asdict(), "systems": [*steps], "missing": missing})
    measure(store, steps, settings.audio, load(settings))


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of a worker's processes."""
    about = store.about()
    jobs, seconds = about["jobs"], about["seconds"]
    return {
        "task": "worker-memory",
        "what": f"MiB of one of {jobs} job processes of a worker, each hearing a call of "
        f"{seconds:g} s (24 kHz, frames of 50 ms); and of the worker then",
        "rounds": about["rounds"],
        "jobs": jobs,
        "seconds": seconds,
        "systems": rows(measured(store, about["systems"], about["rounds"])) | about["missing"],
    }


WHAT = "worker"


def measure(store: Store, steps: Mapping[str, tuple[str, str]], path: Path, load: Load) -> None:
    """Measure a worker in each round of ``{system: (import, load)}``, systems in turn.

    What is loaded is a VAD, an ``rtc.FrameProcessor``, or None.

    Raises:
        RuntimeError: A worker ended early, or its jobs did not reach a phase in time.
    """
    with tempfile.NamedTemporaryFile(suffix=".pcm") as call:
        call.write(recording(path, RATE, load.seconds).tobytes())
        call.flush()
        rounds.measure(
            store,
            WHAT,
            steps,
            load.rounds,
            lambda name: run(steps[name], load.jobs, Path(call.name))._asdict(),
        )


def measured(store: Store, names: Iterable[str], count: int) -> dict[str, list[Worker]]:
    """Return what :func:`measure` kept: system -> its worker in each round."""
    kept = rounds.measured(store, WHAT, [*names], count)
    return {name: [_worker_of(one) for one in found] for name, found in kept.items()}


def _worker_of(kept: dict[str, Any]) -> Worker:
    """Return a worker that was kept as JSON, which has lists for tuples."""
    return Worker(
        {phase: [Memory(*one) for one in jobs] for phase, jobs in kept["jobs"].items()},
        Memory(*kept["forkserver"]),
        kept["total"],
        [Memory(*one) for one in kept["shared"]],
        kept["times"],
    )


# ---- from processes to rows -------------------------------------------------------------------


def rows(
    measured: Mapping[str, list[Worker]], none: str = NONE, above: str = "above_no_vad_mib"
) -> dict[str, dict[str, Any]]:
    """Return the figures of ``{system: [worker of each round]}``, a row for each phase.

    Figures of jobs are medians over the jobs of a round, spread over the rounds.

    Args:
        measured: Has ``none`` among the systems.
        none: What all are compared with.
        above: Name of the figure that says by how much a job is above that.
    """
    found: dict[str, dict[str, Any]] = {}
    for phase, words in PHASES.items():
        nothing = [median(worker.jobs[phase]) for worker in measured[none]]
        for name, workers in measured.items():
            job = [median(worker.jobs[phase]) for worker in workers]
            pairs = zip(job, nothing, strict=True)
            found[f"{name}, {words}"] = {
                "unique_mib": spread([memory.unique for memory in job]),
                above: spread([memory.unique - no.unique for memory, no in pairs]),
                "proportional_mib": spread([memory.proportional for memory in job]),
                "resident_mib": spread([memory.resident for memory in job]),
            }
    for name, workers in measured.items():
        forkserver = [worker.forkserver for worker in workers]
        found[f"{name}, forkserver"] = {
            "proportional_mib": spread([memory.proportional for memory in forkserver]),
            "resident_mib": spread([memory.resident for memory in forkserver]),
        }
        total = [worker.total for worker in workers]
        found[f"{name}, whole worker"] = {"proportional_mib": spread(total)}
    return found


# ---- processes --------------------------------------------------------------------------------


def run(steps: tuple[str, str], jobs: int, call: Path | None = None) -> Worker:
    """Run one worker from start to end; return its memory.

    Args:
        steps: (import, load); what is loaded is as :mod:`.worker_agent` takes it.
        jobs: Job processes at once.
        call: int16 mono at 24 kHz that they hear, where they hear.

    Raises:
        RuntimeError: The worker ended early, or its jobs did not reach a phase in time.
    """
    with tempfile.TemporaryDirectory() as name, _worker(Path(name), jobs, *steps) as process:
        folder = Path(name)
        if call is not None:
            (folder / "call.pcm").symlink_to(call)
        found = {}
        for phase in PHASES:
            reached = _reached(folder, phase, jobs, process)
            if phase == BEFORE:
                found[phase] = [parse(path.read_text()) for path in reached]
                continue
            pids = [int(path.suffix[1:]) for path in reached]
            time.sleep(0.5)  # what the event loops had left to do is done
            found[phase], forkserver, total, shared = _read(process.pid, pids)
            (folder / f"{phase}.measured").touch()
        times = [json.loads(path.read_text()) for path in sorted(folder.glob("times.*"))]
        (folder / "over").touch()
        process.wait(LIMIT)
        return Worker(found, forkserver, total, shared, times)


@contextmanager
def _worker(folder: Path, jobs: int, *steps: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker in a session of its own; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "benchmarks.worker_agent", str(folder), str(jobs), *steps]
    proc.adopt()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        proc.wait_for_rest(process.pid)


def _reached(folder: Path, phase: str, jobs: int, process: subprocess.Popen[str]) -> list[Path]:
    """Wait until all jobs reached the end of a phase; return what they left, ``PHASE.PID``."""
    deadline = time.monotonic() + LIMIT
    while len(there := list(folder.glob(f"{phase}.*"))) < jobs:
        late = time.monotonic() > deadline
        if late or process.poll() is not None:
            how = f"{len(there)} of {jobs} jobs in time" if late else "it ended before"
            log = (folder / "log").read_text()[-8000:]
            raise RuntimeError(f"the worker did not get to {phase!r}: {how}\n{log}")
        time.sleep(0.05)
    return there


def _read(worker: int, jobs: list[int]) -> tuple[list[Memory], Memory, float, list[Memory]]:
    """Return the memory of jobs and of their forkserver, the proportional MiB of all, and others.

    Others are those that the forkserver made beside the jobs.
    """
    parents = proc.parents()
    processes = {pid: proc.memory(pid) for pid in proc.descendants(worker, parents)}
    (forkserver,) = {parents[pid] for pid in jobs}
    total = sum(memory.proportional for memory in processes.values())
    others = [pid for pid in processes if parents[pid] == forkserver and pid not in jobs]
    shared = [processes[pid] for pid in others]
    return [processes[pid] for pid in jobs], processes[forkserver], total, shared
