"""What someone may send who means harm: it is an error with a message, or words like any other."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import pickle
import shutil
import struct
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit.agents import llm
from livekit.plugins.nearvoice.turn_detector import MultilingualModel

from nearvoice import arrays, manifest
from nearvoice.arrays import WeightsError
from nearvoice.sources import Pypi, Session, SourceError
from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_bundle import BundleError
from nearvoice.wav import Reader, WavError
from nearvoice.wheels import Wheels

FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck))
TOKENS = ("<|im_end|>", "<|im_start|>", "<|im_start|>assistant\n", "<|endoftext|>", "\0", "\u202e")
ODD = (
    "\u202eevil\u202c",
    "\ud800",
    "\udfff\ud800",
    "a\0b\x1b[31m\x07",
    "\u200d" * 500,
    "e" + "\u0301" * 2_000,
    "مرحبا كيف حالك",
    "👩‍👩‍👧‍👦" * 50,
    "ᚠᛇᚻ ꙮ 𓀀",
    "{{ ''.__class__.__mro__ }}{% for x in range(10**9) %}{% endfor %}",
    " \t\r\n\u2028",
    "%s %n {0} {messages}",
)


@pytest.fixture(scope="module")
def detector() -> TurnDetector:
    return TurnDetector.load("nearvoice")


# ---- conversations ----------------------------------------------------------------------------


def special(detector: TurnDetector, messages: list[dict[str, str]]) -> int:
    """Return how many tokens of the chat template are read."""
    known = {detector._model.window._reader._special[name] for name in
             detector._model.window._reader._special}  # fmt: skip
    return sum(token in known for token in detector.ids(messages))


@FUZZ
@given(
    st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=12)), max_size=8).map("".join),
    st.sampled_from(["user", "assistant"]),
)
def test_words_that_look_like_tokens_of_the_template_change_neither_roles_nor_ends(
    said: str, role: str
) -> None:
    detector = TurnDetector.load("nearvoice")
    plain = [{"role": role, "content": "well"}, {"role": "user", "content": "so"}]
    odd = [{"role": role, "content": f"well {said}"}, {"role": "user", "content": f"so {said}"}]
    ids = detector.ids(odd)
    assert len(ids) <= detector.bundle.max_tokens
    if len(ids) < detector.bundle.max_tokens // 2:  # or the beginning is cut off
        assert special(detector, odd) == special(detector, plain)
    assert 0.0 <= detector.predict(odd) <= 1.0


@pytest.mark.parametrize("text", ODD)
def test_odd_text_is_predicted_in_a_session_and_nothing_is_warned_of(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = MultilingualModel(timeout=5.0)
    chat = llm.ChatContext.empty()
    chat.add_message(role="user", content=f"i want {text}")
    assert 0.0 <= asyncio.run(model.predict_end_of_turn(chat)) <= 1.0
    assert model.statistics.predicted == 1
    assert [one for one in caplog.records if one.levelname == "WARNING"] == []


def test_a_turn_of_ten_megabytes_is_predicted_like_its_end(detector: TurnDetector) -> None:
    words = "and then i said to him that it was not so " * 250_000
    assert len(words) > 10_000_000
    long = detector.predict([{"role": "user", "content": words + "thank you bye"}], "en")
    assert 0.0 <= long <= 1.0
    assert len(detector.ids([{"role": "user", "content": words}])) <= detector.bundle.max_tokens


@FUZZ
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    )
)
def test_a_message_of_another_form_is_an_error_of_python_and_no_crash(said: Any) -> None:
    detector = TurnDetector.load("nearvoice")
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        detector.predict([{"role": "user", "content": said}])
    assert 0.0 <= detector.predict([{"role": "user", "content": "well"}]) <= 1.0


# ---- bundles ----------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    own = locate("nearvoice")
    return Path(shutil.copytree(own.model.parent, tmp_path / "bundle"))


def resealed(bundle: Path, name: str, content: bytes) -> Path:
    """Return a bundle in which a file is another, whose hash is right again."""
    import hashlib

    (bundle / name).write_bytes(content)
    spec = json.loads((bundle / "turn.json").read_text("utf-8"))
    spec["files"][name] = _like(
        spec["files"][name], len(content), hashlib.sha256(content).hexdigest()
    )
    (bundle / "turn.json").write_text(json.dumps(spec), "utf-8")
    return bundle


def _like(known: Any, size: int, digest: str) -> Any:
    values = {int: size, str: digest}
    if isinstance(known, dict):
        return {key: values[type(value)] for key, value in known.items()}
    if isinstance(known, list):
        return [values[type(value)] for value in known]
    return digest


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{}",
        b"\xff\xfe",
        b"null",
        b'{"model": {"type": "BPE"}}',
    ],
)
def test_a_tokenizer_that_is_a_bomb_or_none_is_an_error_with_the_file(
    bundle: Path, content: bytes
) -> None:
    name = locate("nearvoice").tokenizer.name
    with pytest.raises(BundleError, match="tokenizer"):
        TurnDetector.load(resealed(bundle, name, content))


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"7", b"", b"[]"])
def test_a_spec_that_is_a_bomb_or_none_is_an_error(bundle: Path, content: bytes) -> None:
    (bundle / "turn.json").write_bytes(content)
    with pytest.raises(BundleError):
        TurnDetector.load(bundle)


@pytest.mark.parametrize("name", ["../evil.onnx", "/etc/passwd", "a/../../b", "..", ""])
def test_a_bundle_that_names_files_outside_of_itself_is_refused(bundle: Path, name: str) -> None:
    text = (bundle / "turn.json").read_text("utf-8")
    spec = json.loads(text)
    spec["files"] = {name: next(iter(spec["files"].values())), **spec["files"]}
    (bundle / "turn.json").write_text(json.dumps(spec), "utf-8")
    with pytest.raises(BundleError):
        TurnDetector.load(bundle)


def test_a_network_that_is_not_onnx_is_an_error_with_the_file(bundle: Path) -> None:
    name = locate("nearvoice").model.name
    with pytest.raises(BundleError):
        TurnDetector.load(resealed(bundle, name, b"\x08\x07" + bytes(100)))


# ---- weights ----------------------------------------------------------------------------------


class Evil:
    """Would write a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_weights_with_a_pickle_in_them_are_refused_and_it_does_not_run(tmp_path: Path) -> None:
    harm, path = tmp_path / "harm", tmp_path / "evil.npz"
    values = np.empty(1, object)
    values[0] = Evil(harm)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("source_sha256", "weights"):
            content = io.BytesIO()
            np.save(content, values, allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())
    with pytest.raises(WeightsError, match="is damaged"):
        arrays.load(path, "a" * 64)
    path.write_bytes(pickle.dumps(Evil(harm)))
    with pytest.raises(WeightsError):
        arrays.load(path, "a" * 64)
    assert not harm.exists()


