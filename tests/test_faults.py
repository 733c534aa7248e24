"""What goes wrong around the models in a call: the call goes on, and no turn is lost or held."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.agents.vad import VADEvent, VADEventType
from livekit.plugins.nearvoice import noise_cancellation, silero
from livekit.plugins.nearvoice.turn_detector import MultilingualModel

from nearvoice.audio import PCM
from tests.offline import sample

RATE, FRAME = 24_000, 1_200
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def call() -> PCM:
    from nearvoice.audio import resample

    recorded = sample.load()
    return resample(recorded.cut(0.0, 12.0), recorded.rate, RATE)


def frames(pcm: PCM, make: Callable[[bytes], Any] = bytes) -> list[rtc.AudioFrame]:
    return [
        rtc.AudioFrame(make(pcm[at : at + FRAME].tobytes()), RATE, 1, FRAME)
        for at in range(0, len(pcm) - FRAME + 1, FRAME)
    ]


async def heard(
    vad: silero.VAD,
    pushed: Sequence[rtc.AudioFrame],
    between: Callable[[int], None] = lambda number: None,
) -> list[VADEvent]:
    stream = vad.stream()
    events: list[VADEvent] = []

    async def read() -> None:
        async for event in stream:
            events.append(event)

    reader = asyncio.create_task(read())
    for number, frame in enumerate(pushed):
        between(number)
        stream.push_frame(frame)
        await asyncio.sleep(0)
    stream.end_input()
    await reader
    return events


def said(events: Sequence[VADEvent]) -> list[tuple[Any, ...]]:
    return [(one.type, one.timestamp, one.probability, one.speaking) for one in events]


def asked(text: str = "so what i need is") -> llm.ChatContext:
    chat = llm.ChatContext.empty()
    chat.add_message(role="user", content=text)
    return chat


# ---- frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_frames_of_any_kind_of_bytes_are_heard_and_cleaned_the_same(
    call: PCM, make: Callable[[bytes], Any]
) -> None:
    vad = silero.VAD.load()
    usual, other = frames(call), frames(call, make)
    assert said(asyncio.run(heard(vad, other))) == said(asyncio.run(heard(vad, usual)))
    first, second = noise_cancellation.NC(), noise_cancellation.NC()
    for a, b in zip(usual[:40], other[:40], strict=True):
        assert bytes(first._process(a).data) == bytes(second._process(b).data)


def test_frames_that_come_late_early_or_all_at_once_are_heard_the_same(call: PCM) -> None:
    vad = silero.VAD.load()

    def late(number: int) -> None:
        time.sleep(0.05 if number % 50 == 0 else 0.0)

    usual = said(asyncio.run(heard(vad, frames(call))))
    assert said(asyncio.run(heard(vad, frames(call), late))) == usual

    async def at_once() -> list[VADEvent]:
        stream = vad.stream()
        for frame in frames(call):
            stream.push_frame(frame)
        stream.end_input()
        return [event async for event in stream]

    assert said(asyncio.run(at_once())) == usual


def test_a_frame_of_ten_minutes_is_heard(call: PCM) -> None:
    vad = silero.VAD.load()
    huge = np.tile(call, 50)
    frame = rtc.AudioFrame(huge.tobytes(), RATE, 1, len(huge))
    events = asyncio.run(heard(vad, [frame]))
    assert events[-1].timestamp == pytest.approx(len(huge) / RATE, abs=0.1)
    cleaned = noise_cancellation.NC()._process(rtc.AudioFrame(call.tobytes(), RATE, 1, len(call)))
    assert cleaned.samples_per_channel == len(call)


def test_flushes_in_any_number_and_at_any_time_end_no_stream(call: PCM) -> None:
    vad = silero.VAD.load()

    async def flushed() -> list[VADEvent]:
        stream = vad.stream()
        stream.flush()
        stream.flush()
        for number, frame in enumerate(frames(call)):
            stream.push_frame(frame)
            if number % 7 == 0:
                stream.flush()
        for frame in frames(call):
            stream.push_frame(frame)
        stream.flush()
        stream.end_input()
        return [event async for event in stream]

    kinds = [event.type for event in asyncio.run(flushed())]
    assert VADEventType.START_OF_SPEECH in kinds


def test_what_is_used_after_it_was_closed_says_so_or_does_nothing(call: PCM) -> None:
    vad, frame = silero.VAD.load(), frames(call)[0]

    async def closed() -> None:
        stream = vad.stream()
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(RuntimeError):
            stream.push_frame(frame)

    asyncio.run(closed())
    processor = noise_cancellation.NC()
    processor._close()
    assert processor._process(frame) is frame


# ---- clocks -----------------------------------------------------------------------------------


def test_a_jump_of_the_clock_changes_no_event_and_holds_no_turn(
    call: PCM, monkeypatch: pytest.MonkeyPatch
) -> None:
    vad, detector = silero.VAD.load(), MultilingualModel()
    usual = said(asyncio.run(heard(vad, frames(call))))
    real = time.time
    jumps = iter([1e6, -1e6, 3600.0, 0.0] * 10_000)
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    assert said(asyncio.run(heard(vad, frames(call)))) == usual
    assert 0.0 <= asyncio.run(detector.predict_end_of_turn(asked())) < 1.0
    assert detector.statistics.predicted == 1


def test_a_loop_that_stands_still_for_a_second_loses_no_event_and_no_turn(call: PCM) -> None:
    vad, detector = silero.VAD.load(), MultilingualModel()
    usual = said(asyncio.run(heard(vad, frames(call))))
    stalls = iter([1.0] + [0.0] * 1_000)
    stalled = asyncio.run(heard(vad, frames(call), lambda number: time.sleep(next(stalls))))
    assert said(stalled) == usual

    async def stall() -> float:
        prediction = asyncio.ensure_future(detector.predict_end_of_turn(asked()))
        await asyncio.sleep(0)
        time.sleep(1.0)  # noqa: ASYNC251 - that is the fault
        began = time.perf_counter()
        probability = await prediction
        assert time.perf_counter() - began < 0.3  # and no deadline begins anew
        return probability

    assert 0.0 <= asyncio.run(stall()) <= 1.0
    counts = detector.statistics
    assert counts.predicted + counts.late == 1


# ---- libraries --------------------------------------------------------------------------------

WITHOUT = """
import asyncio, sys
sys.modules[{name!r}] = None
import numpy as np
from livekit import rtc
from livekit.plugins.nearvoice import silero, noise_cancellation
vad = silero.VAD.load()
async def hear():
    stream = vad.stream()
    for _ in range(40):
        stream.push_frame(rtc.AudioFrame(bytes(2400), 24000, 1, 1200))
    stream.end_input()
    return [event async for event in stream]
assert len(asyncio.run(hear())) > 50
frame = rtc.AudioFrame(bytes(2400), 24000, 1, 1200)
assert noise_cancellation.BVC()._process(frame).samples_per_channel == 1200
print(vad.kernel)
"""


def without(name: str, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program.format(name=name)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_agents_need_no_numba_and_no_llvm() -> None:
    for name in ("numba", "llvmlite"):
        done = without(name, WITHOUT)
        assert done.returncode == 0, done.stderr[-2000:]


def test_where_onnxruntime_does_not_load_vad_and_noise_suppression_go_on() -> None:
    from nearvoice.silero import choose_kernel

    if choose_kernel()[0] != "numba":
        pytest.skip("nothing is compiled here: noise suppression runs in onnxruntime")
    done = without("onnxruntime", WITHOUT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_where_onnxruntime_does_not_load_the_turn_detector_says_so_at_once() -> None:
    program = (
        "import sys\nsys.modules[{name!r}] = None\n"
        "from livekit.plugins.nearvoice.turn_detector import MultilingualModel\n"
        "MultilingualModel()\n"
    )
    done = without("onnxruntime", program)
    assert done.returncode == 1
    assert "onnxruntime" in done.stderr.strip().splitlines()[-1]
