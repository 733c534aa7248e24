"""Model files: a name in, a path or weights out, from the cache alone; and what fills the cache.

:func:`path` and :func:`weights` never touch the network. :func:`download` tries the sources of
manifest.toml in order, writes under a temporary name, compares the sha256 and only then renames.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from nearvoice import arrays
from nearvoice.manifest import ModelFile, parse
from nearvoice.sources import Folder, Session, Source, SourceError

LOCK_TIMEOUT = 3600.0
"""Seconds to wait for another process that downloads into the same folder."""

COMMAND = "nearvoice download-files"
"""What to run when a file is missing."""


class MissingFileError(FileNotFoundError):
    """A model file has not been downloaded; the message names it, the folders and the command."""


class UnknownFileError(ValueError):
    """No model file has this name; the message lists those there are."""


class DownloadError(OSError):
    """Files could not be fetched: one line a file, with every source tried and why it failed."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file of a download."""

    name: str
    bytes: int
    source: str
    """Where it came from, such as ``pypi silero-vad==6.2.3``; ``present`` if it was there."""
    notes: tuple[str, ...] = ()
    """What went wrong before: a source that failed, a damaged file that was removed."""
    error: str = ""
    """Why the file is not there; empty when it is."""


@dataclass(frozen=True)
class Check:
    """What :func:`verify` found for one file."""

    name: str
    path: Path
    state: Literal["ok", "missing", "corrupt"]
    detail: str = ""
    """What is wrong; for a wrong hash, the expected and the actual one."""


class Reporter(Protocol):
    """Who is told how a download goes; see :mod:`nearvoice.progress`."""

    def begin(self, file: ModelFile, source: str) -> None:
        """``source`` is asked for ``file``."""

    def advance(self, done: int) -> None:
        """``done`` bytes of the present file have been written."""

    def end(self, outcome: Outcome) -> None:
        """A file is there, or has failed."""

    def wait(self, folder: Path) -> None:
        """Another process downloads into ``folder``; this one waits for it."""


class Silent:
    """A :class:`Reporter` that says nothing."""

    def begin(self, file: ModelFile, source: str) -> None:
        """Say nothing."""

    def advance(self, done: int) -> None:
        """Say nothing."""

    def end(self, outcome: Outcome) -> None:
        """Say nothing."""

    def wait(self, folder: Path) -> None:
        """Say nothing."""


def manifest() -> dict[str, ModelFile]:
    """Return every model file by name.

    Raises:
        nearvoice.manifest.ManifestError: manifest.toml has a bad table.
    """
    return dict(_manifest())


@cache
def _manifest() -> dict[str, ModelFile]:
    return parse(Path(__file__).with_name("manifest.toml").read_text("utf-8"))


