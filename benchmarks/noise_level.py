"""What noise suppressors do to quiet callers: the same calls at three levels, and noise alone.

A network that was trained on speech of one level may take a quiet voice for background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearvoice.audio import PCM, Samples, to_float32, to_int16

from . import (
    hearing,
    noise,
    noise_scores,
    noise_set,
    noise_streams,
    noise_systems,
    processes,
    sounds,
)
from .data import RATE, MissingDataError
from .noise_build import active_level, at_level
from .noise_set import TALKER, Item
from .noise_systems import BVC, DTLN, HUSH, NC, NOTHING, System
from .settings import Settings
from .show import Columns, table
from .store import Store

NOISES = ("city", "dishes", "white_hum")
LEVELS = (0, -15, -30)
"""dB by which a call is louder than usual."""
USUAL = -26.0
"""Active speech, in dB of full scale."""
SNR = 10.0
FROM = {"from 1 s": 1.0, "from 2 s": 2.0}
"""What of a call is scored: from so many seconds on (speech begins at 1 s)."""
WINDOW = 512
"""Samples of a window of Silero."""
NAMES = (NOTHING, NC, BVC, f"{NC} level=False", f"{BVC} level=False", DTLN, HUSH, "DeepFilterNet3")


class Call:
    """Somebody speaks for a minute, in a noise."""

    def __init__(self, noise_name: str, listed: Sequence[Item]) -> None:
        spoken = [item for item in listed if item.kind == "mix" and item.noise == noise_name]
        alone = [item for item in listed if item.kind == "noise" and item.noise == noise_name]
        if not spoken or not alone:
            raise MissingDataError(f"the noise set has no mixes in {noise_name}, or it not alone")
        self.noise = noise_name
        speech = np.concatenate([_usual(to_float32(item.clean)) for item in spoken])
        added = sounds.excerpt(to_float32(alone[-1].noisy), len(speech), seed=0)
        gain = 10 ** ((USUAL - sounds.level(added) - SNR) / 20)
        self.clean: PCM = to_int16(speech)
        self._noisy = speech + np.float32(gain) * added

    def heard(self, db: float) -> PCM:
        """Return the call as a line brings it that makes it ``db`` louder."""
        return to_int16(sounds.amplify(self._noisy, db))


def _usual(speech: Samples) -> Samples:
    return at_level(speech, USUAL) if np.isfinite(active_level(speech)) else speech


def parts(clean: PCM, heard: PCM) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Yield name and figures of each part of a call of :data:`FROM`."""
    speech, said = noise.probabilities(clean) >= 0.5, noise.probabilities(heard)
    for name, seconds in FROM.items():
        start = int(seconds * RATE)
        window = start // WINDOW
        yield (
            name,
            {
                "pesq": noise_scores.pesq(clean[start:], heard[start:]),
                "stoi": noise_scores.stoi(clean[start:], heard[start:]),
                "miss": noise_scores.detected(speech[window:], said[window:]).miss,
            },
        )


Part = tuple[str, str, Path, Settings]
"""A system, its label in the store, the folder of that, and what was asked for."""


def predict(settings: Settings, store: Store) -> None:
    """Let each system hear three calls at each level, and noise alone, in processes.

    What is kept are the figures of what it made of them.

    Raises:
        MissingDataError: The noise set is not in the data folder.
        ImportError: A measure is not installed.
    """
    listed = noise_set.items(settings.data)
    dataset = noise_set.describe(settings.data, listed)
    noise_scores.check()
    seconds = sum(len(call.clean) for call in _calls(listed)) / RATE
    every = noise_systems.SYSTEMS | noise_systems.VARIANTS
    loaded, missing = noise_systems.load({name: every[name] for name in NAMES})
    labels = {
        name: f"{name} {system.version} {dataset['sha256'][:12]}" for name, system in loaded.items()
    }
    store.note(
        {
            "dataset": dataset,
            "seconds": seconds,
            "noises": len(_alone(listed)),
            "systems": labels,
            "missing": missing,
        }
    )
    parts = [(name, label, store.folder, settings) for name, label in labels.items()]
    processes.each(_hear, parts, settings.jobs, "noise-level")


