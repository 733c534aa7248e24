"""Public repositories at a commit: fetched with git, or read out of copies that are there.

A commit's name is a hash over all that is in it, which git checks: no other text can get in.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HOST = "https://github.com"
LARGEST = 4 * 2**20
"""Bytes: files as large as this, or larger, are not fetched, and left out of copies too."""


class MissingSourceError(Exception):
    """A repository cannot be had; the message says which, and what to do."""


class Pin(NamedTuple):
    """Some files of a repository, at a commit."""

    repository: str
    """Owner and name."""
    commit: str
    paths: str
    """Regular expression of the whole path."""
    prefix: str = ""
    """Put before the path for whoever reads it."""


def files(
    pin: Pin, cache: Path, mirror: Path | None = None, host: str = HOST
) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the files of a pin, in the order of their paths.

    Args:
        pin: Which.
        cache: Folder that repositories are fetched into, once.
        mirror: Folder of git repositories ``owner+name``, to read instead.
        host: What is fetched from.

    Raises:
        MissingSourceError: The commit is not to be had, or has no such file.
    """
    folder = _copy(pin, mirror) if mirror else _fetched(pin, cache, host)
    wanted = re.compile(pin.paths)
    blobs = {path: blob for path, blob in _tree(folder, pin.commit) if wanted.fullmatch(path)}
    if not blobs:
        raise MissingSourceError(f"{pin.repository}@{pin.commit} has no file {pin.paths}")
    for path, content in zip(blobs, _contents(folder, list(blobs.values())), strict=True):
        if content is not None:
            yield pin.prefix + path, content


def _tree(folder: Path, commit: str) -> list[tuple[str, str]]:
    """Return path and blob of every file of a commit."""
    entries = _git(folder, "ls-tree", "-r", "-z", commit).decode("utf-8", "replace").split("\0")
    parts = [entry.split("\t", 1) for entry in entries if entry]
    return sorted((path, about.split()[2]) for about, path in parts if " blob " in about)


def _contents(folder: Path, blobs: list[str]) -> Iterator[bytes | None]:
    """Yield the content of each blob; None of one that is not there, or too large."""
    names = "".join(f"{blob}\n" for blob in blobs).encode()
    known = _git(folder, "cat-file", "--batch-check", stdin=names).decode().splitlines()
    sizes = [int(line.split()[2]) if line.split()[1] == "blob" else LARGEST for line in known]
    there = [blob for blob, size in zip(blobs, sizes, strict=True) if size < LARGEST]
    with subprocess.Popen(
        _command(folder, "cat-file", "--batch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise MissingSourceError("git has no pipes")
        for size in sizes:
            if size >= LARGEST:
                yield None
                continue
            process.stdin.write(f"{there.pop(0)}\n".encode())
            process.stdin.flush()
            process.stdout.readline()
            yield process.stdout.read(size)
            process.stdout.read(1)
        process.stdin.close()


def _copy(pin: Pin, mirror: Path) -> Path:
    """Return the git folder of a repository in a mirror."""
    base = mirror / pin.repository.replace("/", "+")
    places = [base / "repo" / ".git", base / "repo", base / ".git", base]
    folder = next((place for place in places if (place / "HEAD").exists()), None)
    if folder is None:
        raise MissingSourceError(f"{pin.repository} is not in {mirror}")
    if not _has(folder, pin.commit):
        raise MissingSourceError(f"{pin.repository} in {mirror} has no commit {pin.commit}")
    return folder


def _fetched(pin: Pin, cache: Path, host: str) -> Path:
    """Return the git folder of a repository in the cache, fetching the commit if need be."""
    folder = cache / f"{pin.repository.replace('/', '+')}@{pin.commit[:12]}"
    if folder.exists():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    url = f"{host}/{pin.repository}"
    subprocess.run(["git", "init", "-q", "--bare", str(part)], check=True, env=_environment())
    try:
        _git(part, "remote", "add", "origin", url)
        small = f"--filter=blob:limit={LARGEST}"
        _git(part, "fetch", "-q", "--depth=1", small, "origin", pin.commit)
        _git(part, "remote", "remove", "origin")  # or git fetches the large files when asked
    except subprocess.CalledProcessError as error:
        shutil.rmtree(part, ignore_errors=True)
        why = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise MissingSourceError(
            f"{url}: {why}. Where it cannot be reached, put a copy of it into a folder, as "
            f"{pin.repository.replace('/', '+')} (--mirror)"
        ) from error
    part.replace(folder)
    return folder


def _has(folder: Path, commit: str) -> bool:
    try:
        _git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError:
        return False
    return True


def _command(folder: Path, *arguments: str) -> list[str]:
    return ["git", f"--git-dir={folder}", *arguments]


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    command = _command(folder, *arguments)
    run = subprocess.run(command, input=stdin, capture_output=True, check=True, env=_environment())
    return run.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
