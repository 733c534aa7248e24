"""Word errors of a speech recogniser with and without noise suppression before it.

The recogniser is PocketSphinx (BSD, its English model in its wheel), which anyone can install and
which mishears nearly every word in the noise of the set: it shows that the task runs. Name another
with ``--recogniser MODULE:FUNCTION``. Errors are counted against the
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

from nearvoice.audio import PCM

from . import noise, noise_set, noise_systems
from .noise_set import TALKER, Item
from .show import Columns, table

Recogniser = Callable[[PCM], str]
"""Words of int16[n] at 16 kHz; each call is a recording of its own."""
DEFAULT = "benchmarks.noise_words:pocketsphinx"
REMEDY = "pip install --no-deps pocketsphinx==5.1.1"


def pocketsphinx() -> Recogniser:
    """Return PocketSphinx with the English model that comes with it.

    Raises:
        ImportError: It is not installed.
    """
    from pocketsphinx import Decoder

    # cmn: the mean of the whole recording is taken off, and nothing is left of the one before
    decoder = Decoder(samprate=16_000, cmn="batch", loglevel="FATAL")

    def recognise(pcm: PCM) -> str:
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return str(found.hypstr) if found else ""

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


def rates(listed: Iterable[Heard]) -> dict[str, float | int]:
    """Return word errors per word of reference, of all mixes and of those of each SNR."""
    counts: dict[str, list[int]] = {}
    for one in listed:
        wrong = errors(one.reference, one.words)
        for key in ("all", f"{one.item.snr} dB"):
            found = counts.setdefault(key, [0, 0])
            found[0] += wrong
            found[1] += len(one.reference)
    return {
        **{f"wer {key}": round(wrong / max(1, said), 4) for key, (wrong, said) in counts.items()},
        "words": counts["all"][1],
    }


# ---- task -------------------------------------------------------------------------------------


def recognised(
    folder: Path, recogniser: str = DEFAULT, quick: bool = False, out: Path = noise.OUT
) -> dict[str, Any]:
    """Return the word error rate in noise after each system.

    Args:
        folder: The data folder, with its set "noise".
        recogniser: ``MODULE:FUNCTION``; the function returns a :data:`Recogniser`.
        quick: Half of the mixes only.
        out: Where answers are kept, as those of the task "noise".

    Raises:
        MissingDataError: The set is not there.
        ImportError: The recogniser is not installed.
        ValueError: ``recogniser`` is not of that form.
    """
    listed = noise_set.items(folder)
    listed = noise_set.quick(listed) if quick else listed
    mixes = [item for item in listed if item.kind == "mix" and item.noise != TALKER]
    dataset = noise_set.describe(folder, listed)
    transcribed = all(item.words for item in mixes)
    recognise = named(recogniser)
    clean = noise.folder_of(f"clean speech {recogniser}", dataset["sha256"], out)
    references: dict[Item, str] = {}
    for item in mixes:
        ask = partial(recognise, item.clean)
        references[item] = (
            item.words
            if transcribed and item.words
            else noise.remembered(clean / f"{item.name}.txt", ask)
        )
    loaded, rows = noise_systems.load(noise_systems.SYSTEMS)
    for name, system in loaded.items():
        answers = noise.kept(name, system, dataset["sha256"], out)
        heard = []
        for item in mixes:
            path = answers.folder / f"{item.name} {noise.slug(recogniser)}.txt"
            said = noise.remembered(path, partial(_after, recognise, answers, item))
            heard.append(Heard(item, words(references[item]), words(said)))
        rows[name] = {"version": system.version, **rates(heard)}
        print(f"noise-words: {name} done", file=sys.stderr)
    against = "transcripts" if transcribed else "what it makes of the clean speech, not transcripts"
    return {
        "task": "noise-words",
        "what": f"word error rate in {len(mixes)} mixes with noise, of {recogniser}, against "
        + against,
        "dataset": dataset,
        "recogniser": recogniser,
        "reference": against,
        "systems": {name: rows[name] for name in noise_systems.SYSTEMS},
    }


COLUMNS: Columns = {key: (f"wer {key}",) for key in ("all", "0 dB", "5 dB", "10 dB", "15 dB")} | {
    "words": ("words",)
}


def report(result: dict[str, Any]) -> str:
    """Return a table of text with a line for each system."""
    return table(result, COLUMNS)


def _after(recognise: Recogniser, answers: noise.Kept, item: Item) -> str:
    return recognise(answers.heard(item))
