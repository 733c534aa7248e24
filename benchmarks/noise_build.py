"""Makes the noise set from public sources: ``python -m benchmarks data noise``.

72 mixes (9 noises, 4 SNRs, 2 each), 10 of clean speech, 18 of noise alone, 16 kHz FLAC, the same
samples each time. What it needs is fetched, unless it lies there already under
the paths it has in its repository; the ambiences come with the installed livekit-agents. A
``*.trans.txt`` of LibriSpeech anywhere in that folder adds what is said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from nearvoice.audio import PCM, Samples, to_int16

from . import sounds
from .data import RATE, decode, digest
from .noise_set import FOLDER, LOUD, MANIFEST, TALKER
from .noise_sources import COMMANDS, FAR, NEAR, SPEECH, transcripts, utterances
from .sources import Source, obtain

SNRS = (0, 5, 10, 15)
EACH = 2
CLEAN = 10
QUIET = -50
SECONDS = 10.0
"""Of noise alone."""
MARGIN = 1.0
"""Seconds without speech, before and after it."""
LONGEST = 7.5
"""Seconds that an utterance is cut to."""
LEVELS = (-30.0, -22.0)
"""Active speech, in dB of full scale."""
UTTERANCES = 20
SEED = 20


AMBIENCES = {
    "office": "office-ambience",
    "city": "city-ambience",
    "keyboard": "keyboard-typing",
    "music": "hold_music",
}
"""Noise -> a sound of livekit-agents."""


# ---- sounds -----------------------------------------------------------------------------------


def active_level(speech: Samples) -> float:
    """Return the level in dB of full scale of the frames that are not pauses.

    Those of 20 ms that are at most 35 dB below the loudest.
    """
    frames = speech[: len(speech) // 320 * 320].reshape(-1, 320)
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return float(10 * np.log10(powers[powers > powers.max() * 10**-3.5].mean()))


def at_level(speech: Samples, db: float) -> Samples:
    """Return speech with its active level at ``db``."""
    louder: Samples = speech * np.float32(10 ** ((db - active_level(speech)) / 20))
    return louder


def babble(voices: list[Samples]) -> Samples:
    """Return voices that speak at once, equally loud, as long as the longest; they go round."""
    count = max(map(len, voices))
    together: Samples = np.sum([np.resize(at_level(one, -26), count) for one in voices], axis=0)
    return together


def white_hum(seconds: float, seed: int) -> Samples:
    """Return white noise and the hum of a 50 Hz line with five harmonics, equally strong."""
    count = int(seconds * RATE)
    time = np.arange(count) / RATE
    hum = np.sum([np.sin(2 * np.pi * 50 * k * time + k) / k for k in range(1, 7)], axis=0)
    white = np.random.default_rng(seed).standard_normal(count)
    mixed: Samples = (white / white.std() + hum / hum.std()).astype(np.float32)
    return mixed


def mixed(speech: Samples, noise: Samples, snr_db: float, seed: int) -> tuple[PCM, PCM]:
    """Return speech with silence around it, and the same in an excerpt of a noise.

    Args:
        speech: At the level that it has then.
        noise: An excerpt of it is taken, round and round where it is too short.
        snr_db: Active speech above the mean of the excerpt.
        seed: Where the excerpt begins.
    """
    clean = np.pad(speech, int(MARGIN * RATE))
    added = sounds.excerpt(noise, len(clean), seed)
    gain = 10 ** ((active_level(speech) - sounds.level(added) - snr_db) / 20)
    noisy = clean + np.float32(gain) * added
    fit = np.float32(min(1.0, 0.99 / float(np.abs(noisy).max())))
    return to_int16(fit * clean), to_int16(fit * noisy)


# ---- build ------------------------------------------------------------------------------------


class _Noise(NamedTuple):
    samples: Samples
    notes: dict[str, str]


class _Builder:
    """Writes the set."""

    def __init__(self, folder: Path, sources: Path) -> None:
        self._folder = folder
        self._words = transcripts(sources)
        spoken = dict(zip(SPEECH.paths, obtain(SPEECH, sources), strict=True))
        near = [path for chapter in NEAR for path in utterances(chapter)]
        order = np.random.default_rng(SEED).permutation(len(near))[:UTTERANCES]
        self._speech = {near[i]: decode(spoken[near[i]]) for i in order.tolist()}
        self._noises = dict(_noises(spoken, obtain(COMMANDS, sources)))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Make the items, and yield what the manifest says of each."""
        number = 0
        for name, noise in self._noises.items():
            for snr in SNRS:
                for which in range(EACH):
                    yield self._mix(f"{name}_+{snr}_{which}", name, noise, snr, number)
                    number += 1
        for which in range(CLEAN):
            yield self._clean(f"clean_{which}", which)
        for name, noise in self._noises.items():
            for db in (QUIET, LOUD):
                yield self._alone(f"noiseonly_{name}_{-db}", name, noise, db)

    def _mix(self, item: str, name: str, noise: _Noise, snr: int, number: int) -> dict[str, Any]:
        path, speech = self._utterance(number)
        clean, noisy = mixed(speech, noise.samples, snr, seed=number)
        return {
            "id": item,
            "kind": "mix",
            "noise": name,
            "snr": snr,
            **self._written("clean", item, clean),
            **self._written("noisy", item, noisy),
            **self._said(path),
            **noise.notes,
        }

    def _clean(self, item: str, number: int) -> dict[str, Any]:
        path, speech = self._utterance(number)
        pcm = to_int16(np.pad(speech, int(MARGIN * RATE)))
        written = self._written("clean", item, pcm)
        return {
            "id": item,
            "kind": "clean",
            "noise": None,
            "snr": None,
            **written,
            "noisy": written["clean"],
            "sha_noisy": written["sha_clean"],
            **self._said(path),
        }

    def _alone(self, item: str, name: str, noise: _Noise, db: int) -> dict[str, Any]:
        added = sounds.excerpt(noise.samples, int(SECONDS * RATE), seed=-db)
        pcm = to_int16(added * np.float32(10 ** ((db - sounds.level(added)) / 20)))
        return {
            "id": item,
            "kind": "noise",
            "noise": name,
            "snr": None,
            "level_db": db,
            "clean": None,
            **self._written("noisy", item, pcm, "noise_only"),
            **noise.notes,
        }

    def _utterance(self, number: int) -> tuple[str, Samples]:
        """Return an utterance, by turns, at a level of its own."""
        path = list(self._speech)[number % UTTERANCES]
        speech = self._speech[path][: int(LONGEST * RATE)]
        return path, at_level(speech, float(np.random.default_rng(number).uniform(*LEVELS)))

    def _said(self, path: str) -> dict[str, Any]:
        speech = {"licence": SPEECH.licence, "origin": SPEECH.origin, "via": SPEECH.via}
        words = self._words.get(Path(path).stem)
        whole = len(self._speech[path]) <= LONGEST * RATE
        said = {"words": words} if words and whole else {}
        return {"speech_file": path, "speech": speech, **said}

    def _written(self, key: str, item: str, pcm: PCM, folder: str = "") -> dict[str, str]:
        name = f"{folder or key}/{item}.flac"
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_flac(path, pcm)
        return {key: name, f"sha_{key}": hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest()}


