import hashlib
import json
import wave

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from PIL import Image

from nearvoice import denoise
from scripts import noise_picture


class Half:
    """In the place of a Denoiser, whose weights are not here: half of the sound."""

    def __init__(self, model, rate):
        pass

    def push(self, samples):
        return samples / 2

    def flush(self):
        return np.empty(0, np.float32)


def mix(name, noise, licence, content):
    return {
        "id": name,
        "kind": "mix",
        "noise": noise,
        "snr": 5,
        "noisy": "mix.wav",
        "sha_noisy": hashlib.sha256(content).hexdigest(),
        "speech": {"licence": "CC BY 4.0"},
        "speech_file": "a/b/1-2-3.flac",
        "noise_file": "c/doing_the_dishes.wav",
        "noise_licence": licence,
    }


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(denoise, "Denoiser", Half)
    path = tmp_path / "mix.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-999, 999, 16_000, "i2").tobytes())
    content = path.read_bytes()
    items = [
        mix("good", "dishes", "CC BY 4.0 (Google)", content),
        mix("other", "dishes", "CC BY 4.0", content + b"?"),
        mix("none", "dishes", "Apache-2.0 wheel (no per-file statement)", content),
        mix("office", "office", "CC BY 4.0", content),
        {"id": "clean", "kind": "clean"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(items))
    return tmp_path


def run(data, item):
    arguments = ["--data", str(data), "--item", item, "--out", str(data / "new" / "picture.png")]
    return noise_picture.main(arguments)


def test_the_picture_is_drawn_and_the_line_for_its_licences_is_said(data, capsys):
    assert run(data, "good") == 0
    with Image.open(data / "new" / "picture.png") as picture:
        assert picture.size == noise_picture.SIZE
    said = capsys.readouterr().out
    assert "speech: LibriSpeech 1-2-3 (CC BY 4.0); noise: doing_the_dishes.wav, Google" in said


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("other", "has the wrong sha256: make the set again"),
        ("none", "none may not be shown: take one of dishes, bike"),
        ("office", "office may not be shown: take one of dishes, bike"),
        ("clean", "has no mix called clean"),
        ("gone", "has no mix called gone"),
    ],
)
def test_a_mix_that_may_not_be_shown_is_not(data, capsys, item, why):
    assert run(data, item) == 1
    assert why in capsys.readouterr().err
    assert not (data / "new").exists()