def _hear(part: Part) -> None:
    name, label, folder, settings = part

    def made() -> dict[str, Any]:
        listed = noise_set.items(settings.data)
        system = (noise_systems.SYSTEMS | noise_systems.VARIANTS)[name]()
        by_level = _by_level(system, _calls(listed))
        alone = _starts(system, _alone(listed))
        return {"version": system.version, **by_level, "noise alone": alone}

    Store(folder).json(label, "figures", made)


def _calls(listed: Sequence[Item]) -> list[Call]:
    return [Call(name, listed) for name in NOISES]


def _alone(listed: Sequence[Item]) -> list[Item]:
    return [i for i in listed if i.kind == "noise" and i.noise not in (TALKER, "babble")]


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of each system."""
    about = store.about()
    rows = about["missing"] | {
        name: store.json(label, "figures") for name, label in about["systems"].items()
    }
    return {
        "task": "noise-level",
        "what": f"{len(NOISES)} calls, {about['seconds']:.0f} s, speech {SNR:g} dB above "
        f"{', '.join(NOISES)}, at {USUAL:g} dB of full scale and {-LEVELS[1]} and {-LEVELS[2]} dB "
        f"below; starts of speech that Silero finds in 20 s each of {about['noises']} noises "
        "without any",
        "dataset": about["dataset"],
        "systems": {name: rows[name] for name in NAMES},
    }


def _by_level(system: System, calls: Sequence[Call]) -> dict[str, Any]:
    """Return, for each level, the means over the calls of each figure of each part.

    ``lowered`` is what the system makes of the calls at 0 dB, lowered and rounded to 16 bits: what
    one that does not mind the level would give, and the most that can be asked for.
    """
    usual = [_heard(system, call, 0) for call in calls]
    found: dict[str, Any] = {}
    for db in LEVELS:
        outs = [_heard(system, call, db) for call in calls] if db else usual
        found[f"{db} dB"] = _scored(calls, outs)
        if db:
            lowered = [to_int16(sounds.amplify(to_float32(out), db)) for out in usual]
            found[f"{db} dB"]["lowered"] = _scored(calls, lowered)
    return found


def _heard(system: System, call: Call, db: int) -> PCM:
    out = noise_streams.suppress(system, call.heard(db))
    late = noise_streams.delay(call.clean, out)
    return noise_streams.aligned(out, late, len(call.clean))


def _scored(calls: Sequence[Call], outs: Sequence[PCM]) -> dict[str, Any]:
    scored: dict[str, list[dict[str, float | None]]] = {}
    for call, out in zip(calls, outs, strict=True):
        for part, figures in parts(call.clean, out):
            scored.setdefault(part, []).append(figures)
    return {part: _means(figures) for part, figures in scored.items()}


def _means(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    listed = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    return {
        name: round(float(np.mean(np.array(values, float))), 4) if values else None
        for name, values in listed.items()
    }


def _starts(system: System, items: Sequence[Item]) -> dict[str, int]:
    """Return how often Silero hears speech begin in noise, by its level: each is heard twice."""
    starts: dict[str, int] = {}
    for item in items:
        twice = np.tile(item.noisy, 2)
        said = noise.probabilities(noise_streams.suppress(system, twice)[: len(twice)])
        key = f"starts at {item.level} dB"
        starts[key] = starts.get(key, 0) + len(hearing.detect(said, hearing.WINDOW))
    return starts


# ---- report -----------------------------------------------------------------------------------

_PARTS = {"from 1 s": "", "from 2 s": " (2 s)"}
COLUMNS: Columns = {
    **{
        f"{figure} {db}{suffix}": (f"{db} dB", part, figure.lower())
        for part, suffix in _PARTS.items()
        for figure in ("PESQ", "STOI", "miss")
        for db in LEVELS
    },
    **{f"PESQ {db} lowered": (f"{db} dB", "lowered", "from 2 s", "pesq") for db in LEVELS if db},
    **{f"starts {db}": ("noise alone", f"starts at {db} dB") for db in (-50, -35)},
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
