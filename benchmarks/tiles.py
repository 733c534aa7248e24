"""Which register tiles make the Silero kernel fastest, for each level that this processor can run.

Each candidate is compiled and linked in a process of its own, as ``nearvoice download-files`` does;
then all take turns in one process. What was fastest stands in ``nearvoice.kernels.layout.TILES``.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from nearvoice import files
from nearvoice.kernels import fused, image, layout
from nearvoice.kernels.build import processor_name
from nearvoice.kernels.layout import Tiles
from nearvoice.silero import FILE
from nearvoice.silero_network import HIDDEN, Network, arrange

from .rounds import measure, measured, spread
from .settings import Settings
from .store import Store

WIDE = (
    Tiles(16, 4, 64, 2, 64, 128),
    Tiles(16, 4, 32, 2, 64, 128),
    Tiles(16, 2, 128, 2, 64, 128),
    Tiles(16, 4, 64, 2, 64, 64),
)
NARROW = (
    Tiles(8, 4, 32, 2, 32, 128),
    Tiles(8, 4, 32, 2, 32, 64),
    Tiles(8, 4, 16, 2, 32, 64),
    Tiles(8, 2, 32, 2, 32, 64),
    Tiles(8, 1, 64, 1, 64, 64),
)
CANDIDATES = {
    "x86-64-v4": WIDE,
    "x86-64-v4-256": NARROW,
    "x86-64-v3": (*NARROW[1:], Tiles(16, 4, 64, 2, 64, 128)),
}
"""Level -> tiles that keep its registers busy, and for AVX2 what they would cost that is best for
AVX-512."""
CALLS = 100


WHAT = "tiles"


def predict(settings: Settings, store: Store) -> None:
    """Time calls of the 16 kHz kernel for each candidate, in turn."""
    usable = image.levels()
    levels = ["x86-64-v4", *usable] if usable[:1] == ["x86-64-v4-256"] else usable
    with tempfile.TemporaryDirectory() as folder:
        kernels = dict(_kernels(levels, Path(folder)))
        store.note({"rounds": settings.rounds, "kernels": [*kernels]})
        measure(
            store, WHAT, kernels, settings.rounds, lambda name: _time(kernels[name]), warm_up=True
        )


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return microseconds of one call."""
    about = store.about()
    times = measured(store, WHAT, about["kernels"], about["rounds"])
    return {
        "task": "kernel-tiles",
        "what": "µs of the 16 kHz kernel by level and tiles: vector, rows, width, pair rows, pair "
        "width, single",
        "rounds": about["rounds"],
        "systems": {name: {"us_per_window": spread(values)} for name, values in times.items()},
    }


def _kernels(levels: list[str], folder: Path) -> Iterator[tuple[str, Network]]:
    weights = arrange(files.weights(FILE), 16_000)
    for level in levels:
        for shape in CANDIDATES.get(level, [layout.TILES[level]]):
            name = f"{level} {'-'.join(map(str, shape))}"
            path = folder / f"{name.replace(' ', '-')}.image"
            settings = {"NUMBA_CPU_NAME": processor_name(level), "NUMBA_CPU_FEATURES": ""}
            command = [sys.executable, "-m", "benchmarks.tiles", level, str(path)]
            command += map(str, shape)
            subprocess.run(command, env={**os.environ, **settings}, check=True)
            print(f"compiled {name}", file=sys.stderr)
            with mock.patch.dict(layout.TILES, {level: shape}):
                yield name, fused.network(weights, image.load(path))


def _time(network: Network) -> float:
    window = (np.random.default_rng(0).standard_normal(512) * 0.1).astype(np.float32)
    memory = (ctypes.c_float * (2 * HIDDEN + 64))()
    network(window, memory)
    started = time.perf_counter()
    for _ in range(CALLS):
        network(window, memory)
    return (time.perf_counter() - started) / CALLS * 1e6


def _compile(level: str, path: Path, shape: Tiles) -> None:
    """Write an image with the 16 kHz kernel alone."""
    from nearvoice.kernels import compile as compiler
    from nearvoice.kernels import silero

    name = "silero_16000"
    kernel = compiler.kernel(name, silero.network(256, shape), level)
    image.write(path, level, [kernel], {})


if __name__ == "__main__":
    _compile(sys.argv[1], Path(sys.argv[2]), Tiles(*map(int, sys.argv[3:])))
