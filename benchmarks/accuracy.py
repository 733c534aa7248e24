"""How well each system tells speech from the rest: predict, then score, then report.

Predictions are kept in a folder, one file for each system and set, under a name that changes with
the data, the recipe and the version of the system: a run that was interrupted goes on where it
stopped, and scores are made of nothing but these files and the labels.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import Samples
from nearvoice.speech import SpeechOptions

from . import data, metrics, peers, processes, sounds, systems
from .data import Clip, Labels, Segment
from .settings import Settings
from .store import Store

SNRS = (20, 10, 5, 0)
"""dB of labelled speech above the noise."""
SILENCE = 2.0
"""Seconds of zeros after each clip of the events set, so that the last END can come."""
MADE = 1
"""Higher each time another clip comes of the same data, or another question is put to a system:
predictions made before are not used then. A new version of a system needs nothing of it."""


class Recipe(NamedTuple):
    """How a set to predict is made from a labelled one."""

    name: str
    source: str
    """A key of :data:`benchmarks.data.SOURCES`."""
    noise: str | None = None
    snr: int = 0
    events: bool = False
    """Whether decisions are kept rather than probabilities."""


TEN, AMI = Recipe("ten", "ten"), Recipe("ami", "ami")
EVENTS = Recipe("ten events", "ten", events=True)
MIXES = {
    (noise, snr): Recipe(f"ten {noise} {snr} dB", "ten", noise, snr)
    for noise in sounds.AMBIENCES
    for snr in SNRS
}
RECIPES = (TEN, AMI, EVENTS, *MIXES.values())
QUICK = (TEN, EVENTS, MIXES["office-ambience", 0], MIXES["hold_music", 0])
"""Those of a quick run."""


# ---- predict ----------------------------------------------------------------------------------


class Task(NamedTuple):
    """One set for the systems that have not heard it: what a process is given."""

    folder: Path
    recipe: Recipe
    files: dict[str, Path]
    """System -> file to write."""


def hear(tasks: Sequence[Task], jobs: int = 1) -> None:
    """Write the files of the tasks, in ``jobs`` processes; a bar on stderr says how far."""
    processes.each(run, tasks, jobs, "predicting")


def run(task: Task) -> None:
    """Let the systems of a task hear its set, which is made once, and keep what they say."""
    clips = make(task.recipe, task.folder)
    for name, path in task.files.items():
        system = load(name)
        if isinstance(system, str):
            raise RuntimeError(f"{name} loaded once and not again: {system}")
        ask = system.decisions if task.recipe.events else system.probabilities
        said = {clip.name: np.array(ask(clip.samples)) for clip in clips}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            np.savez(file, **said)  # type: ignore[arg-type]
        part.replace(path)


def make(recipe: Recipe, folder: Path) -> list[Clip]:
    """Return the clips that a recipe makes of the sets in the data folder."""
    clips = labelled(recipe.source, folder)
    if recipe.events:
        return [replace(clip, samples=_then_silence(clip.samples)) for clip in clips]
    if recipe.noise is None:
        return clips
    noise = _noises()[recipe.noise]
    return [sounds.mix(clip, noise, recipe.snr, seed) for seed, clip in enumerate(clips)]


def _then_silence(samples: Samples) -> Samples:
    return np.concatenate((samples, sounds.digital_silence(SILENCE)))


@functools.cache
def labelled(source: str, folder: Path) -> list[Clip]:
    """Return a labelled set.

    Raises:
        MissingDataError: It is not in the folder.
    """
    return data.ten(folder) if source == "ten" else data.ami(folder)


_noises = functools.cache(sounds.noises)


@functools.cache
def load(name: str) -> peers.System | str:
    """Return a system, loaded once in a process, or why it cannot be had here."""
    try:
        return peers.SYSTEMS[name]()
    except systems.MISSING as error:
        return systems.reason(name, error)


# ---- score ------------------------------------------------------------------------------------


def figures(files: dict[Recipe, Path], window_seconds: float, folder: Path) -> dict[str, Any]:
    """Return the figures of one system, from the files of its predictions and the labels."""
    heard = {
        recipe: _on_grid(path, window_seconds, labelled(recipe.source, folder))
        for recipe, path in files.items()
        if not recipe.events
    }
    rows = {recipe: metrics.figures(*frames) for recipe, frames in heard.items()}
    noisy = {snr: [mix for mix in _mixes(snr) if mix in rows] for snr in SNRS}
    return {
        "ten": rows[TEN],
        **{
            f"ten {snr} dB": metrics.mean(rows[mix] for mix in noisy[snr])
            for snr in SNRS
            if noisy[snr]
        },
        "ten 0 dB by noise": {mix.noise: rows[mix] for mix in noisy[0]},
        **({"ami": rows[AMI]} if AMI in rows else {}),
        "ten events": _events(files[EVENTS], labelled("ten", folder)),
        "roc": {
            "ten": _roc([heard[TEN]]),
            "ten 0 dB": _roc([heard[mix] for mix in noisy[0]]),
        },
    }


def _mixes(snr: int) -> list[Recipe]:
    return [MIXES[noise, snr] for noise in sounds.AMBIENCES]


def _roc(heard: Sequence[tuple[Labels, metrics.Scores]]) -> list[list[float]]:
    """Return 41 points [false alarm rate, miss rate], of all frames together."""
    labels = np.concatenate([labels for labels, _ in heard])
    scores = np.concatenate([scores for _, scores in heard])
    speech, rest = np.sort(scores[labels]), np.sort(scores[~labels])
    points = []
    for rate in np.linspace(0, 1, 41) ** 2:
        place = min(int(np.ceil((1 - rate) * len(rest))), len(rest) - 1)
        above = rest[place] if rate < 1 else -np.inf
        false = 1 - np.searchsorted(rest, above, "right") / len(rest)
        missed = np.searchsorted(speech, above, "right") / len(speech)
        points.append([round(float(false), 4), round(float(missed), 4)])
    return points


def _on_grid(
    path: Path, window_seconds: float, clips: Sequence[Clip]
) -> tuple[Labels, metrics.Scores]:
    with np.load(path) as said:
        heard = [said[clip.name] for clip in clips]
    return metrics.on_grid(clips, heard, window_seconds)


def _events(path: Path, clips: Sequence[Clip]) -> dict[str, float | None]:
    total = metrics.Events()
    min_silence = SpeechOptions().min_silence_duration
    with np.load(path) as said:
        for clip in clips:
            decided = [Segment(*pair) for pair in said[clip.name].reshape(-1, 2).tolist()]
            total += metrics.events(clip.labels, decided, min_silence)
    return total.summary()


# ---- report -----------------------------------------------------------------------------------

WHAT = (
    "speech probabilities of 10 ms frames against labels, no lag compensated, at 16 kHz; "
    "'ten N dB' is the mean over six noises mixed N dB below labelled speech; events with the "
    "defaults of livekit-plugins-silero (0.55 s of silence), labelled pauses below that bridged"
)


def predict(settings: Settings, store: Store) -> None:
    """Let every system hear what it has not heard yet.

    Without its "ami" set the figures of that are left out.

    Raises:
        MissingDataError: The "ten" set is not in the data folder.
    """
    datasets = _datasets(settings.data)
    known = [recipe for recipe in RECIPES if "missing" not in datasets[recipe.source]]
    recipes = [recipe for recipe in known if not settings.quick or recipe in QUICK]
    loaded = {name: load(name) for name in peers.SYSTEMS}
    about = {name: _about(system, name, store, datasets) for name, system in loaded.items()}
    store.note({"datasets": datasets, "systems": about, "recipes": [r.name for r in recipes]})
    files = {name: _files(row, recipes) for name, row in about.items() if "missing" not in row}
    if tasks := _tasks(settings.data, recipes, files):
        hear(tasks, settings.jobs)


def _about(
    system: peers.System | str, name: str, store: Store, datasets: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return what scores must know of a system."""
    if isinstance(system, str):
        return {"missing": system}
    folder = store.folder / _key(datasets) / _slug(f"{name} {system.version}")
    return {
        "version": system.version,
        "window_seconds": system.window_seconds,
        "folder": str(folder),
    }


