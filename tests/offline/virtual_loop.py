"""A coroutine in, its result out, on a clock that jumps: 30 s take a second, always the same.

When nothing is ready the clock moves straight to the next timer. Work given to an executor runs at
once, in the loop, and takes no time on the clock, so a model that computes in a thread gives the
same events on every run. While the loop runs, ``time.time``, ``time.perf_counter`` and
``time.monotonic`` tell its clock to code inside it (code that did ``from time import time`` before
keeps the machine's). A coroutine that waits for something that cannot come ends with
:class:`StuckError`, not with a hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_700_000_000.0
"""What ``time.time()`` says when the virtual clock stands at 0."""

_REAL = (time.time, time.perf_counter, time.monotonic)
_PATIENCE = 5.0
"""Real seconds to wait for another thread when no timer is left to jump to."""


class StuckError(TimeoutError):
    """The coroutine waits for what no timer and no thread will bring, or runs past its limit."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector whose waits move the loop's clock instead of taking time."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(_PATIENCE)
            if not ready:
                raise StuckError(f"nothing is left to wait for at {self.loop.time():.3f} s")
            return ready
        if self.loop.speed is not None:
            ready = super().select(timeout / self.loop.speed)
        self.loop.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with its own clock, in seconds from 0.

    Args:
        speed: Clock seconds per real second; None for as fast as the machine can.
        limit: Clock seconds after which the run is given up.
    """

    def __init__(self, *, speed: float | None = None, limit: float = 3600.0) -> None:
        self.speed = speed
        self._limit = limit
        self._now = 0.0
        self._timers = 0
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-12

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += max(seconds, 0.0)
        if self._now > self._limit:
            raise StuckError(f"the call still runs after {self._limit:.0f} s of its own clock")

    def call_at(  # type: ignore[override]
        self, when: float, *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        # The heap of timers is not stable: equal times would fire in any order.
        self._timers += 1
        return super().call_at(when + self._timers * 1e-10, *args, **kwargs)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - an executor hands on whatever its work raised
            future.set_exception(error)
        return future


def run(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    speed: float | None = None,
    limit: float = 3600.0,
) -> T:
    """Return what ``main()`` returns, run to its end on a virtual clock that starts at 0.

    Args:
        main: A function without arguments that makes the coroutine.
        speed: Clock seconds per real second; None for as fast as the machine can.
        limit: Clock seconds after which the run is given up.

    Raises:
        StuckError: The coroutine waits for what cannot come, or ran past the limit.
    """
    loop = VirtualLoop(speed=speed, limit=limit)
    asyncio.set_event_loop(loop)
    try:
        with _clocks_of(loop):
            try:
                return loop.run_until_complete(main())
            finally:
                _cancel_what_is_left(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@contextlib.contextmanager
def _clocks_of(loop: VirtualLoop) -> Iterator[None]:
    """Redirect the ``time`` module's clocks to the loop, for code that runs inside it."""

    def inside() -> bool:
        return asyncio._get_running_loop() is loop

    time.time = lambda: EPOCH + loop.time() if inside() else _REAL[0]()
    time.perf_counter = lambda: loop.time() if inside() else _REAL[1]()
    time.monotonic = lambda: loop.time() if inside() else _REAL[2]()
    try:
        yield
    finally:
        time.time, time.perf_counter, time.monotonic = _REAL


def _cancel_what_is_left(loop: VirtualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(StuckError):
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