def cache_dir() -> Path:
    """Return the folder model files are kept in, which may not exist yet.

    It is ``NEARVOICE_CACHE``, else ``$XDG_CACHE_HOME/nearvoice``, else ``~/.cache/nearvoice``.
    """
    if named := os.environ.get("NEARVOICE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nearvoice"


def models_dir() -> Path | None:
    """Return ``NEARVOICE_MODELS_DIR``, the folder looked at before the cache; never written to."""
    named = os.environ.get("NEARVOICE_MODELS_DIR")
    return Path(named).expanduser() if named else None


def path(name: str) -> Path:
    """Return where the model file ``name`` is, without looking into it.

    Raises:
        UnknownFileError: No model file has this name.
        MissingFileError: It has not been downloaded.
    """
    return _existing(_known(name), name)


def weights(name: str) -> arrays.Arrays:
    """Return the weights of the model file ``name`` as arrays by their ONNX names.

    Raises:
        UnknownFileError: No model file has this name, or it is not kept as arrays.
        MissingFileError: They have not been downloaded.
        nearvoice.arrays.WeightsError: The array file is damaged or of another version.
    """
    file = _known(name)
    if not file.arrays:
        raise UnknownFileError(f"{name} is not kept as arrays; open files.path({name!r})")
    return arrays.load(_existing(file, file.arrays_name), file.sha256)


def download(
    names: Iterable[str] | None = None, *, to: Path | None = None, report: Reporter | None = None
) -> list[Outcome]:
    """Fetch the files that are missing or damaged, and make their arrays.

    Args:
        names: Which files; all that an agent or the demo needs when omitted.
        to: A folder to fill for another machine; the cache when omitted.
        report: Who is told how it goes.

    Returns:
        One outcome a file, and one for each array file that was made.

    Raises:
        UnknownFileError: No model file has one of these names.
        DownloadError: A file could not be fetched; the others were.
    """
    wanted = _wanted(names)
    job = _Download(cache_dir() if to is None else to, to is None, report or Silent())
    job.run(wanted)
    failed = [f"{outcome.name}: {outcome.error}" for outcome in job.outcomes if outcome.error]
    if failed:
        remedy = f"run `{COMMAND}` again when this is mended (what arrived is kept)"
        raise DownloadError("\n".join([*failed, remedy]))
    return job.outcomes


def verify(names: Iterable[str] | None = None) -> list[Check]:
    """Hash every file again and compare its arrays with it; fetches and changes nothing.

    Args:
        names: Which files; when omitted all that an agent or the demo needs, and any other present.

    Raises:
        UnknownFileError: No model file has one of these names.
    """
    if names is None:
        wanted = [f for f in manifest().values() if f.use != "request" or _find(f.name)]
    else:
        wanted = _wanted(names)
    return [check for file in wanted for check in _verify(file)]


class _Download:
    """One run of :func:`download` into ``folder``."""

    def __init__(self, folder: Path, is_cache: bool, report: Reporter) -> None:
        self.outcomes: list[Outcome] = []
        self._folder = folder
        self._is_cache = is_cache
        self._report = report

    def run(self, wanted: list[ModelFile]) -> None:
        left = [file for file in wanted if not self._is_settled(file)]
        if not left:
            return
        try:
            with self._lock(), Session(self._report.advance) as session:
                while left:
                    if not self._is_settled(left[0]):
                        self._get(left[0], session)
                    left.pop(0)
        except OSError as error:
            for file in left:
                self._end(Outcome(file.name, file.bytes, "", error=self._cannot_write(error)))

    def _is_settled(self, file: ModelFile) -> bool:
        """Report a file that needs no work, or that this run may not mend."""
        beside = models_dir() if self._is_cache else None
        if beside is not None and (beside / file.name).exists():
            if wrong := _wrong(beside / file.name, file):
                error = f"{beside / file.name} {wrong}: it comes before the cache, so replace it"
                self._end(Outcome(file.name, file.bytes, "", error=error))
                return True
            where = beside
        else:
            where = self._folder
        if not (where / file.name).exists() or _wrong(where / file.name, file):
            return False
        folders = [where, self._folder]
        if file.arrays and not any(_has_arrays(f / file.arrays_name, file) for f in folders):
            return False
        self._end(Outcome(file.name, file.bytes, "present"))
        return True

    def _get(self, file: ModelFile, session: Session) -> None:
        beside = models_dir() if self._is_cache else None
        if beside is not None and (beside / file.name).exists():
            self._make_arrays(file, beside / file.name)
            return
        outcome = self._fetch(file, session)
        self._end(outcome)
        if file.arrays and not outcome.error:
            self._make_arrays(file, self._folder / file.name)

    def _fetch(self, file: ModelFile, session: Session) -> Outcome:
        target = self._folder / file.name
        notes: list[str] = []
        if target.exists():
            wrong = _wrong(target, file)
            if not wrong:
                return Outcome(file.name, file.bytes, "present")
            target.unlink()
            notes.append(f"{target} {wrong}: removed")
        # The hash in the name: what is left of one version is never continued with another.
        partial = self._folder / f".{file.name}.{file.sha256[:12]}.partial"
        for source in self._sources(file):
            self._report.begin(file, str(source))
            try:
                source.fetch(partial, file.bytes, session)
                _accept(partial, target, file)
            except SourceError as error:
                notes.append(f"{source}: {error}")
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            else:
                return Outcome(file.name, file.bytes, str(source), tuple(notes))
        return Outcome(file.name, file.bytes, "", error="; ".join(notes))

    def _sources(self, file: ModelFile) -> Iterator[Source]:
        beside = models_dir()
        if beside is not None and (beside / file.name).exists():
            yield Folder(beside, file.name)
        if not self._is_cache and (cache_dir() / file.name).exists():
            yield Folder(cache_dir(), file.name, "cache")
        yield from file.sources

    def _make_arrays(self, file: ModelFile, onnx: Path) -> None:
        target = self._folder / file.arrays_name
        if _has_arrays(target, file):
            return
        error = ""
        try:
            arrays.save(target, arrays.read_onnx(onnx), file.sha256)
        except arrays.WeightsError as wrong:
            error = str(wrong)
        size = 0 if error else target.stat().st_size
        self._end(Outcome(target.name, size, f"from {file.name}", error=error))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._report.end(outcome)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the folder: a second process waits here, and then finds the files."""
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._report.wait(self._folder)
            lock.acquire(timeout=LOCK_TIMEOUT)
        try:
            yield
        finally:
            lock.release()

    def _cannot_write(self, error: OSError) -> str:
        variable = "NEARVOICE_CACHE" if self._is_cache else "--to"
        return (
            f"cannot write to {self._folder} ({error}): make room or name another with {variable}"
        )


def _known(name: str) -> ModelFile:
    known = manifest()
    if name not in known:
        raise UnknownFileError(f"no model file is called {name!r}; there are {', '.join(known)}")
    return known[name]


def _wanted(names: Iterable[str] | None) -> list[ModelFile]:
    if names is None:
        return [file for file in manifest().values() if file.use != "request"]
    return [_known(name) for name in dict.fromkeys(names)]


def _find(name: str) -> Path | None:
    folders = [folder for folder in (models_dir(), cache_dir()) if folder is not None]
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _existing(file: ModelFile, name: str) -> Path:
    if found := _find(name):
        return found
    beside = models_dir()
    also = "" if beside is None else f" nor in NEARVOICE_MODELS_DIR, {beside}"
    command = COMMAND if file.use != "request" else f"{COMMAND} {file.name}"
    raise MissingFileError(
        f"{name} is not in the cache folder {cache_dir()}{also}: run `{command}`"
    )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _wrong(found: Path, file: ModelFile) -> str:
    """Return what is wrong with ``found``, or nothing."""
    got = _sha256(found)
    return "" if got == file.sha256 else f"has the wrong sha256: expected {file.sha256}, got {got}"


def _accept(partial: Path, target: Path, file: ModelFile) -> None:
    if wrong := _wrong(partial, file):
        partial.unlink()
        raise SourceError(f"{wrong}: removed")
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)


def _has_arrays(found: Path, file: ModelFile) -> bool:
    try:
        arrays.load(found, file.sha256)
    except (FileNotFoundError, arrays.WeightsError):
        return False
    return True


def _verify(file: ModelFile) -> Iterator[Check]:
    found = _find(file.name)
    if found is None:
        yield Check(file.name, cache_dir() / file.name, "missing")
    else:
        wrong = _wrong(found, file)
        yield Check(file.name, found, "corrupt" if wrong else "ok", wrong)
        if file.arrays and not wrong:
            yield _verify_arrays(file, found)


def _verify_arrays(file: ModelFile, onnx: Path) -> Check:
    found = _find(file.arrays_name)
    if found is None:
        return Check(file.arrays_name, cache_dir() / file.arrays_name, "missing")
    try:
        kept, fresh = arrays.load(found, file.sha256), arrays.read_onnx(onnx)
    except arrays.WeightsError as error:
        return Check(file.arrays_name, found, "corrupt", str(error))
    same = kept.keys() == fresh.keys() and all(
        kept[key].dtype == fresh[key].dtype and np.array_equal(kept[key], fresh[key], True)
        for key in fresh
    )
    if same:
        return Check(file.arrays_name, found, "ok")
    return Check(file.arrays_name, found, "corrupt", f"differs from {onnx}: delete it")