def score(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the figures of every system."""
    about = store.about()
    recipes = [recipe for recipe in RECIPES if recipe.name in about["recipes"]]
    return {
        "task": "vad",
        "what": WHAT,
        "datasets": about["datasets"],
        "systems": {
            name: row if "missing" in row else _row(row, recipes, settings.data)
            for name, row in about["systems"].items()
        },
    }


def _row(about: dict[str, Any], recipes: Sequence[Recipe], folder: Path) -> dict[str, Any]:
    seconds = about["window_seconds"]
    return {
        "version": about["version"],
        "window_ms": round(seconds * 1e3, 3),
        **figures(_files(about, recipes), seconds, folder),
    }


def _files(about: dict[str, Any], recipes: Iterable[Recipe]) -> dict[Recipe, Path]:
    return {recipe: Path(about["folder"]) / f"{recipe.name}.npz" for recipe in recipes}


def _tasks(
    folder: Path, recipes: Iterable[Recipe], files: dict[str, dict[Recipe, Path]]
) -> list[Task]:
    """Return what is still to be predicted."""
    wanted = (
        Task(folder, recipe, {name: paths[recipe] for name, paths in files.items()})
        for recipe in recipes
    )
    missing = (
        task._replace(files={name: path for name, path in task.files.items() if not path.exists()})
        for task in wanted
    )
    return [task for task in missing if task.files]


def _datasets(folder: Path) -> dict[str, dict[str, Any]]:
    """Say which sounds the figures are made with."""
    described: dict[str, dict[str, Any]] = {"ten": _describe("ten", folder)}
    try:
        described["ami"] = _describe("ami", folder)
    except data.MissingDataError as error:
        described["ami"] = {"missing": str(error)}
    noise = {
        "source": "livekit-agents, resources/*.ogg",
        "sha256": data.digest(sounds.noise_files()),
    }
    return {**described, "noises": noise}


def _describe(name: str, folder: Path) -> dict[str, Any]:
    clips = labelled(name, folder)
    return {
        "source": data.SOURCES[name].url,
        "sha256": data.digest(data.dataset_files(folder, name)),
        "clips": len(clips),
        "seconds": round(sum(len(clip.samples) for clip in clips) / data.RATE, 1),
        "speech": round(float(np.concatenate([clip.labels for clip in clips]).mean()), 4),
    }


def _key(datasets: dict[str, dict[str, Any]]) -> str:
    """Return a name that changes with the sounds, and with how they are made and asked."""
    state = [MADE, *(described.get("sha256") for described in datasets.values())]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "-", text)


_FRAMES = {
    **{name: ("ten", name.lower()) for name in ("AUC", "AP", "F1", "recall", "FPR")},
    "best F1": ("ten", "best_f1"),
    "at": ("ten", "best_threshold"),
    **{f"AUC {snr}": (f"ten {snr} dB", "auc") for snr in SNRS},
    **{f"F1 {snr}": (f"ten {snr} dB", "f1") for snr in SNRS},
    "AUC ami": ("ami", "auc"),
    "F1 ami": ("ami", "f1"),
}
_EVENTS = {
    **{name: ("ten events", name) for name in ("segments", "missed", "false", "splits", "merged")},
    **{
        f"{edge} {which[:3]}": ("ten events", f"{edge}_ms_{which}")
        for edge in ("start", "end")
        for which in ("median", "p90")
    },
}
"""Heading of a column -> where in a system's row its figure is."""


def report(result: dict[str, Any]) -> str:
    """Return two tables of text, frames and events, with a line for each system."""
    return "\n".join((*_table(result, _FRAMES), "", *_table(result, _EVENTS)))


def _table(result: dict[str, Any], columns: dict[str, tuple[str, str]]) -> Iterator[str]:
    yield f"{'':24s}" + "".join(f"{heading:>10s}" for heading in columns)
    for name, row in result["systems"].items():
        figures = (row.get(part, {}).get(figure) for part, figure in columns.values())
        cells = "".join(f"{'-' if value is None else f'{value:g}':>10s}" for value in figures)
        yield f"{name:24s}" + (f"  {row['missing']}" if "missing" in row else cells)
