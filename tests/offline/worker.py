"""A real AgentServer with a job process and no LiveKit server: ``python -m tests.offline.worker``.

It gives the agent of ``worker_agent`` one fake job and prints, as JSON, its own process id and what
the job reported. It ends by itself after :data:`LIMIT` seconds, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.offline.worker_agent import REPORT, server

LIMIT = 60.0
"""Seconds for the whole job."""


async def work(report: Path) -> dict[str, Any]:
    """Run the worker until its job has reported; return the report."""

    @server.once("worker_started")
    def _launch() -> None:
        job = server.simulate_job("room", fake_job=True, agent_identity="agent")
        tasks.append(asyncio.get_running_loop().create_task(job))

    tasks: list[asyncio.Task[Any]] = []
    running = asyncio.create_task(server.run(devmode=True, unregistered=True))
    try:
        await asyncio.wait_for(_appears(report, running), LIMIT)
        await asyncio.gather(*tasks)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))  # noqa: ASYNC240
        return found
    finally:
        await asyncio.wait_for(server.aclose(), 15.0)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(running, 15.0)


async def _appears(report: Path, running: asyncio.Task[None]) -> None:
    while not report.exists():  # noqa: ASYNC240 - another process makes it
        if running.done():
            await running
            raise RuntimeError("the worker ended before its job had reported")
        await asyncio.sleep(0.05)


def main() -> None:
    """Print the worker's process id and the job's report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        os.environ[REPORT] = str(report)  # job processes inherit it
        found = asyncio.run(work(report))
    json.dump({"worker_pid": os.getpid(), **found}, sys.stdout)


if __name__ == "__main__":
    main()
