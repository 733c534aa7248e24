"""By how much each noise suppressor delays sound: where the correlation with what came in peaks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from nearvoice.audio import to_float32

from . import data, noise_systems
from .noise_scores import lag
from .noise_streams import TAIL, through
from .noise_systems import NOTHING, System
from .playback import recording
from .progress import track
from .settings import Settings
from .show import Columns, table
from .store import Store

RATES = (8_000, 16_000, 24_000, 48_000)
FRAMES = (10, 50)
"""Milliseconds of a frame."""
SECONDS = 10.0


def predict(settings: Settings, store: Store) -> None:
    """Measure the delay of every system, at the rates that it takes."""
    loaded, missing = noise_systems.load(noise_systems.SYSTEMS)
    heard = data.digest([settings.audio])[:12]
    labels = {name: f"{name} {system.version} {heard}" for name, system in loaded.items()}
    store.note(
        {
            "systems": labels,
            "versions": {name: system.version for name, system in loaded.items()},
            "missing": missing,
        }
    )
    for name, label in track([*labels.items()], "noise-delay"):
        store.json(label, "delays", partial(delays, loaded[name], settings.audio))


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the delay of each system."""
    about = store.about()
    rows = about["missing"] | {
        name: {"version": about["versions"][name], **store.json(label, "delays")}
        for name, label in about["systems"].items()
    }
    return {
        "task": "noise-delay",
        "what": "ms by which speech comes out later (peak of the cross-correlation), frames of 10 "
        "and 50 ms; a library has only the rate that it is given sound at",
        "systems": {name: rows[name] for name in noise_systems.SYSTEMS if name != NOTHING},
    }


def delays(system: System, path: Path) -> dict[str, Any]:
    """Return the delay in ms at each rate with each length of frames; and what it says itself."""
    found: dict[str, Any] = {}
    for rate in RATES if system.processor else (system.rate,):
        heard = recording(path, rate, SECONDS)
        for frame_ms in FRAMES:
            out = through(system.open(), heard, rate, frame_ms)
            late = lag(to_float32(heard), to_float32(out), int(TAIL * rate))
            found[f"{rate // 1000} kHz, {frame_ms} ms"] = round(late / rate * 1e3, 3)
        if declared := getattr(system.processor and system.processor(), "delay", None):
            found[f"{rate // 1000} kHz, declared"] = round(declared(rate) * 1e3, 3)
    return found


COLUMNS: Columns = {
    f"{rate // 1000} kHz, {which}": (f"{rate // 1000} kHz, {which}",)
    for rate in RATES
    for which in (*(f"{frame_ms} ms" for frame_ms in FRAMES), "declared")
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
