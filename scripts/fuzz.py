"""Fuzz what reads files of others, with Atheris, guided by what of the code each input reaches.

    pip install '.[fuzz]'
    python -m scripts.fuzz              # a minute for each reader
    python -m scripts.fuzz wav 600      # ten minutes for one

Each starts from a file as it should be. Whatever is raised but the error that the reader documents
is a finding, as is a hang of ten seconds, or more than 2 GiB of memory: Atheris then ends with the
input in a file, and the exit status is not 0. What was found has become a test of
tests/test_hostile.py.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nearvoice import arrays, files, manifest, turn_bundle
from nearvoice.turn import locate
from nearvoice.turn_prompt import Template, TemplateError
from nearvoice.turn_text import Turn
from nearvoice.wav import Reader, WavError

SOURCE = "a" * 64
OUT = Path("out/fuzz")
"""Where inputs are kept that are findings."""


class Target(NamedTuple):
    """One reader."""

    take: Callable[[Path, bytes], None]
    """A folder for files, and the content; raises what is a finding."""
    seed: Callable[[Path], bytes]
    """A folder for files -> content as it should be."""


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "content"
    path.write_bytes(content)
    return path


def _wav(folder: Path, content: bytes) -> None:
    with contextlib.suppress(WavError), Reader(_file(folder, content)) as reader:
        for chunk in reader.chunks(480):
            assert chunk.dtype == np.int16
            assert chunk.shape[1] == reader.format.channels


def _seed_wav(folder: Path) -> bytes:
    memory = io.BytesIO()
    with wave.open(memory, "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(256))
    return memory.getvalue()


def _onnx(folder: Path, content: bytes) -> None:
    with contextlib.suppress(arrays.WeightsError):
        arrays.read_onnx(_file(folder, content))


def _seed_onnx(folder: Path) -> bytes:
    return files.path("gtcrn.onnx").read_bytes()[:4096]


def _npz(folder: Path, content: bytes) -> None:
    with contextlib.suppress(arrays.WeightsError):
        arrays.load(_file(folder, content), SOURCE)


def _seed_npz(folder: Path) -> bytes:
    path = folder / "seed.npz"
    arrays.save(path, {"weights": np.zeros((2, 3), np.float32)}, SOURCE)
    return path.read_bytes()


def _manifest(folder: Path, content: bytes) -> None:
    with contextlib.suppress(manifest.ManifestError):
        for name in manifest.parse(content.decode("utf-8", "surrogateescape")):
            assert "/" not in name
            assert name not in (".", "..")


def _seed_manifest(folder: Path) -> bytes:
    return (Path(manifest.__file__).with_name("manifest.toml")).read_bytes()[:1500]


def _bundle(folder: Path, content: bytes) -> None:
    (folder / turn_bundle.SPEC).write_bytes(content)
    with contextlib.suppress(turn_bundle.BundleError):
        turn_bundle.read(folder)


def _seed_bundle(folder: Path) -> bytes:
    own = locate("nearvoice").model.parent
    shutil.copytree(own, folder, dirs_exist_ok=True)
    return (own / turn_bundle.SPEC).read_bytes()


def _template(folder: Path, content: bytes) -> None:
    with contextlib.suppress(TemplateError):
        Template(content.decode("utf-8", "replace"), "<|im_end|>").prompt([Turn("user", "so i")])


def _seed_template(folder: Path) -> bytes:
    return (
        b"{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        b"{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    )


TARGETS = {
    "wav": Target(_wav, _seed_wav),
    "onnx": Target(_onnx, _seed_onnx),
    "npz": Target(_npz, _seed_npz),
    "manifest": Target(_manifest, _seed_manifest),
    "bundle": Target(_bundle, _seed_bundle),
    "template": Target(_template, _seed_template),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--one"]:  # a process for each: Atheris ends the one it runs in
        _fuzz(given[1], given[2])
    seconds = int(given.pop()) if given and given[-1].isdigit() else 60
    failed = []
    for name in given or TARGETS:
        command = [sys.executable, "-m", "scripts.fuzz", "--one", name, str(seconds)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        last = done.stderr.strip().splitlines()[-1:]
        print(f"{name}: {''.join(last)}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stderr[-4000:])
    return int(bool(failed))


def _fuzz(name: str, seconds: str) -> None:
    import atheris

    target = TARGETS[name]
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus, scratch = Path(folder) / "corpus", Path(folder) / "scratch"
        corpus.mkdir()
        scratch.mkdir()
        (corpus / "seed").write_bytes(target.seed(scratch))
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048"]
        limits += ["-max_len=8192", f"-artifact_prefix={OUT}/{name}-"]
        atheris.instrument_all()
        atheris.Setup(
            [name, *limits, str(corpus)],
            lambda content: target.take(scratch, content),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
