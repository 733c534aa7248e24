"""Sounds that make speech hard to hear: noises, rooms, and what is heard before anyone speaks.

All are float32 at 16 kHz that int16 can hold. The noises come with the installed livekit-agents;
the rest is made from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearvoice.audio import Samples, to_float32, to_int16

from .data import FRAME_SECONDS, HOP, RATE, Clip, decode

AMBIENCES = (
    "city-ambience",
    "crowded-room",
    "forest-ambience",
    "hold_music",
    "keyboard-typing",
    "office-ambience",
)
"""The six noises that the accuracy tables are made with."""


def noise_files() -> list[Path]:
    """Return the sounds that come with livekit-agents, sorted by name."""
    resources = Path(str(files("livekit.agents.resources")))
    return sorted(resources.glob("*.ogg"))


def noises() -> dict[str, Samples]:
    """Return name -> float32[n] at 16 kHz of each sound that comes with livekit-agents."""
    return {path.stem: decode(path) for path in noise_files()}


def level(samples: Samples) -> float:
    """Return the root mean square in dB of full scale; minus infinity for digital silence."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return float(10 * np.log10(power)) if power else -np.inf


def amplify(samples: Samples, db: float) -> Samples:
    """Return the samples ``db`` louder, as 16 bits hold them: rounded, clipped at full scale."""
    louder: npt.NDArray[np.float32] = samples * np.float32(10 ** (db / 20))
    return to_float32(to_int16(louder))


def attenuate(clip: Clip, db: float) -> Clip:
    """Return the clip ``db`` quieter, as a quiet caller's 16 bits hold it."""
    return replace(clip, samples=amplify(clip.samples, -db))


def excerpt(noise: Samples, count: int, seed: int) -> Samples:
    """Return ``count`` samples of a noise that goes round, from a place that the seed chooses."""
    start = int(np.random.default_rng(seed).integers(len(noise)))
    return np.resize(np.roll(noise, -start), count)


def mix(clip: Clip, noise: Samples, snr_db: float, seed: int) -> Clip:
    """Add a noise so that labelled speech is ``snr_db`` above the mean of the noise under the clip.

    Args:
        clip: Its level stays as it is.
        noise: float32[n]; an excerpt of it is taken, round and round where it is too short.
        snr_db: Power over labelled speech frames to power of the noise excerpt, in dB.
        seed: Where the excerpt begins.

    Raises:
        ValueError: The clip has no labelled speech, or the excerpt no sound.
    """
    added = excerpt(noise, len(clip.samples), seed)
    speech = clip.samples[: len(clip.labels) * HOP].reshape(-1, HOP)[clip.labels]
    if not speech.any() or not added.any():
        raise ValueError(f"{clip.name}: no speech, or no noise, to take a ratio of")
    gain = 10 ** ((level(speech) - level(added) - snr_db) / 20)
    return replace(clip, samples=amplify(clip.samples + np.float32(gain) * added, 0))


def room(rt60: float, direct_db: float, seed: int) -> Samples:
    """Return the response of a room: the direct sound, then noise that decays exponentially.

    Args:
        rt60: Seconds in which the reverberation falls by 60 dB; the response is that long.
        direct_db: Energy of the direct sound to that of the reverberation, in dB.
        seed: Of the noise.

    Returns:
        float32[n] at 16 kHz; the first sample is the direct sound, 1.0, then come 2.5 ms of zeros.
    """
    gap = RATE // 400
    seconds = np.arange(gap, max(int(rt60 * RATE), gap + 1)) / RATE
    tail = np.random.default_rng(seed).standard_normal(len(seconds)) * 10 ** (-3 * seconds / rt60)
    tail *= np.sqrt(10 ** (-direct_db / 10) / np.sum(tail**2))
    return np.concatenate(([1.0], np.zeros(gap - 1), tail)).astype(np.float32)


