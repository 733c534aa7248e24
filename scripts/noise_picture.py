"""``python -m scripts.noise_picture --data FOLDER``: the README's picture of noise suppression.

One mix of the noise set, before and after, as ``nearvoice denoise --png`` draws it. Only of mixes
whose speech and noise may be shown by anyone who names their origin.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from nearvoice import denoise, spectrogram, wav
from nearvoice.denoise_file import denoise_file, partial
from scripts import demo_audio

LICENCE = "CC BY 4.0"
NOISES = {"dishes": "dishes being washed", "bike": "an exercise bike"}
"""Noises of that licence, of Google's Speech Commands, and what they are."""
COLOURS, GREYS = 48, 16
"""Of the saved picture: for the sound, and for the letters. Few, and small, as a repository keeps
every version of a picture for good."""
SIZE = (1000, 562)
"""In pixels."""


class NotShownError(ValueError):
    """There is no such mix, it is damaged, or its licence does not let it be shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture; return the exit status."""
    parser = argparse.ArgumentParser(description="Draw the README's picture of noise suppression.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the noise set")
    parser.add_argument("--item", default="dishes_+5_0", help="id in its manifest (%(default)s)")
    parser.add_argument("--model", default="hush", choices=("hush", "gtcrn"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/noise.png"), metavar="PNG")
    options = parser.parse_args(arguments)
    try:
        mix = find(options.data, options.item)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        draw(options.data / mix["noisy"], title(mix, options.model), options.model, options.out)
    except (OSError, NotShownError, demo_audio.NotAudioError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"saved {options.out}; say beside it: {credit(mix)}")
    return 0


def find(data: Path, name: str) -> dict[str, Any]:
    """Return a mix of the set's manifest, if it may be shown.

    Raises:
        NotShownError: There is none of this name, it may not be shown, or its file is another.
    """
    items: list[dict[str, Any]] = json.loads((data / "manifest.json").read_text("utf-8"))
    mix = next((item for item in items if item["id"] == name), None)
    if mix is None or mix["kind"] != "mix":
        raise NotShownError(f"{data} has no mix called {name}")
    licences = mix["speech"]["licence"], mix["noise_licence"]
    if mix["noise"] not in NOISES or not all(licence.startswith(LICENCE) for licence in licences):
        raise NotShownError(f"{name} may not be shown: take one of {', '.join(NOISES)}")
    if hashlib.sha256((data / mix["noisy"]).read_bytes()).hexdigest() != mix["sha_noisy"]:
        raise NotShownError(f"{data / mix['noisy']} has the wrong sha256: make the set again")
    return mix


def title(mix: dict[str, Any], model: str) -> str:
    """Return what the picture shows."""
    return f"speech and {NOISES[mix['noise']]}, {mix['snr']} dB: nearvoice denoise --model {model}"


def credit(mix: dict[str, Any]) -> str:
    """Return the line that its licences ask for."""
    return (
        f"speech: LibriSpeech {Path(mix['speech_file']).stem} ({mix['speech']['licence']}); "
        f"noise: {Path(mix['noise_file']).name}, Google Speech Commands ({LICENCE})"
    )


def draw(sound: Path, title: str, model: str, out: Path) -> None:
    """Denoise a recording as the command does, and save both spectrograms as PNG."""
    with TemporaryDirectory() as folder, partial(out) as temporary:
        source, target = Path(folder, "in.wav"), Path(folder, "out.wav")
        samples, rate = demo_audio.read(sound)
        with source.open("wb") as file, wav.Writer(file, wav.Format(rate, 1)) as writer:
            writer.write(samples[:, None])

        def streams(rate: int, channels: int) -> list[denoise.Denoiser]:
            return [denoise.Denoiser(model, rate) for _ in range(channels)]

        done = denoise_file(source, target, streams, spectrograms=True)
        assert done.before is not None
        assert done.after is not None
        spectrogram.draw(done.before, done.after, temporary, title)
        with Image.open(temporary) as image:
            small = image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
            small.quantize(palette=palette(), dither=Image.Dither.NONE).save(
                temporary, "PNG", optimize=True
            )


def palette() -> Image.Image:
    """Return an image whose palette has the colours of spectrograms, and greys."""
    colours = colormaps[spectrogram.COLOURS](np.linspace(0, 1, COLOURS))[:, :3]
    greys = np.linspace(0, 1, GREYS)[:, None].repeat(3, axis=1)
    image = Image.new("P", (1, 1))
    image.putpalette(np.rint(255 * np.concatenate((colours, greys))).astype(np.uint8).tobytes())
    return image


if __name__ == "__main__":
    sys.exit(main())
