"""A prediction in a thread of its own, which can be left behind."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from nearvoice.turn import Stop, TurnDetector
from nearvoice.turn_text import Chat

T = TypeVar("T")
P = ParamSpec("P")

_LEFT = 4
"""Threads left behind that may still be at work; with more, something hangs."""

_Jobs = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


_LAST = 1.0
"""Seconds that the exit of the process waits for predictions."""


class PrivateThread(Executor):
    """One daemon thread, made when it is needed; the process exits though its work hangs."""

    def __init__(self) -> None:
        _owners.add(self)
        self._jobs: _Jobs | None = None
        self._thread: threading.Thread | None = None
        self._left: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have the thread call ``fn``.

        Raises:
            RuntimeError: Too many threads that were left behind still hang.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # or it was left in a fork
                self._start()
            assert self._jobs is not None
            self._jobs.put((future, partial(fn, *args, **kwargs)))
        return future

    def leave(self) -> None:
        """Have what comes next done by a new thread: the old one ends when its work does."""
        with self._lock:
            if self._jobs is not None and self._thread is not None:
                self._jobs.put(None)
                self._left.append(self._thread)
            self._jobs = self._thread = None

    def _start(self) -> None:
        self._left = [thread for thread in self._left if thread.is_alive()]
        if len(self._left) > _LEFT:
            raise RuntimeError(f"{len(self._left)} predictions were given up and still hang")
        jobs: _Jobs = SimpleQueue()
        thread = threading.Thread(target=_work, args=(jobs,), name="nearvoice-turn", daemon=True)
        _threads.add(thread)
        thread.start()
        self._jobs, self._thread = jobs, thread

    def __del__(self) -> None:
        self.leave()


_owners: WeakSet[PrivateThread] = WeakSet()
_threads: WeakSet[threading.Thread] = WeakSet()
"""Also those whose owner is gone: one lives until its work is done."""


@atexit.register
def _finish() -> None:
    """Let predictions end: onnxruntime aborts a process that exits in the middle of one."""
    for owner in list(_owners):
        owner.leave()
    until = time.monotonic() + _LAST
    for thread in list(_threads):
        thread.join(max(0.0, until - time.monotonic()))


def _work(jobs: _Jobs) -> None:
    while (job := jobs.get()) is not None:
        future, call = job
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                future.set_exception(error)
            else:
                future.set_result(result)
        del job, future  # or they live until the next job comes


class InThread:
    """Predicts in this process; a prediction that is cancelled is stopped, and blocks none after.

    Args:
        detector: Of this conversation.
    """

    def __init__(self, detector: TurnDetector) -> None:
        self._detector = detector
        self._thread = PrivateThread()

    def warm(self) -> None:
        """Have the first prediction be no slower than the others; waits for nothing."""
        self._thread.submit(self._detector.warm)

    async def predict(self, messages: Chat, language: str | None, seconds: float) -> float:
        """Return the probability that the last turn has ended."""
        stop = Stop()
        call = partial(self._detector.predict, messages, language, stop=stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except asyncio.CancelledError:
            stop.stop()
            self._thread.leave()
            raise
