"""What Linux tells of processes: their memory, who descends from whom, and what is left behind.

Memory is what ``/proc/PID/smaps_rollup`` says:

- unique memory (USS): pages that no other process maps. It is what one more process costs.
- proportional memory (PSS): each page divided by the number of processes that map it. It adds up.
- resident memory (RSS): each page in full, shared or not. It is what ``top`` shows.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_PATIENCE = 5.0
"""Seconds that what a worker leaves behind may take to end."""
_SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER`` of prctl(2)."""


class Memory(NamedTuple):
    """Memory of one process, in MiB."""

    unique: float
    proportional: float
    resident: float


def parse(rollup: str) -> Memory:
    """Return what the text of a ``smaps_rollup`` says.

    Raises:
        ValueError: A field is missing: this is no ``smaps_rollup``.
    """
    kib = {
        fields[0].rstrip(":"): int(fields[1])
        for fields in map(str.split, rollup.splitlines())
        if len(fields) == 3 and fields[2] == "kB"
    }
    try:
        unique = kib["Private_Clean"] + kib["Private_Dirty"]
        return Memory(unique / 1024, kib["Pss"] / 1024, kib["Rss"] / 1024)
    except KeyError as error:
        raise ValueError(f"no {error.args[0]} among the fields of smaps_rollup") from None


def median(memories: Iterable[Memory]) -> Memory:
    """Return the median of each kind of memory."""
    return Memory(*(statistics.median(values) for values in zip(*memories, strict=True)))


def memory(pid: int | str) -> Memory:
    """Return the memory of a process; ``self`` is this one."""
    return parse(Path(f"/proc/{pid}/smaps_rollup").read_text())


def parents() -> dict[int, int]:
    """Return the parent of every process."""
    return {pid: int(fields[1]) for pid, fields in _processes()}


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield every process with its state, parent, group, session and so on."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        # the name in parentheses may hold anything, spaces and parentheses too
        yield int(path.parent.name), state.rpartition(")")[2].split()


def descendants(root: int, parent: Mapping[int, int]) -> list[int]:
    """Return a process and all that descend from it, by process id."""
    found = [root]
    for pid in found:
        found += [child for child, of in parent.items() if of == pid]
    return found


def adopt() -> None:
    """Become the parent of whatever processes of ours leave behind (Linux).

    What those used is then known as our own when they are waited for, and not as that of others.
    """
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def wait_for_rest(session: int) -> None:
    """Wait for what a session left behind; what does not end in time is killed."""
    deadline = time.monotonic() + _PATIENCE
    while left := _left(session):
        for pid in left:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)


def _left(session: int) -> list[int]:
    """Return our children of a session."""
    return [
        pid
        for pid, fields in _processes()
        if int(fields[1]) == os.getpid() and int(fields[3]) == session
    ]
