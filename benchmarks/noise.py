"""How good speech sounds after each noise suppressor, and what a VAD then hears in it.

What a system makes of an item is kept in a folder, and so are its figures, under a name that
changes with the set and with the version of the system: a run that was interrupted goes on where
it stopped.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearvoice.audio import PCM, to_float32
from nearvoice.silero import SileroVAD

from . import (
    hearing,
    metrics,
    noise_scores,
    noise_set,
    noise_streams,
    noise_systems,
    processes,
)
from .data import RATE, Labels
from .noise_set import TALKER, Item
from .noise_systems import System
from .settings import Settings
from .show import Columns, table
from .store import MissingPredictionError, Store

MADE = 2
"""Higher each time a system is asked, or its answer measured, in another way: what was kept of
times before is not used then."""
OPINIONS = (0, 10)
"""SNRs of the mixes that DNSMOS hears, in dB: it takes longer than all other measures."""
Figures = dict[str, float | None]
"""Of one item."""


# ---- predict ----------------------------------------------------------------------------------


class Kept:
    """What one system made of items, and its figures, in a folder.

    Args:
        system: Answers what is not there yet; None where everything is.
        folder: Of answers and figures.
        opinions: Whether DNSMOS is one of the figures.
    """

    def __init__(self, system: System | None, folder: Path, opinions: bool = True) -> None:
        self._system = system
        self._opinions = opinions
        self.folder = folder

    def heard(self, item: Item) -> PCM:
        """Return what the system makes of an item, int16[n] at 16 kHz, in time with the item."""
        out, late = self._out(item)
        return noise_streams.aligned(out, late, len(item.noisy))

    def delay(self, item: Item) -> float:
        """Return by how many milliseconds the item came out later."""
        return self._out(item)[1] / RATE * 1e3

    def figures(self, item: Item) -> Figures:
        """Return the figures of an item."""

        def measured() -> str:
            found = measure(item, self.heard(item), self._opinions)
            return json.dumps(found | {"delay_ms": self.delay(item)})

        figures: Figures = json.loads(remembered(self.folder / f"{item.name}.json", measured))
        return figures

    @functools.lru_cache(maxsize=2)  # noqa: B019 - there are few of these, and they live long
    def _out(self, item: Item) -> tuple[PCM, int]:
        path = self.folder / f"{item.name}.npz"
        if not path.exists():
            if self._system is None:
                raise MissingPredictionError(f"no {path}: run python -m benchmarks predict noise")
            out = noise_streams.suppress(self._system, item.noisy)
            reference = item.clean if item.clean_path else item.noisy
            late = noise_streams.delay(reference, out)
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                np.savez(file, out=out, late=late)
            part.replace(path)
        with np.load(path) as kept:
            return kept["out"], int(kept["late"])


def kept(name: str, system: System, dataset: str, out: Path) -> Kept:
    """Return where the answers of a system to a set are kept.

    Args:
        name: The system's.
        system: Answers what is not there yet.
        dataset: SHA-256 of the set.
        out: Of all answers.
    """
    return Kept(system, folder_of(f"{name} {system.version}", dataset, out))


def folder_of(label: str, dataset: str, out: Path) -> Path:
    """Return the folder of what is kept under a label about a set."""
    key = hashlib.sha256(json.dumps([MADE, dataset]).encode()).hexdigest()[:12]
    return out / key / slug(label)


def slug(text: str) -> str:
    """Return a text as the name of a file."""
    return re.sub(r"[^\w.+=-]+", "-", text)


def remembered(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a file, which is made first if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), "utf-8")
    return path.read_text("utf-8")


# ---- measure ----------------------------------------------------------------------------------


def measure(item: Item, heard: PCM, opinions: bool = True) -> Figures:
    """Return every figure of what a system made of an item, those that its kind has.

    Args:
        item: What was heard.
        heard: What came out.
        opinions: Whether to ask DNSMOS, which takes longer than all the rest.
    """
    speech = _speech(item)
    said = probabilities(heard)
    found = noise_scores.detected(speech, said)
    figures: Figures = {"miss": found.miss, "false_alarm": found.false_alarm}
    if item.kind == "noise":
        return figures | {"attenuation_db": noise_scores.attenuation(item.noisy, heard)}
    figures |= {
        "pesq": noise_scores.pesq(item.clean, heard),
        "stoi": noise_scores.stoi(item.clean, heard),
        "si_sdr": noise_scores.si_sdr(item.clean, heard),
        "auc": metrics.roc_auc(speech, said),
    }
    if opinions and item.kind == "mix" and item.noise != TALKER and item.snr in OPINIONS:
        figures |= {f"mos_{k}": v for k, v in noise_scores.dnsmos(heard)._asdict().items()}
    return figures


@functools.cache
def _speech(item: Item) -> Labels:
    """Return which windows of an item are speech: those that Silero finds in its clean speech."""
    labels: Labels = probabilities(item.clean) >= 0.5
    return labels if item.clean_path else np.zeros_like(labels)


@functools.cache
def _silero() -> SileroVAD:
    return SileroVAD(RATE)


def probabilities(pcm: PCM) -> noise_scores.F64:
    """Return what Silero VAD says of each window of a recording at 16 kHz, float64[n // 512]."""
    return hearing.probabilities(_silero(), to_float32(pcm))


# ---- score ------------------------------------------------------------------------------------

COLUMNS: Columns = {
    "PESQ": ("mix", "pesq", "mean"),
    "STOI": ("mix", "stoi", "mean"),
    "SI-SDR": ("mix", "si_sdr", "mean"),
    "SIG": ("mix", "mos_speech", "mean"),
    "BAK": ("mix", "mos_background", "mean"),
    "OVR": ("mix", "mos_overall", "mean"),
    "AUC": ("mix", "auc", "mean"),
    "miss": ("mix", "miss", "mean"),
    "FA": ("mix", "false_alarm", "mean"),
    "clean PESQ": ("clean", "pesq", "mean"),
    "clean miss": ("clean", "miss", "mean"),
    "noise dB": ("noise", "attenuation_db", "mean"),
    "noise FA": ("noise", "false_alarm", "mean"),
    "talker STOI": (TALKER, "stoi", "mean"),
    "talker FA": (TALKER, "false_alarm", "mean"),
    "delay ms": ("mix", "delay_ms", "median"),
}
WHAT = (
    "means over items: speech in 8 noises (PESQ-WB, STOI, SI-SDR in dB, DNSMOS at 0 and 10 dB, "
    "Silero's AUC, misses and false alarms at 0.5 against what it finds in the clean speech), "
    "clean speech, noise alone, and speech beside one other talker; everything at 16 kHz after the "
    "system, in frames of 50 ms, its delay removed"
)


def group(item: Item) -> str:
    """Return which figures an item counts for: "mix", "talker", "clean" or "noise"."""
    return TALKER if item.kind == "mix" and item.noise == TALKER else item.kind


def summary(rows: Iterable[tuple[str, Figures]]) -> dict[str, dict[str, Any]]:
    """Return mean, median and number of each figure, of (what an item counts for, its figures)."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for which, figures in rows:
        for name, value in figures.items():
            if value is not None:
                gathered.setdefault(which, {}).setdefault(name, []).append(value)
    return {
        which: {name: _spread(values) for name, values in figures.items()}
        for which, figures in gathered.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "median": round(float(np.median(values)), 4),
        "n": len(values),
    }


def predict(settings: Settings, store: Store) -> None:
    """Let every system hear every item that it has not heard; a quick run leaves out variants.

    Raises:
        MissingDataError: The set is not there.
        ImportError: A measure is not installed.
    """
    listed = noise_set.chosen(settings.data, settings.quick)
    noise_scores.check()
    known = noise_systems.SYSTEMS | ({} if settings.quick else noise_systems.VARIANTS)
    loaded, missing = noise_systems.load(known)
    store.note(
        {
            "dataset": noise_set.describe(settings.data, listed),
            "systems": {name: loaded[name].version for name in known if name in loaded},
            "missing": missing,
        }
    )
    _each(_hear, settings, store, "noise: hearing")


def score(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of every system, of what it made of each item and of the clean speech."""
    about = store.about()
    listed = noise_set.chosen(settings.data, settings.quick)
    _each(_measure, settings, store, "noise: measuring")
    rows = {
        name: _row(Kept(None, _folder(store, about, name)), version, listed)
        for name, version in about["systems"].items()
    }
    order = (*noise_systems.SYSTEMS, *noise_systems.VARIANTS)
    found = rows | about["missing"]
    return {
        "task": "noise",
        "what": WHAT,
        "dataset": about["dataset"],
        "systems": {name: found[name] for name in order if name in found},
    }


def _row(answers: Kept, version: str, listed: Sequence[Item]) -> dict[str, Any]:
    scored = [(group(item), answers.figures(item)) for item in listed]
    mixes = [
        (str(item.noise), figures)
        for (_, figures), item in zip(scored, listed, strict=True)
        if item.kind == "mix"
    ]
    return {"version": version, **summary(scored), "in": summary(mixes)}


def _folder(store: Store, about: dict[str, Any], name: str) -> Path:
    label = f"{name} {about['systems'][name]}"
    return folder_of(label, about["dataset"]["sha256"], store.folder)


_Part = tuple[str, Path, Settings]
"""A system, the folder of its answers, and what was asked for."""


def _each(do: Callable[[_Part], None], settings: Settings, store: Store, what: str) -> None:
    """Do something for each system, in several processes."""
    about = store.about()
    parts = [(name, _folder(store, about, name), settings) for name in about["systems"]]
    processes.each(do, parts, settings.jobs, what)


def _hear(part: _Part) -> None:
    name, folder, settings = part
    loader = (noise_systems.SYSTEMS | noise_systems.VARIANTS)[name]
    answers = Kept(loader(), folder)
    for item in noise_set.chosen(settings.data, settings.quick):
        answers.heard(item)


def _measure(part: _Part) -> None:
    name, folder, settings = part
    answers = Kept(None, folder, opinions=name in noise_systems.SYSTEMS)
    for item in noise_set.chosen(settings.data, settings.quick):
        answers.figures(item)


# ---- report -----------------------------------------------------------------------------------


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