def reverberate(clip: Clip, response: Samples) -> Clip:
    """Return the clip in a room, as loud as before, as long as before; labels stay."""
    size = len(clip.samples) + len(response) - 1
    spectrum = np.fft.rfft(clip.samples, size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[: len(clip.samples)].astype(np.float32)
    if not wet.any():
        return clip
    return replace(clip, samples=amplify(wet, level(clip.samples) - level(wet)))


# ---- what is heard before anyone speaks -------------------------------------------------------

Prelude = Callable[[float, int], Samples]
"""(seconds, seed) -> float32[n] at 16 kHz without speech, n a multiple of 160."""


def before(prelude: Samples, clip: Clip) -> Clip:
    """Return the clip after a prelude without speech.

    Raises:
        ValueError: The prelude is no multiple of 160 samples long.
    """
    if len(prelude) % HOP:
        raise ValueError(f"a prelude is a multiple of {HOP} samples, not {len(prelude)}")
    labels = np.concatenate((np.zeros(len(prelude) // HOP, bool), clip.labels))
    return Clip(clip.name, np.concatenate((prelude, clip.samples)), labels)


def digital_silence(seconds: float, seed: int = 0) -> Samples:
    """Return zeros."""
    return np.zeros(_count(seconds), np.float32)


def room_tone(seconds: float, seed: int, db: float = -65.0) -> Samples:
    """Return what a quiet room sounds like: noise with power falling as 1 / f, at ``db``."""
    return _noise(seconds, seed, db, tilt=0.5)


def stationary_noise(seconds: float, seed: int, db: float = -35.0) -> Samples:
    """Return the hiss of a line or a fan: white noise at ``db`` of full scale."""
    return _noise(seconds, seed, db, tilt=0.0)


def ringing(seconds: float, seed: int = 0, db: float = -20.0) -> Samples:
    """Return a North American ringing tone: 440 and 480 Hz, 2 s on and 4 s off, ``db`` when on."""
    time = np.arange(_count(seconds)) / RATE
    return amplify((_tones(time, (440.0, 480.0)) * (time % 6 < 2)).astype(np.float32), db)


def menu_beeps(seconds: float, seed: int, db: float = -20.0) -> Samples:
    """Return what a phone menu plays and is sent: single tones and keypad pairs, pauses between.

    Tones last 0.1 to 0.5 s, pauses 0.2 to 2 s; ``db`` is the level of a tone.
    """
    rng = np.random.default_rng(seed)
    low, high = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0)
    out, position = digital_silence(seconds), 0
    while position < len(out):
        length = int(rng.uniform(0.1, 0.5) * RATE)
        single = rng.random() < 0.5
        tones = (rng.uniform(400, 2000),) if single else (rng.choice(low), rng.choice(high))
        place = out[position : position + length]
        place[:] = _tones(np.arange(len(place)) / RATE, tones)
        position += length + int(rng.uniform(0.2, 2.0) * RATE)
    return amplify(out, db)


def looped(noise: Samples, db: float = -30.0) -> Prelude:
    """Return a prelude of a recorded sound, such as hold music, round and round at ``db``."""

    def prelude(seconds: float, seed: int) -> Samples:
        heard = excerpt(noise, _count(seconds), seed)
        return amplify(heard, db - level(heard))

    return prelude


def babble(speech: Sequence[Samples], talkers: int = 8, db: float = -35.0) -> Prelude:
    """Return a prelude of many who talk at once, so that none is understood, at ``db``.

    Args:
        speech: Recordings to choose from, float32[n] each; those of the clip itself do not belong.
        talkers: How many talk at once.
        db: Level in dB of full scale.
    """

    def prelude(seconds: float, seed: int) -> Samples:
        rng = np.random.default_rng(seed)
        total = digital_silence(seconds)
        for _ in range(talkers):
            talk = np.concatenate([speech[i] for i in rng.permutation(len(speech))])
            talk = excerpt(talk, len(total), int(rng.integers(2**31)))
            total += talk / max(float(np.sqrt(np.mean(talk**2))), 1e-9)
        return amplify(total, db - level(total))

    return prelude


PRELUDES: dict[str, Prelude] = {
    "digital silence": digital_silence,
    "room tone": room_tone,
    "stationary noise": stationary_noise,
    "ringing": ringing,
    "menu beeps": menu_beeps,
}
"""Those that need no recording; :func:`looped` and :func:`babble` make more."""


def _count(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS) * HOP


def _tones(time: npt.NDArray[np.float64], frequencies: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return equal sines whose sum has a root mean square of 1."""
    waves = sum(np.sin(2 * np.pi * frequency * time) for frequency in frequencies)
    return np.asarray(waves * np.sqrt(2 / len(frequencies)))


def _noise(seconds: float, seed: int, db: float, tilt: float) -> Samples:
    """Return seeded Gaussian noise whose amplitude falls as frequency ** -tilt above 20 Hz."""
    count = _count(seconds)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum *= np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0) ** -tilt
    noise = np.fft.irfft(spectrum, count).astype(np.float32)
    return amplify(noise, db - level(noise))
