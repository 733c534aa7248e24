"""Quiet, far and noisy speech, and noise without speech: what thresholds are held against.

The speech is the labelled sets of :mod:`benchmarks.data`, whose messages say where the public gets
them; the noises come with livekit-agents; pauses, levels and rooms are made from seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nearvoice.audio import Samples

from . import data, sounds
from .data import Clip

# ---- speech -----------------------------------------------------------------------------------

Set = list[Clip]
"""Labelled streams; each clip is a stream of its own."""
SNRS = (20, 10, 5, 0)
QUIET = (20, 30, 40)
"""dB by which speech is made quieter."""
ROOMS = [(rt60, direct_db) for rt60 in (0.3, 0.6, 1.0) for direct_db in (3, -3, -9)]
"""Seconds of reverberation, and dB of the direct sound to it."""
PAUSES = (0.6, 5.0)
"""Seconds between the clips of a call, drawn evenly."""
TONE = -75.0
"""Level of the room tone of a call in dB: two or three steps of 16 bits, as in a quiet line."""


def joined(clips: Sequence[Clip], name: str) -> Clip:
    """Return the clips in a row, as one stream."""
    samples = [clip.samples[: len(clip.labels) * data.HOP] for clip in clips]
    return Clip(name, np.concatenate(samples), np.concatenate([clip.labels for clip in clips]))


def call(clips: Sequence[Clip], seed: int) -> Clip:
    """Return the clips in a row, a pause of digital silence before each."""
    rng = np.random.default_rng(seed)
    pauses = [sounds.digital_silence(float(rng.uniform(*PAUSES))) for _ in clips]
    return joined([sounds.before(*pair) for pair in zip(pauses, clips, strict=True)], "call")


def toned(clip: Clip, db: float, seed: int = 2) -> Clip:
    """Return the clip with the tone of a room under it, at ``db`` of full scale."""
    tone = sounds.room_tone(len(clip.samples) / data.RATE, seed, db)[: len(clip.samples)]
    return replace(clip, samples=sounds.amplify(clip.samples + tone, 0))


def sets(folder: Path) -> Iterator[tuple[str, Set]]:
    """Yield name and streams of each condition.

    Raises:
        MissingDataError: A labelled set is not in the data folder.
    """
    clips = data.ten(folder)
    for name, made in _short(clips):
        yield f"ten {name}", made
        yield f"ten {name}, one call", [joined(made, name)]
    one = call(clips, seed=1)
    yield from _calls(one)
    yield from _far(one)
    for split in ("test", "development", "train"):
        tuned = "" if split == "test" else " (tuned on)"
        excerpts = data.ami(folder, split)
        yield f"ami {split}{tuned}", excerpts
        yield f"ami {split}{tuned}, one call", [joined(excerpts, split)]


def _short(clips: Set) -> Iterator[tuple[str, Set]]:
    yield "clean", clips
    noises = sounds.noises()
    for snr in SNRS:
        for noise in sounds.AMBIENCES:
            mixed = [sounds.mix(clip, noises[noise], snr, seed) for seed, clip in enumerate(clips)]
            yield f"{noise} {snr} dB", mixed
    for db in QUIET:
        yield f"-{db} dB", [sounds.attenuate(clip, db) for clip in clips]


def _calls(one: Clip) -> Iterator[tuple[str, Set]]:
    yield "call clean", [toned(one, TONE)]
    for db in QUIET:
        yield f"call -{db} dB", [toned(sounds.attenuate(one, db), TONE)]
    third = len(one.labels) // 3 * data.HOP
    gains = np.repeat([1.0, 0.01, 1.0], third).astype(np.float32)
    turned = one.samples[: len(gains)] * gains
    yield (
        "call loud, -40 dB, loud",
        [toned(Clip("call", turned, one.labels[: len(turned) // data.HOP]), TONE)],
    )


def _far(one: Clip) -> Iterator[tuple[str, Set]]:
    tone = sounds.room_tone(60.0, seed=3)
    for seed, (rt60, direct_db) in enumerate(ROOMS):
        far = sounds.attenuate(sounds.reverberate(one, sounds.room(rt60, direct_db, seed)), 20)
        yield f"far {rt60} s {direct_db:+d} dB", [sounds.mix(far, tone, 20, seed)]
        if (rt60, direct_db) == (0.6, 3):
            for noise in ("office-ambience", "hold_music"):
                mixed = sounds.mix(far, sounds.noises()[noise], 10, seed)
                yield f"far {rt60} s {direct_db:+d} dB, {noise} 10 dB", [mixed]


def group(name: str) -> str | None:
    """Return the group over which the figures of a set are averaged, if any."""
    if name.startswith("ten "):
        kind = ", one call" if name.endswith(", one call") else ""
        found = next((snr for snr in SNRS if f" {snr} dB" in name), None)
        return None if found is None else f"ten {found} dB, mean of noises{kind}"
    if name.startswith("far ") and "," not in name:
        return "far, mean of rooms"
    return "quiet, mean of calls" if name.startswith("call ") and "-" in name else None


# ---- noise without speech ---------------------------------------------------------------------

LEVELS = (-20.0, -35.0, -50.0)
"""Of noise without speech, in dB of full scale."""
AFTER = " after a quiet call"


def silent(clips: Set, minutes: float) -> Iterator[tuple[str, Samples, float]]:
    """Yield name, sound and the second from which it is without speech, of each noise."""
    quiet_call = toned(sounds.attenuate(call(clips, seed=4), 40), TONE).samples[: 120 * data.RATE]
    makers = {name: sounds.looped(noise) for name, noise in sounds.noises().items()}
    babble = sounds.babble([clip.samples for clip in clips])
    for name, make in {**makers, "babble": babble}.items():
        sound = make(minutes * 60, 5)
        for db in LEVELS:
            heard = sounds.amplify(sound, db - sounds.level(sound))
            yield f"{name} {db:g} dBFS", heard, 0.0
        after = np.concatenate((quiet_call, heard))
        yield f"{name} {db:g} dBFS{AFTER}", after, len(quiet_call) / data.RATE
