"""What whoever watches a worker sees: counters, records and attributes of spans."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.nearvoice import counters, noise_cancellation, silero
from livekit.plugins.nearvoice.turn_detector import MultilingualModel
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY

from nearvoice import drift
from nearvoice.__main__ import main
from tests.offline import sample


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def chat(text: str) -> llm.ChatContext:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=text)
    return context


async def heard(vad: silero.VAD, pcm: Any, rate: int) -> None:
    stream = vad.stream()
    for start in range(0, len(pcm), rate // 20):
        piece = pcm[start : start + rate // 20]
        stream.push_frame(rtc.AudioFrame(piece.tobytes(), rate, 1, len(piece)))
    stream.end_input()
    async for _ in stream:
        pass


# ---- the turn detector ------------------------------------------------------------------------


def test_every_question_is_counted_by_what_became_of_it_and_timed() -> None:
    detector = MultilingualModel()
    model = detector.model
    before = {
        outcome: count("nearvoice_turn_predictions_total", model=model, outcome=outcome)
        for outcome in ("predicted", "late", "failed", "cancelled")
    }
    timed = count("nearvoice_turn_prediction_seconds_count", model=model)

    async def ask() -> None:
        await detector.predict_end_of_turn(chat("so what i need is"))
        await detector.predict_end_of_turn(chat("so what i need"), timeout=1e-9)
        await detector.predict_end_of_turn(llm.ChatContext.empty())
        given_up = asyncio.ensure_future(detector.predict_end_of_turn(chat("so what")))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)

    asyncio.run(ask())
    after = {
        outcome: count("nearvoice_turn_predictions_total", model=model, outcome=outcome)
        for outcome in before
    }
    assert {outcome: after[outcome] - before[outcome] for outcome in before} == {
        "predicted": 1, "late": 1, "failed": 1, "cancelled": 1
    }  # fmt: skip
    assert count("nearvoice_turn_prediction_seconds_count", model=model) == timed + 3


def test_the_active_span_says_what_was_decided_and_not_what_was_said() -> None:
    detector = MultilingualModel(default_language="en")
    with TracerProvider().get_tracer("test").start_as_current_span("eou_detection") as span:
        asyncio.run(detector.predict_end_of_turn(chat("so what i need is")))
    found = dict(span.attributes or {})  # type: ignore[attr-defined]
    assert found["nearvoice.model"] == detector.model
    assert found["nearvoice.outcome"] == "predicted"
    assert found["nearvoice.language"] == "en"
    assert 0 <= found["nearvoice.probability"] < found["nearvoice.threshold"]
    assert found["nearvoice.milliseconds"] > 0
    assert "what i need" not in json.dumps(found)


def test_without_a_tracer_nothing_is_marked() -> None:
    counters.mark_span(probability=0.5)  # and nothing raises


# ---- the VAD ----------------------------------------------------------------------------------


@pytest.mark.model
def test_forced_ends_and_fading_memory_are_counted() -> None:
    call = sample.load()
    forced, faded = (
        count("nearvoice_vad_forced_ends_total"),
        count("nearvoice_vad_drift_resets_total"),
    )
    vad = silero.VAD.load(max_speech_duration=1.0)
    quiet = np.zeros(3 * call.rate, np.int16)
    asyncio.run(heard(vad, np.concatenate((call.cut(0.0, 10.0), quiet)), call.rate))
    assert count("nearvoice_vad_forced_ends_total") - forced == vad.forced_ends > 0
    assert count("nearvoice_vad_drift_resets_total") > faded


def test_a_guard_counts_quiet_stretches_and_not_windows() -> None:
    from nearvoice import SileroVAD

    guard, state = drift.DriftGuard(0.032), SileroVAD(16_000, "numpy").initial_state()
    for probability in [0.0] * 100 + [0.9] + [0.0] * 5 + [0.9] + [0.0] * 100:
        state = guard.step(probability, state)
    assert guard.fades == 2
    guard.reset()
    assert guard.fades == 0


@pytest.mark.model
def test_each_start_and_end_is_one_record_when_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    call = sample.load()
    vad = silero.VAD.load(min_silence_duration=0.15)
    with caplog.at_level(logging.DEBUG, "livekit.plugins.nearvoice.silero"):
        asyncio.run(heard(vad, call.cut(0.0, 10.0), call.rate))
    records: list[Any] = [one for one in caplog.records if one.msg.startswith("speech %s")]
    boundaries = [one.boundary for one in records]
    assert boundaries[:2] == ["start", "end"]
    assert len(set(boundaries)) == 2
    for one in records:
        assert one.threshold == 0.5
        assert 0 <= one.probability <= 1
        assert one.model.startswith("silero ")


# ---- noise suppression ------------------------------------------------------------------------


@pytest.mark.model
def test_frames_that_pass_with_their_noise_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = noise_cancellation.NC()
    before = count("nearvoice_noise_degraded_frames_total", model="gtcrn")

    def broken(frame: rtc.AudioFrame) -> rtc.AudioFrame:
        raise RuntimeError("broken")

    monkeypatch.setattr(processor, "_processed", broken)
    for _ in range(3):
        processor._process(rtc.AudioFrame(bytes(2400), 24_000, 1, 1200))
    assert processor.degraded == 3
    assert count("nearvoice_noise_degraded_frames_total", model="gtcrn") == before + 3


# ---- doctor -----------------------------------------------------------------------------------


@pytest.mark.model
def test_doctor_can_be_read_by_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["starts"] is (code == 0)
    assert found["problems"] == [] or code == 1
    assert {"Versions", "Kernel", "Turn detector"} <= found["sections"].keys()
