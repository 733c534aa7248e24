"""The quickstart agent inside a real AgentServer: a worker, a job process, a call in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.offline.console import ROOT

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def report():
    """What the job saw, and the process ids of worker and job."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.offline.worker"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=100)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, errors
    found = json.loads(printed)
    assert "error" not in found, found["error"]
    return found


def entries(report, kind):
    return [entry for entry in report["timeline"] if entry["kind"] == kind]


def test_vad_and_turn_detector_are_prewarmed_in_the_job_process_and_used_there(report):
    assert report["prewarm_pid"] == report["job_pid"] != report["worker_pid"]
    assert report["vad"] == "livekit.plugins.nearvoice.silero.VAD"
    assert report["turn_detector"] == "livekit.plugins.nearvoice.turn_detector.MultilingualModel"
    assert report["both_are_the_prewarmed_ones"]


def test_speech_starts_and_ends_in_the_job_where_it_does_in_the_audio(report):
    (started,), (ended,) = entries(report, "SpeechStarted"), entries(report, "SpeechEnded")
    assert started["onset"] == pytest.approx(0.58, abs=0.05)
    assert ended["end"] == pytest.approx(1.0, abs=0.05)
    assert [entry["state"] for entry in entries(report, "UserState")] == ["speaking", "listening"]


def test_the_turn_is_committed_and_answered_in_the_job(report):
    (turn,) = entries(report, "TurnCommitted")
    assert turn["text"] == "Hello?"
    assert [reply["interrupted"] for reply in entries(report, "ReplyEnded")] == [False, False]
    assert not entries(report, "Failed")


def test_the_turn_detector_is_asked_in_the_job(report):
    counts = report["statistics"]
    assert counts["predicted"] + counts["late"] >= 1
    assert counts["failed"] == 0


def test_the_inference_process_predicts_what_the_job_would_predict_itself(report):
    thread, process = report["executors"]["thread"], report["executors"]["process"]
    assert thread["predicted"] == process["predicted"] == len(thread["probabilities"]) > 0
    assert process["probabilities"] == pytest.approx(thread["probabilities"], abs=1e-6)
