"""The clock that the other tests stand on."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.offline import virtual_loop


def test_an_hour_of_waiting_takes_no_time():
    async def wait():
        await asyncio.sleep(3599)
        return asyncio.get_running_loop().time()

    began = time.perf_counter()
    assert virtual_loop.run(wait) == pytest.approx(3599)
    assert time.perf_counter() - began < 5


def test_the_clocks_of_the_time_module_follow_inside_and_return_after():
    async def clocks():
        await asyncio.sleep(10)
        return time.time() - virtual_loop.EPOCH, time.monotonic(), time.perf_counter()

    real = time.time
    assert virtual_loop.run(clocks) == pytest.approx((10, 10, 10))
    assert time.time is real


def test_timers_for_the_same_moment_fire_in_the_order_they_were_set():
    async def order():
        loop, fired = asyncio.get_running_loop(), []
        for i in range(100):
            loop.call_at(1.0, fired.append, i)
        await asyncio.sleep(2)
        return fired

    assert virtual_loop.run(order) == list(range(100))


def test_executor_work_takes_no_time_and_hands_on_its_error():
    async def work():
        await asyncio.to_thread(time.sleep, 0.01)
        with pytest.raises(KeyError):
            await asyncio.to_thread({}.__getitem__, "missing")
        return asyncio.get_running_loop().time()

    assert virtual_loop.run(work) == 0


def test_a_run_past_its_limit_is_given_up():
    async def forever():
        loop = asyncio.get_running_loop()
        tick = lambda: loop.call_later(1, tick)  # noqa: E731
        tick()
        await loop.create_future()

    with pytest.raises(virtual_loop.StuckError, match="still runs after 60 s"):
        virtual_loop.run(forever, limit=60)


def test_waiting_for_what_cannot_come_is_an_error_not_a_hang(monkeypatch):
    async def never():
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(virtual_loop, "_PATIENCE", 0.05)
    with pytest.raises(virtual_loop.StuckError, match="nothing is left to wait for"):
        virtual_loop.run(never)


def test_the_error_of_the_coroutine_comes_out():
    async def fail():
        raise LookupError("no such call")

    with pytest.raises(LookupError, match="no such call"):
        virtual_loop.run(fail)


def test_speed_makes_the_clock_take_time():
    async def wait():
        await asyncio.sleep(1)

    began = time.perf_counter()
    virtual_loop.run(wait, speed=10)
    assert 0.09 < time.perf_counter() - began < 2
