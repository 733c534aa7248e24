"""What LiveKit's forkserver imports for agents that use the turn detector."""

import subprocess
import sys
from pathlib import Path

import pytest
from livekit.agents import Plugin
from livekit.plugins.nearvoice import turn_detector  # noqa: F401 - registers it

PRELOAD = "livekit.plugins.nearvoice.preload_turn"
FORKED = f"""
import gc, os, sys
import numpy
threads = len(os.listdir("/proc/self/task"))
import {PRELOAD} as preload
print(len(os.listdir("/proc/self/task")) - threads)
gc.freeze()
from nearvoice.turn import TurnDetector
said = [{{"role": "user", "content": "so what i need is a table for two"}}]
wanted = TurnDetector.load().predict(said)
for _ in range(2):
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        detector = TurnDetector.load()
        shared = detector._model is preload.DETECTOR._model
        os.write(write, f"{{shared}} {{detector.predict(said) == wanted}}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    print(os.read(read, 100).decode())
"""


def run(code: str, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_an_agent_that_imports_the_turn_detector_has_it_preloaded() -> None:
    assert PRELOAD in [plugin.package for plugin in Plugin.registered_plugins]


def test_an_agent_that_does_not_import_it_does_not() -> None:
    code = "from livekit.agents import Plugin; import livekit.plugins.nearvoice; "
    [packages] = run(f"{code} print(*[plugin.package for plugin in Plugin.registered_plugins])")
    assert PRELOAD not in packages


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are not listed there")
def test_it_starts_no_thread_and_jobs_that_are_forked_predict_with_the_network_they_share() -> None:
    threads, *jobs = run(FORKED, "-W", "ignore::DeprecationWarning")
    assert threads == "0"
    assert jobs == ["True True"] * 2


def test_a_thread_may_import_the_turn_detector() -> None:
    code = f"""
import threading
import livekit.plugins.nearvoice
found = []
def work():
    import {PRELOAD.removesuffix("preload_turn")}turn_detector as module
    found.append(module.MultilingualModel().model)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(*found)
"""
    [model] = run(code)
    assert model.startswith("nearvoice-turn")
