"""Small labelled clips, and a data folder made of them: what the tests of benchmarks hear."""

import wave
from pathlib import Path

import numpy as np

from benchmarks import sounds
from benchmarks.data import HOP, RATE, Clip
from nearvoice.audio import Samples, to_float32, to_int16


def tone(seconds: float, frequency: float = 300.0, level: float = 0.3) -> Samples:
    time = np.arange(int(seconds * RATE)) / RATE
    return to_float32(to_int16((level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)))


def steady(seconds: float = 1.3, seed: int = 7) -> Samples:
    return sounds.stationary_noise(seconds, seed)


def talk(pattern: str = "0110", seconds: float = 0.5) -> Clip:
    """Return a clip of tones where the pattern says 1, and of next to nothing elsewhere."""
    parts = [tone(seconds, level=0.3 if one == "1" else 0.001) for one in pattern]
    labels = np.repeat([one == "1" for one in pattern], int(seconds * 100))
    return Clip("talk", np.concatenate(parts), labels)


def bursts(name: str) -> Clip:
    """Return a clip of 6 s, noise in each second one."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.repeat([False, True], 100), 3)
    sound = rng.standard_normal(len(labels) * HOP).astype(np.float32) * 0.1
    return Clip(name, sound * np.repeat(labels, HOP), labels)


def write_wav(path: Path, samples: Samples) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(to_int16(samples).tobytes())


def data_folder(parent: Path) -> Path:
    """Make a data folder with two clips of the one set and one of the other."""
    folder = parent / "data"
    for i, pattern in enumerate(("0110", "1001"), start=1):
        path = folder / f"ten/testset-audio-0{i}.wav"
        write_wav(path, talk(pattern).samples)
        cells = [f"{j / 2:.3f},{(j + 1) / 2:.3f},{one}" for j, one in enumerate(pattern)]
        path.with_suffix(".scv").write_text(",".join((path.stem, *cells)))
    write_wav(folder / "pyannote/trñ00.wav", talk("0110").samples)
    rttm = "SPEAKER trn00 1 {} {} <NA> <NA> {} <NA> <NA>\n"
    (folder / "pyannote/debug.train.rttm").write_text(
        rttm.format("0.500", "0.700", "MÉO069") + rttm.format("1.000", "0.500", "MEE068"), "utf-8"
    )
    return folder