def _noises(spoken: dict[str, Path], commands: list[Path]) -> Iterator[tuple[str, _Noise]]:
    agents = f"livekit-agents {version('livekit-agents')}"
    for name, stem in AMBIENCES.items():
        path = next(path for path in sounds.noise_files() if path.stem == stem)
        notes = {
            "noise_file": f"livekit/agents/resources/{path.name}",
            "noise_sha256": digest([path]),
            "noise_licence": "comes with livekit-agents (Apache-2.0; see its NOTICE)",
            "noise_via": agents,
        }
        yield name, _Noise(decode(path), notes)
    for name, path, file in zip(("dishes", "bike"), commands, COMMANDS.paths, strict=True):
        yield name, _Noise(decode(path), _notes(COMMANDS, file))
    voices = [
        np.concatenate([decode(spoken[path]) for path in utterances(chapter)]) for chapter in FAR
    ]
    yield "babble", _Noise(babble(voices[:4]), _notes(SPEECH, ", ".join(FAR[:4])))
    yield TALKER, _Noise(voices[4], _notes(SPEECH, FAR[4]))
    made = {"noise_file": "white_hum", "noise_licence": "synthetic", "noise_via": "numpy"}
    yield "white_hum", _Noise(white_hum(60, SEED), made)


def _notes(source: Source, file: str) -> dict[str, str]:
    licence = f"{source.licence} ({source.origin})"
    return {"noise_file": file, "noise_licence": licence, "noise_via": source.via}


def write_flac(path: Path, pcm: PCM) -> None:
    """Write int16 mono sound at 16 kHz, without loss."""
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for part in (frame, None):
            container.mux(stream.encode(part))


def build(folder: Path, sources: Path) -> int:
    """Write the set into ``noise`` of the data folder; return how many items it has.

    Raises:
        MissingDataError: A source cannot be had.
    """
    into = folder / FOLDER
    rows = list(_Builder(into, sources).rows())
    (into / MANIFEST).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return len(rows)
