import importlib.util
import os
import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import nearvoice
from nearvoice import denoise, prepare, turn, turn_livekit
from nearvoice.__main__ import main
from nearvoice.kernels import image
from nearvoice.turn_bundle import BundleError
from tests.stores import github, make_wheel, open_world, sha256, table, wheel_source

CONTENT = b"content" * 100
ROOT = Path(__file__).parents[1]


@pytest.fixture
def world(tmp_path, monkeypatch):
    with open_world(tmp_path, monkeypatch) as world:
        yield world


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"nearvoice {nearvoice.__version__}\n"


def test_a_command_is_required_and_help_lists_all(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    said = capsys.readouterr().out
    for command in ("download-files", "verify", "doctor", "denoise", "turn", "calibrate"):
        assert command in said


def test_download_files_says_a_line_a_file_and_where_they_are(world, capsys):
    make_wheel(world.wheels, "tiny-models", "1.0", {"pkg/data/a.bin": CONTENT})
    world.knows(
        table("a.bin", CONTENT, [wheel_source()]),
        table("b.bin", CONTENT, [wheel_source("no"), world.server.add("b.bin", CONTENT)]),
    )
    assert main(["download-files"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a.bin             700 bytes  pypi tiny-models==1.0  ok",
        "b.bin             700 bytes  github some/where  ok  (pypi tiny-models==1.0: "
        "tiny_models-1.0-py3-none-any.whl has no no)",
        f"the model files are in {world.cache}",
    ]
    assert main(["download-files", "a.bin"]) == 0
    assert "a.bin             700 bytes  present  ok\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["silero_vad.onnx", "gtcrn.onnx", "hush_enc.onnx"])
def test_download_files_compiles_for_any_network_and_says_what(world, capsys, monkeypatch, name):
    def build(level):
        image.folder().mkdir(parents=True, exist_ok=True)
        image.write(image.path(level), level, [("one", b"\xc3", 0), ("two", b"\xc3", 0)], {})
        return image.path(level)

    monkeypatch.setattr(image, "levels", lambda: ["x86-64-v4", "x86-64-v3"])
    monkeypatch.setattr(prepare.build, "build", build)
    monkeypatch.setattr(prepare.build, "missing", lambda: ["x86-64-v4"])
    world.knows(table(name, CONTENT, [world.server.add(name, CONTENT)]))
    assert main(["download-files"]) == 0
    said = capsys.readouterr().out.splitlines()[1:-1]
    assert [line.split() for line in said] == [
        ["kernels", "8.2", "kB", "compiled", "for", "x86-64-v4", "ok"],
        ["kernels", "8.2", "kB", "present", "for", "x86-64-v3", "ok"],
        ["one,", "two"],
    ]


def test_download_files_compiles_nothing_where_no_network_is_known(world, capsys, monkeypatch):
    monkeypatch.setattr(prepare.build, "build", None)
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    assert main(["download-files"]) == 0
    assert "kernels" not in capsys.readouterr().out


def test_download_files_that_fail_have_one_line_each_and_exit_1(world, capsys):
    world.knows(*(table(f"{i}.bin", CONTENT, [github(f"{i}")]) for i in range(3)))
    world.server.add("1", CONTENT)
    assert main(["download-files"]) == 1
    said = capsys.readouterr()
    assert [line.split()[-1] for line in said.out.splitlines()] == ["failed", "ok", "failed"]
    lines = said.err.splitlines()
    assert lines[:2] == [f"{i}.bin: github some/where: HTTP 404 Not Found" for i in (0, 2)]
    assert len(lines) == 3


def test_download_files_to_a_folder_says_what_to_do_with_it(world, capsys):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    usb = world.folder / "usb"
    assert main(["download-files", "--to", str(usb)]) == 0
    assert (usb / "a.bin").read_bytes() == CONTENT
    last = capsys.readouterr().out.splitlines()[-1]
    assert str(usb) in last
    assert "NEARVOICE_MODELS_DIR" in last


def test_an_unknown_file_is_one_line(world, capsys):
    world.knows(table("a.bin", CONTENT, [github("a.bin")]))
    assert main(["download-files", "b.bin"]) == 1
    assert capsys.readouterr().err == "no model file is called 'b.bin'; there are a.bin\n"


def test_verify_says_ok_missing_or_corrupt_and_exits_1_if_not_ok(world, capsys):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    main(["download-files"])
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["a.bin", "ok", str(world.cache / "a.bin")],
        ["turn", "detector", "ok", str(turn.WEIGHTS)],
    ]
    (world.cache / "a.bin").write_bytes(b"?")
    assert main(["verify"]) == 1
    said = capsys.readouterr()
    line, _ = said.out.splitlines()
    assert line.startswith(f"a.bin             corrupt  {world.cache / 'a.bin'}  has the wrong sha")
    assert f"expected {sha256(CONTENT)}, got {sha256(b'?')}" in line
    assert "nearvoice download-files" in said.err
    (world.cache / "a.bin").unlink()
    assert main(["verify"]) == 1
    assert "a.bin             missing" in capsys.readouterr().out


def test_verify_of_a_damaged_turn_detector_says_what_to_do(world, capsys, tmp_path, monkeypatch):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    main(["download-files"])
    monkeypatch.setattr(turn, "WEIGHTS", tmp_path)
    capsys.readouterr()
    assert main(["verify"]) == 1
    said = capsys.readouterr()
    assert f"turn detector     missing  {tmp_path}  turn detector {tmp_path}: turn.json" in said.out
    assert said.err == "install nearvoice again: the turn detector comes with it\n"
    (tmp_path / "turn.json").write_text("{}")
    assert main(["verify"]) == 1
    assert f"turn detector     corrupt  {tmp_path}  " in capsys.readouterr().out
    assert main(["verify", "a.bin"]) == 0
    assert "turn detector" not in capsys.readouterr().out


# LiveKit's turn detectors


@pytest.fixture
def fetched(world, tmp_path, monkeypatch):
    """The flavours that are fetched, of LiveKit's turn detectors."""
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    flavours = []

    def fetch(flavour):
        flavours.append(flavour)
        name = "onnx/model_q8.onnx"
        return [turn_livekit.Fetched(name, tmp_path / name, 4_000_000)]

    monkeypatch.setattr(turn_livekit, "fetch", fetch)
    return flavours


def test_livekits_are_fetched_when_asked_for_after_their_terms_with_a_line_a_file(fetched, capsys):
    assert main(["download-files", "--livekit"]) == 0
    assert fetched == ["multilingual", "en"]
    lines = capsys.readouterr().out.splitlines()
    terms = lines.index(turn_livekit.TERMS)
    assert lines[terms + 1 : terms + 3] == [
        "onnx/model_q8.onnx     4.0 MB  hf livekit/turn-detector@v0.4.1-intl  ok",
        "onnx/model_q8.onnx     4.0 MB  hf livekit/turn-detector@v1.2.2-en  ok",
    ]
    assert lines[terms + 3].startswith("LiveKit's turn detectors are in ")


def test_livekits_are_not_fetched_unless_asked_for(fetched, world, capsys, monkeypatch):
    assert main(["download-files"]) == 0
    monkeypatch.setenv(turn_livekit.ENABLED, "0")
    assert main(["download-files"]) == 0
    monkeypatch.setenv(turn_livekit.ENABLED, "1")
    assert main(["download-files", "a.bin"]) == 0
    assert main(["download-files", "--to", str(world.folder / "usb")]) == 0
    assert fetched == []
    assert "LiveKit" not in capsys.readouterr().out


def test_livekits_are_fetched_beside_the_files_that_are_named(fetched, capsys):
    assert main(["download-files", "a.bin", "--livekit"]) == 0
    assert fetched == ["multilingual", "en"]


def test_the_environment_asks_for_livekits_in_the_command_and_in_the_plugin(
    fetched, capsys, monkeypatch
):
    from livekit.plugins.nearvoice import NearvoicePlugin

    plugin = object.__new__(NearvoicePlugin)  # another one must not be registered
    plugin.download_files()
    assert fetched == []
    monkeypatch.setenv(turn_livekit.ENABLED, "1")
    plugin.download_files()
    assert fetched == ["multilingual", "en"]
    assert turn_livekit.TERMS in capsys.readouterr().err
    assert main(["download-files"]) == 0
    assert fetched == ["multilingual", "en"] * 2


@pytest.mark.parametrize("error", [OSError("no route"), BundleError("was damaged")])
def test_livekits_that_fail_say_why_and_what_to_do_and_the_other_is_fetched(
    fetched, capsys, monkeypatch, error
):
    works = turn_livekit.fetch

    def fetch(flavour):
        if flavour == "multilingual":
            raise error
        return works(flavour)

    monkeypatch.setattr(turn_livekit, "fetch", fetch)
    assert main(["download-files", "--livekit"]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"livekit/turn-detector v0.4.1-intl: {error}",
        "run `nearvoice download-files --livekit` again when this is mended; what arrived is kept",
    ]
    assert "hf livekit/turn-detector@v1.2.2-en  ok" in said.out


def test_livekits_do_not_go_into_a_folder_and_what_does_is_told(fetched, world, capsys):
    usb = world.folder / "usb"
    assert main(["download-files", "--livekit", "--to", str(usb)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "copy the folder that it names, the cache of huggingface_hub" in said.err
    assert "HF_HUB_CACHE" in said.err
    assert (fetched, said.out, usb.exists()) == ([], "", False)


# More of the command


def test_a_broken_manifest_is_one_line(monkeypatch, capsys):
    from nearvoice import files
    from nearvoice.manifest import parse

    monkeypatch.setattr(files, "manifest", lambda: parse("[a]"))
    assert main(["verify"]) == 1
    assert capsys.readouterr().err == 'manifest table ["a"], field sha256: is missing\n'


def test_a_stopped_download_ends_without_a_traceback(world, monkeypatch, capsys):
    from nearvoice import files

    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "download", stop)
    assert main(["download-files"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def on_a_terminal(world, *arguments, **more):
    """Run ``nearvoice ARGUMENTS`` on a terminal, and return what it shows."""
    import pty

    ours, theirs = pty.openpty()
    process = world.start(*arguments, stdout=theirs, **more)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 1 << 16):
            said += part
    except OSError:  # Linux says that the other end was closed
        pass
    finally:
        os.close(ours)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return said.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_a_terminal_has_a_progress_bar_and_a_pipe_has_none(world):
    content = os.urandom(1 << 20)
    world.knows(table("a.bin", content, [world.server.add("a.bin", content, "slow")]))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    text = on_a_terminal(world, "download-files", env=environment)
    assert "━" in text
    assert "a.bin                1.0 MB  github some/where  ok\r\n" in text

    (world.cache / "a.bin").unlink()
    _, out, err = world.run("download-files")
    assert "\x1b" not in out + err
    assert "━" not in out


def test_the_module_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "nearvoice", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"nearvoice {nearvoice.__version__}\n"


# denoise


def write_call(path, seconds=3, rate=24_000, channels=2):
    rng = np.random.default_rng(1)
    sound = rng.integers(-9000, 9000, (seconds * rate, channels), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    return sound


def read_call(path):
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return sound.reshape(-1, file.getnchannels())


class Tenth:
    """In the place of a Denoiser, whose weights are not here: a tenth of the sound."""

    made = None

    def __init__(self, *arguments, **settings):
        Tenth.made = arguments, settings

    def push(self, samples):
        return samples * np.float32(0.1)

    def flush(self):
        return np.empty(0, np.float32)


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setattr(denoise, "Denoiser", Tenth)
    monkeypatch.chdir(tmp_path)
    return write_call("in.wav")


def test_denoise_writes_the_file_and_one_line(call, capsys):
    assert main(["denoise", "in.wav", "out.wav"]) == 0
    assert np.abs(read_call("out.wav") - call / 10).max() <= 0.51
    said = capsys.readouterr()
    line = r"out\.wav: 3\.0 s of audio, \S+ times as fast as real time, mean attenuation 20\.0 dB\n"
    assert re.fullmatch(line, said.out)
    assert said.err == ""
    assert Tenth.made == (("hush", 24_000), {"strength": 1.0})


def test_denoise_gives_its_options_to_the_denoiser(call, capsys):
    options = ["--model", "gtcrn", "--strength", "0.5", "--attenuation-limit"]
    assert main(["denoise", "in.wav", "out.wav", *options, "12"]) == 0
    assert Tenth.made == (("gtcrn", 24_000), {"strength": 0.5, "attenuation_limit": 12.0})
    assert main(["denoise", "in.wav", "out.wav", *options, "none"]) == 0
    assert Tenth.made[1]["attenuation_limit"] is None
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["denoise", "in.wav", "out.wav", *options, "much"])
    assert "must be a number or none, not 'much'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["gone.wav", "out.wav"], "No such file or directory: 'gone.wav'"),
        (["in.wav", "in.wav"], "in.wav is the file to read: name another one to write"),
        (["in.wav", "no/out.wav"], "no is no folder: make it, or name another file to write"),
        (["in.wav", "o.wav", "--png", "in.wav"], "in.wav is the file to read"),
        (["noise.flac", "out.wav"], "noise.flac is no WAV file: convert it with `ffmpeg -i "),
    ],
)
def test_what_denoise_cannot_do_is_one_line(call, capsys, tmp_path, arguments, why):
    (tmp_path / "noise.flac").write_bytes(b"fLaC and more")
    assert main(["denoise", *arguments]) == 1
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "noise.flac"]
    assert np.array_equal(read_call("in.wav"), call)


