import os
import subprocess
import sys
import time

import pytest

from benchmarks import machine
from nearvoice import files

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc/stat")


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_the_hashes_of_all_weights_are_said() -> None:
    said = machine.describe()["weights"]
    assert isinstance(said, dict)
    assert said["silero_vad.onnx"] == files.manifest()["silero_vad.onnx"].sha256
    assert said["livekit-plugins-silero: silero_vad.onnx"] == said["silero_vad.onnx"]
    assert all(len(digest) == 64 for digest in said.values())


@linux
def test_what_this_process_uses_is_not_what_others_use() -> None:
    before = machine.Watch()
    spin(0.6)
    own = before.others()
    assert own is not None
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        before = machine.Watch()
        time.sleep(0.9)
        beside = before.others()
    finally:
        other.kill()
        other.wait()
    assert beside is not None
    assert beside["used"] > 0.4 / (os.cpu_count() or 1)
    assert beside["used"] > own["used"]


def test_a_machine_is_busy_when_others_or_the_host_take_a_tenth_of_it() -> None:
    assert machine.busy({"used": 0.06, "stolen": 0.06}) is True
    assert machine.busy({"used": 0.02, "stolen": 0.01}) is False
    assert machine.busy(None) is None
