"""Model files: a name in, a path or weights out, from the cache alone; and what fills the cache.

:func:`path` and :func:`weights` never touch the network; :func:`download` alone does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from . import arrays, convert
from .download import DownloadError, Job, Outcome, Reporter, Silent, fault
from .manifest import ModelFile, parse

__all__ = [
    "Check",
    "DownloadError",
    "MissingFileError",
    "ModelFile",
    "Outcome",
    "Reporter",
    "UnknownFileError",
    "cache_dir",
    "download",
    "manifest",
    "models_dir",
    "path",
    "settings",
    "verify",
    "weights",
]

COMMAND = "nearvoice download-files"
"""What to run when a file is missing."""


class MissingFileError(FileNotFoundError):
    """A model file has not been downloaded; the message names it, the folders and the command."""


class UnknownFileError(ValueError):
    """No model file has this name; the message lists those there are."""


@dataclass(frozen=True)
class Check:
    """What :func:`verify` found for one file."""

    name: str
    path: Path
    state: Literal["ok", "missing", "corrupt"]
    detail: str = ""
    """What is wrong; for a wrong hash, the expected and the actual one."""


def manifest() -> dict[str, ModelFile]:
    """Return every model file by name.

    Raises:
        nearvoice.manifest.ManifestError: manifest.toml has a bad table.
    """
    return dict(_manifest())


@cache
def _manifest() -> dict[str, ModelFile]:
    return parse(Path(__file__).with_name("manifest.toml").read_text("utf-8"))


def settings() -> tuple[str | None, ...]:
    """Return the environment variables that say where files are: what may be cached, by them."""
    return tuple(os.environ.get(name) for name in _SETTINGS)


_SETTINGS = ("NEARVOICE_CACHE", "XDG_CACHE_HOME", "HOME", "NEARVOICE_MODELS_DIR")


def cache_dir() -> Path:
    """Return the folder model files are kept in, which may not exist yet.

    It is ``NEARVOICE_CACHE``, else ``$XDG_CACHE_HOME/nearvoice``, else ``~/.cache/nearvoice``.

    Raises:
        FileNotFoundError: None of them, and this user has no home folder.
    """
    try:
        return _cache_dir(settings())
    except RuntimeError as error:
        raise FileNotFoundError(f"{error}: set NEARVOICE_CACHE to a folder") from error


@cache
def _cache_dir(_settings: tuple[str | None, ...]) -> Path:
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

    Some are in a smaller form, see :mod:`nearvoice.convert`.

    Raises:
        UnknownFileError: No model file has this name, or it is not kept as arrays.
        MissingFileError: They have not been downloaded.
        nearvoice.arrays.WeightsError: The array file is damaged or of another version.
    """
    file = _known(name)
    if not file.arrays:
        raise UnknownFileError(f"{name} is not kept as arrays; open files.path({name!r})")
    return arrays.load(_existing(file, file.arrays_name), convert.source(file))


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
    report = report or Silent()
    if to is None:
        return Job(cache_dir(), "NEARVOICE_CACHE", report, beside=models_dir()).run(wanted)
    nearer = {"dir": models_dir(), "cache": cache_dir()}
    return Job(to, "--to", report, nearer=nearer).run(wanted)


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


def _verify(file: ModelFile) -> Iterator[Check]:
    found = _find(file.name)
    if found is None:
        yield Check(file.name, cache_dir() / file.name, "missing")
    else:
        try:
            wrong = fault(found, file)
        except OSError as error:
            wrong = f"cannot be read: {error}"
        yield Check(file.name, found, "corrupt" if wrong else "ok", wrong)
        if file.arrays and not wrong:
            yield _verify_arrays(file, found)


def _verify_arrays(file: ModelFile, onnx: Path) -> Check:
    found = _find(file.arrays_name)
    if found is None:
        return Check(file.arrays_name, cache_dir() / file.arrays_name, "missing")
    try:
        kept, fresh = arrays.load(found, convert.source(file)), convert.convert(file, onnx)
    except arrays.WeightsError as error:
        return Check(file.arrays_name, found, "corrupt", str(error))
    same = kept.keys() == fresh.keys() and all(
        kept[key].dtype == fresh[key].dtype and np.array_equal(kept[key], fresh[key], True)
        for key in fresh
    )
    if same:
        return Check(file.arrays_name, found, "ok")
    return Check(file.arrays_name, found, "corrupt", f"differs from {onnx}: delete it")
