"""A file in, its hash out."""

import functools
import hashlib
from pathlib import Path

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """Return the same, computed once in a process while the file is as long and as old."""
    stat = path.stat()
    return _known(path.absolute(), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=64)
def _known(path: Path, _changed: int, _size: int) -> str:
    return sha256(path)
