"""Public repositories of sounds, each at a commit, with a licence and a hash."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .data import MissingDataError, digest
from .progress import track


class Source(NamedTuple):
    """Files of a repository, at a commit."""

    repository: str
    commit: str
    origin: str
    licence: str
    paths: tuple[str, ...]
    sha256: str
    """Over the bytes of all its files, one after the other."""

    @property
    def via(self) -> str:
        """How manifests name it."""
        return f"github:{self.repository}@{self.commit}"


def obtain(source: Source, folder: Path) -> list[Path]:
    """Return the files of a source, fetching those that are not in the folder.

    Args:
        source: What is wanted.
        folder: Has, or gets, the files at the paths they have in the repository.

    Raises:
        MissingDataError: One is not there and cannot be fetched, or they are other files.
    """
    paths = [folder / path for path in source.paths]
    missing = [path for path in paths if not path.exists()]
    for path in _bar(missing, source.repository):
        _fetch(source, path.relative_to(folder).as_posix(), path)
    if digest(paths) != source.sha256:
        raise MissingDataError(f"the files of {source.via} in {folder} are not those: remove them")
    return paths


def place(source: Source, sources: Path, folder: Path) -> None:
    """Put the files of a source side by side into a folder, which gets all of them or none.

    Raises:
        MissingDataError: As :func:`obtain`.
    """
    paths = obtain(source, sources)
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        part = folder / f"{path.name}.part"
        part.write_bytes(path.read_bytes())
        part.replace(folder / path.name)


def _bar(paths: list[Path], what: str) -> Iterable[Path]:
    return track(paths, f"fetching {what}") if paths else ()


def _fetch(source: Source, name: str, path: Path) -> None:
    place = f"{source.repository}/{source.commit}/{urllib.parse.quote(name)}"
    url = f"https://raw.githubusercontent.com/{place}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            content = answer.read()
    except OSError as error:
        raise MissingDataError(
            f"{url}: {getattr(error, 'reason', error)}. Where that host cannot be reached, put the "
            f"files of {source.via} into {path.parents[name.count('/')]} (--sources), at the same "
            "paths"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
