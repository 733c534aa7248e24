"""What does not measure time, done in several processes."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from .progress import track

T = TypeVar("T")


def each(do: Callable[[T], object], parts: Sequence[T], jobs: int, what: str) -> None:
    """Do something with each part, in ``jobs`` processes; a bar on stderr says how far it is.

    Args:
        do: A function of a module: processes find it by its name.
        parts: What it takes; those that take long had better come first.
        jobs: Processes; with 1, all is done in this one.
        what: Name of the bar.
    """
    if jobs == 1 or len(parts) < 2:
        for part in track(parts, what):
            do(part)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_quiet) as pool:
        for _ in track(pool.map(do, parts), what, len(parts)):
            pass


def _quiet() -> None:
    logging.disable(logging.WARNING)
