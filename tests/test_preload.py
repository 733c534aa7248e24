"""What LiveKit's forkserver imports before it forks job processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from livekit.agents import Plugin
from livekit.plugins import nearvoice  # noqa: F401 - registers the plugin

from nearvoice import files, networks

PRELOAD = "livekit.plugins.nearvoice.preload"


def run(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment or None,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_plugin_names_it_to_the_forkserver() -> None:
    assert PRELOAD in [plugin.package for plugin in Plugin.registered_plugins]


@pytest.mark.model
def test_it_loads_what_jobs_need_and_starts_no_thread_no_session_and_no_compiler() -> None:
    code = f"""
import sys, os, livekit.agents
threads = len(os.listdir("/proc/self/task"))
import {PRELOAD}
from nearvoice import silero, networks
print(len(os.listdir("/proc/self/task")) - threads, silero._shared.cache_info().currsize)
print(networks._shared.cache_info().currsize)
print(*sys.modules)
"""
    threads, of_silero, of_noise, *modules = run(code)
    assert threads == "0"
    assert of_silero == "2"
    assert of_noise == ("0" if networks.choose_kernel()[0] == "onnxruntime" else "2")
    assert "livekit.plugins.nearvoice.silero" in modules
    assert "livekit.plugins.nearvoice.noise_cancellation" in modules
    assert not {"onnxruntime", "numba", "llvmlite"} & set(modules)


def test_it_is_silent_where_the_model_files_are_missing(tmp_path) -> None:
    run(f"import {PRELOAD}", NEARVOICE_CACHE=str(tmp_path), HOME=str(tmp_path))


@pytest.mark.model
@pytest.mark.parametrize("missing", ["gtcrn", "hush"])
def test_a_model_that_is_missing_does_not_keep_the_other_from_being_loaded(
    missing: str, tmp_path: Path
) -> None:
    if networks.choose_kernel()[0] == "onnxruntime":
        pytest.skip("kernels are not compiled here: nothing is preloaded but modules")
    for path in files.cache_dir().iterdir():
        if not path.name.startswith((missing, ".")):
            (tmp_path / path.name).symlink_to(path)
    code = f"""
import {PRELOAD}
from nearvoice import files, networks
print(networks._shared.cache_info().currsize)
"""
    assert run(code, NEARVOICE_CACHE=str(tmp_path)) == ["1"]


@pytest.mark.model
def test_a_forked_process_hears_with_what_was_preloaded() -> None:
    code = f"""
import os, numpy as np, {PRELOAD}
from nearvoice import SileroVAD, silero
if os.fork() == 0:
    vad = SileroVAD()
    p, _ = vad.step(np.zeros(512, np.float32), vad.initial_state())
    print(silero._shared.cache_info().misses, 0 <= p <= 1, flush=True)
    os._exit(0)
os.wait()
"""
    assert run(code) == ["2", "True"]


@pytest.mark.model
def test_a_forked_process_removes_noise_with_what_was_preloaded() -> None:
    if networks.choose_kernel()[0] == "onnxruntime":
        pytest.skip("kernels are not compiled here: nothing is preloaded but modules")
    code = f"""
import os, {PRELOAD}
from livekit import rtc
from livekit.plugins.nearvoice.noise_cancellation import BVC, NC
from nearvoice import networks
if os.fork() == 0:
    for processor in (NC(), BVC()):
        processor._process(rtc.AudioFrame.create(24_000, 1, 1_200))
        print(processor.degraded)
    print(networks._shared.cache_info().misses, flush=True)
    os._exit(0)
os.wait()
"""
    assert run(code) == ["0", "0", "2"]