@pytest.mark.model
@pytest.mark.parametrize(
    ("option", "why"),
    [
        (["--strength", "2"], "strength must be"),
        (["--attenuation-limit", "-3"], "attenuation_limit"),
    ],
)
def test_a_value_out_of_its_range_is_one_line(tmp_path, capsys, option, why):
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    write_call(source)
    assert main(["denoise", str(source), str(target), *option]) == 1
    assert capsys.readouterr().err.startswith(why)
    assert not target.exists()


def test_denoise_without_the_model_files_says_what_to_run(world, tmp_path, capsys):
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    write_call(source)
    for model in ("hush", "gtcrn"):
        assert main(["denoise", str(source), str(target), "--model", model]) == 1
        assert capsys.readouterr().err.endswith(": run `nearvoice download-files`\n")
        assert not target.exists()


def test_a_picture_without_matplotlib_is_told_before_the_work(call, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["denoise", "in.wav", "out.wav", "--png", "out.png"]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib")
def test_denoise_draws_a_picture(call, capsys, tmp_path):
    assert main(["denoise", "in.wav", "out.wav", "--png", "out.png"]) == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 3
    assert capsys.readouterr().out.count("\n") == 1


def test_a_stopped_denoise_leaves_nothing_behind(call, capsys, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Tenth, "push", stop)
    assert main(["denoise", "in.wav", "out.wav"]) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


STAND_IN = """
from nearvoice import denoise, prepare
from tests.test_command import Tenth
denoise.Denoiser = Tenth
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_denoise_shows_a_bar_on_a_terminal_and_nothing_of_it_elsewhere(world):
    write_call(world.folder / "in.wav")
    world.knows(table("a.bin", CONTENT, [github("a.bin")]))
    environment = {
        **os.environ,
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    how = {"before": STAND_IN, "env": environment}
    said = on_a_terminal(world, "denoise", "in.wav", "out.wav", **how)
    assert "━" in said
    assert said.endswith(" dB\r\n")

    status, out, err = world.run("denoise", "in.wav", "out.wav", **how)
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert out.count("\n") == 1