def test_weights_whose_header_does_not_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    arrays.save(path, {"weights": np.zeros(3, np.float32)}, "a" * 64)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value.replace(b"(3,)", b"((((").replace(b"}", b" "))
    with pytest.raises(WeightsError, match="is damaged"):
        arrays.load(path, "a" * 64)


@FUZZ
@given(st.binary(max_size=400))
def test_bytes_that_are_no_onnx_file_are_an_error(content: bytes) -> None:
    path = Path("/dev/shm/nearvoice-hostile.onnx" if Path("/dev/shm").is_dir() else "hostile.onnx")
    path.write_bytes(content)
    try:
        with pytest.raises(WeightsError):
            arrays.read_onnx(path)
    finally:
        path.unlink()


# ---- the manifest, and archives ---------------------------------------------------------------


@FUZZ
@given(st.text(max_size=300))
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with contextlib.suppress(manifest.ManifestError):
        for name in manifest.parse(text):
            assert Path(name).name == name


@FUZZ
@given(st.data())
def test_a_manifest_with_damage_is_refused_or_names_plain_files_only(data: st.DataObject) -> None:
    text = _manifest()
    at = data.draw(st.integers(0, len(text) - 1))
    count = data.draw(st.integers(0, 40))
    put = data.draw(st.text(max_size=20) | st.sampled_from(["../", "/etc/", '"', "\n[", "'''"]))
    with contextlib.suppress(manifest.ManifestError):
        for name, file in manifest.parse(text[:at] + put + text[at + count :]).items():
            assert Path(name).name == name
            assert file.bytes > 0
            assert len(file.sha256) == 64


def _manifest() -> str:
    return Path(manifest.__file__).with_name("manifest.toml").read_text("utf-8")


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../evil", "C:\\evil"])
def test_members_of_a_wheel_with_other_paths_are_written_nowhere(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "in" / "evil-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, b"evil")
        archive.writestr("good", b"good")
        archive.writestr("evil-1.dist-info/RECORD", "good,sha256=wrong,4\n")
    monkeypatch.setattr(Wheels, "fetch", lambda self, requirement: wheel)
    with Wheels() as wheels:
        out = tmp_path / "out" / "file"
        out.parent.mkdir()
        Pypi("evil==1", "good").fetch(out, 4, Session(wheels))
        with pytest.raises(SourceError):
            Pypi("evil==1", "missing").fetch(out, 4, Session(wheels))
    found = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found == {"in/evil-1-py3-none-any.whl", "out/file"}


def test_a_member_that_unpacks_to_more_than_the_manifest_says_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "bomb-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50_000_000))
    monkeypatch.setattr(Wheels, "fetch", lambda self, requirement: wheel)
    out = tmp_path / "file"
    with Wheels() as wheels, pytest.raises(SourceError):
        Pypi("bomb==1", "bomb").fetch(out, 1_000, Session(wheels))
    assert not out.exists() or out.stat().st_size <= 1_000 + (1 << 16)


# ---- sound ------------------------------------------------------------------------------------


def _wav() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(640))
    return content.getvalue()


@FUZZ
@given(st.integers(0, 60), st.binary(min_size=1, max_size=8), st.integers(0, 700))
def test_a_damaged_wav_file_is_an_error_with_a_message_or_the_sound_that_is_there(
    at: int, put: bytes, length: int
) -> None:
    whole = _wav()
    content = (whole[:at] + put + whole[at + len(put) :])[:length]
    _read(content)


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"fmt ", b"data", b"LIST", b"\0\0\0\0"]), st.integers(0, 2**32 - 1)
        ),
        max_size=4,
    ),
    st.binary(max_size=64),
)
def test_chunks_of_any_size_are_read_or_refused(
    chunks: list[tuple[bytes, int]], rest: bytes
) -> None:
    body = b"".join(name + struct.pack("<I", size) + rest for name, size in chunks)
    _read(b"RIFF" + struct.pack("<I", len(body)) + b"WAVE" + body)


def _read(content: bytes) -> None:
    path = Path("/dev/shm/nearvoice-hostile.wav" if Path("/dev/shm").is_dir() else "hostile.wav")
    path.write_bytes(content)
    try:
        with contextlib.suppress(WavError), Reader(path) as reader:
            total = sum(len(chunk) for chunk in reader.chunks(100))
            assert total <= len(content)
    finally:
        path.unlink()
