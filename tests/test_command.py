import os
import subprocess
import sys

import pytest

import nearvoice
from nearvoice.__main__ import main
from tests.stores import github, make_wheel, open_world, sha256, table, wheel_source

CONTENT = b"content" * 100


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
    for command in ("download-files", "verify", "doctor"):
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
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == [
        "a.bin",
        "ok",
        str(world.cache / "a.bin"),
    ]
    (world.cache / "a.bin").write_bytes(b"?")
    assert main(["verify"]) == 1
    said = capsys.readouterr()
    [line] = said.out.splitlines()
    assert line.startswith(f"a.bin             corrupt  {world.cache / 'a.bin'}  has the wrong sha")
    assert f"expected {sha256(CONTENT)}, got {sha256(b'?')}" in line
    assert "nearvoice download-files" in said.err
    (world.cache / "a.bin").unlink()
    assert main(["verify"]) == 1
    assert "a.bin             missing" in capsys.readouterr().out


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


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_a_terminal_has_a_progress_bar_and_a_pipe_has_none(world):
    import pty

    content = os.urandom(1 << 20)
    world.knows(table("a.bin", content, [world.server.add("a.bin", content, "slow")]))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = world.start("download-files", stdout=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 1 << 16):
            said += part
    except OSError:  # Linux says that the other end was closed
        pass
    finally:
        os.close(ours)
    process.communicate(timeout=30)
    assert process.returncode == 0
    text = said.decode()
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
