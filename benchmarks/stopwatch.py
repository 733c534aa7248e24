"""CPU time of functions inside a program that calls them, each without the others it calls."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

_CALIBRATED = 20_000
"""Calls of a function that does nothing, by which the cost of watching is known."""


class Part(NamedTuple):
    """Functions whose time is added up under one name."""

    name: str
    owner: Any
    """Class, module or object."""
    attribute: str
    """Its function."""


class Stopwatch:
    """Watches functions while it is entered, in all threads.

    What a function calls of the others is theirs, and what watching costs is nobody's.

    Args:
        parts: What is watched.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.spent: Counter[str] = Counter()
        """Nanoseconds by name of the part."""
        self._parts = parts
        self._patches = ExitStack()
        self._running = threading.local()
        self._inside = self._outside = 0.0

    def __enter__(self) -> Stopwatch:
        """Begin to watch."""
        self._inside, self._outside = self._costs()
        self.spent.clear()
        for part in self._parts:
            watched = self._watched(part.name, getattr(part.owner, part.attribute))
            self._patches.enter_context(mock.patch.object(part.owner, part.attribute, watched))
        return self

    def __exit__(self, *error: object) -> None:
        """Put the functions back."""
        self._patches.close()

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the function
            began = time.thread_time_ns()
            nested = self._running.__dict__.setdefault("nested", [])
            nested.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                others = nested.pop()
                took = time.thread_time_ns() - began
                self.spent[name] += took - others - self._inside
                if nested:
                    nested[-1] += took + self._outside

        return watched

    def _costs(self) -> tuple[float, float]:
        """Return the nanoseconds that watching adds to what it sees of a call, and besides."""

        def nothing() -> None:
            pass

        watched = self._watched("", nothing)
        alone = _nanoseconds(nothing)
        self._inside = self._outside = 0.0
        self.spent.clear()
        whole = _nanoseconds(watched)
        seen = self.spent[""] / _CALIBRATED
        return seen, max(0.0, whole - alone - seen)


def _nanoseconds(function: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    for _ in range(_CALIBRATED):
        function()
    return (time.thread_time_ns() - began) / _CALIBRATED
