"""Images of compiled kernels: which this processor can run, where they are, mapped into memory.

An image is one file for one level of the instruction set: a line of JSON, padding to a page, and
machine code. It is mapped as it is, so all processes share one copy. Code is as much trusted as the
Python files beside this one, and no more: the image must belong to their owner, to root or to this
user, nobody else may be able to write to it, and its hash must be right.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import os
import platform
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import __version__, files
from ..cpu import processor
from .relocations import PAGE

_V3 = frozenset(["avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"])
_V4 = _V3 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
"""Flags of /proc/cpuinfo of two levels of the x86-64 psABI."""
_ARM = frozenset(["asimd"])
"""Flag of ARM's vector instructions, which nearly all of its 64-bit processors have."""
_HALVED = {("AuthenticAMD", "25")}
"""Vendor and family of processors that run AVX-512 in halves (Zen 4): there the wider registers
measured slower than more registers of 256 bits."""


_AROUND = (
    "filterbank",
    "gtcrn",
    "gtcrn_weights",
    "hush_features",
    "hush_weights",
    "polyphase",
    "silero_network",
    "spectrum",
)
"""Modules that kernels and their layouts are made from, beside the folder of this one."""


class ImageError(OSError):
    """No kernels can be mapped; the message says why, and what to do if something can be done."""


class Image(NamedTuple):
    """Kernels in memory, for as long as this value is kept."""

    level: str
    path: Path
    functions: Mapping[str, int]
    """Name of the kernel -> address."""
    memory: mmap.mmap
    about: Mapping[str, str]
    """Name of what compiled it -> version."""


def levels() -> list[str]:
    """Return the levels that kernels exist for and this processor can run, best first.

    They are ``x86-64-v4`` (AVX-512), ``x86-64-v4-256`` (AVX-512 with registers of 256 bits),
    ``x86-64-v3`` (AVX2) and ``aarch64`` (ARMv8). Empty where images cannot be mapped at all: on
    other systems than Linux, on other processors, and in a Python of 32 bits.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64") or sys.maxsize < 1 << 32:
        return []
    cpu = processor()
    if machine == "aarch64":
        return ["aarch64"] if cpu.flags >= _ARM else []
    wide = "x86-64-v4-256" if (cpu.vendor, cpu.family) in _HALVED else "x86-64-v4"
    return [level for level, needed in ((wide, _V4), ("x86-64-v3", _V3)) if needed <= cpu.flags]


@functools.cache
def sources() -> str:
    """Return the hash of what kernels are made from; an image of another is not used.

    That is the version, the files beside this one, and those that say how weights and filters lie
    in memory.
    """
    digest = hashlib.sha256(__version__.encode())
    folder = Path(__file__).parent
    around = [folder.with_name(f"{name}.py") for name in _AROUND]
    for path in [*sorted(folder.glob("*.py")), *around]:
        if path.exists():  # not where Python's files are kept otherwise; the version must do there
            digest.update(path.read_bytes())
    return digest.hexdigest()


def folder() -> Path:
    """Return where the images are, in the cache."""
    return _folder(files.settings())


@functools.cache
def _folder(_settings: tuple[str | None, ...]) -> Path:
    return files.cache_dir() / "kernels"


def path(level: str) -> Path:
    """Return where the image of a level is, or would be."""
    return folder() / f"{level}-{sources()[:12]}.image"


def find() -> Image:
    """Map the best image that there is; the same one for all who ask, even if it is removed.

    Raises:
        ImageError: There is none, or it cannot be trusted or mapped.
    """
    if (reason := unsupported()) is not None:
        raise ImageError(reason)
    try:
        return _find(folder())
    except ImageError:
        raise
    except OSError as error:  # there is no folder
        raise ImageError(str(error)) from error


@functools.lru_cache(maxsize=4)
def _find(folder: Path) -> Image:
    wrong = []
    for level in levels():
        if path(level).exists():
            try:
                return _of_level(load(path(level)), level)
            except ImageError as error:
                wrong.append(error)
    if wrong:
        raise wrong[0]
    raise ImageError(f"no compiled kernels in {folder}: run `{files.COMMAND}`")


def _of_level(image: Image, level: str) -> Image:
    if image.level != level:
        raise ImageError(f"{image.path} is for {image.level}: run `{files.COMMAND}`")
    return image


def exists() -> bool:
    """Return whether there is an image for this processor, good or not."""
    try:
        return any(path(level).exists() for level in levels())
    except OSError:  # there is no folder
        return False


def unsupported() -> str | None:
    """Return why no compiled kernel can run on this machine; None when one can."""
    if levels():
        return None
    if platform.machine().lower().startswith(("aarch64", "arm")):
        return "compiled kernels need Linux and a 64-bit Python on an ARM processor with ASIMD"
    return "compiled kernels need Linux on an x86-64 processor with AVX2, FMA and F16C"


def load(path: Path) -> Image:
    """Map the image at ``path``.

    Raises:
        ImageError: It is damaged, others can write to it, or this system forbids to run it.
    """
    remedy = f"run `{files.COMMAND}`"
    try:
        with path.open("rb") as file:
            _check_owner(os.fstat(file.fileno()), path)
            memory = mmap.mmap(
                file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC
            )
    except ImageError:
        raise
    except PermissionError as error:  # also where the folder is mounted noexec
        where = "let NEARVOICE_CACHE be a folder whose files this user may read and run"
        raise ImageError(f"{path} cannot be mapped ({error}): {where}") from error
    except (OSError, ValueError) as error:  # no such file, an empty file
        raise ImageError(f"{path} cannot be mapped ({error}): {remedy}") from error
    try:
        header = json.loads(memory[:PAGE])
        sound = header.pop("sha256") == _digest(header, memoryview(memory)[PAGE:])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError(f"{path} is damaged ({error!r}): {remedy}") from error
    if not sound:
        raise ImageError(f"{path} is damaged (sha256): {remedy}")
    if header["sources"] != sources():
        raise ImageError(f"{path} is of another version: {remedy}")
    base = np.frombuffer(memory, np.uint8).ctypes.data + PAGE
    functions = {name: base + offset for name, offset in header["functions"].items()}
    return Image(header["level"], path, functions, memory, header["about"])


def _digest(header: object, code: bytes | memoryview) -> str:
    """Return the hash of an image, of all but the hash itself."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(code)
    return digest.hexdigest()


def _check_owner(status: os.stat_result, path: Path) -> None:
    trusted = {0, os.geteuid(), Path(__file__).stat().st_uid}
    if status.st_uid not in trusted:
        raise ImageError(
            f"{path} belongs to user {status.st_uid}, who does not own nearvoice: delete it"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ImageError(f"others than its owner can write to {path}: run `chmod go-w {path}`")


def write(
    path: Path, level: str, kernels: Iterable[tuple[str, bytes, int]], about: Mapping[str, str]
) -> None:
    """Write an image, whole or not at all.

    Args:
        path: Of the image; its folder must exist.
        level: Of the instruction set.
        kernels: Name, code and entry of each, see :func:`.link.link`.
        about: Versions of what compiled them, for those who read it.
    """
    code, functions = b"", {}
    for name, block, entry in kernels:
        code += bytes(-len(code) % PAGE)
        functions[name] = len(code) + entry
        code += block
    header = {
        "level": level,
        "sources": sources(),
        "functions": functions,
        "about": dict(about),
    }
    start = json.dumps({**header, "sha256": _digest(header, code)}).encode()
    if len(start) > PAGE:
        raise ValueError(f"the header of {path} is longer than a page")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(start.ljust(PAGE) + code)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
