"""A folder in, a checked turn-detector bundle out.

``turn.json`` says how ``model.onnx`` and ``tokenizer.json`` are used, and what they must be;
docs/turn-bundle.md has every field. No code runs from a bundle: ONNX is a graph, and a template
runs in Jinja's sandbox.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any, Literal, NoReturn, TypeVar, get_args

from .digest import sha256_once
from .turn_text import NORMALISATIONS, Normalisation

FORMAT = 1
"""Version of ``turn.json`` that is read and written here."""
MODEL, TOKENIZER, SPEC = "model.onnx", "tokenizer.json", "turn.json"
MEMORY = "memory.npy"
"""What some have beside their network: :mod:`nearvoice.turn_memory`."""

Truncation = Literal["turns", "tokens"]
"""What goes when a conversation is too long: whole turns, or, as upstream, tokens."""


class BundleError(ValueError):
    """A bundle is not what it should be: the message names the folder, the part and the remedy."""


class MissingPartError(BundleError, FileNotFoundError):
    """A file of a bundle is missing."""


@dataclass(frozen=True)
class Bundle:
    """A turn detector on disk, and how it is used."""

    model: Path
    """The network, an ONNX file."""
    tokenizer: Path
    name: str
    version: str
    licence: str
    """Of the weights."""
    template: str
    """Chat template, in Jinja."""
    end: str
    """Token that the template writes when a turn has ended."""
    vocabulary: int | None
    """Tokens that the tokenizer must have; None where nobody says."""
    max_tokens: int
    """Of a prompt."""
    threshold: float
    """For a language that has none of its own."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By language, such as ``en`` or ``pt-BR``."""
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By language, ``*`` for all others: scale and shift of the network's logit."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What the template may use, such as ``bos_token``."""
    normalisation: Normalisation = "plain"
    max_messages: int | None = None
    """Newest messages that are read; None for all."""
    truncation: Truncation = "turns"
    memory: Path | None = None
    """A table of last words; None if it has none."""
    memory_units: Mapping[str, float] = field(default_factory=dict)
    """By language, ``*`` for all others: logit of a weight of 1 in it."""
    points: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Other thresholds of languages, by the TPR that they give, such as ``0.95``."""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it has thresholds for."""
        return tuple(self.thresholds)

    def threshold_for(self, language: str | None) -> float:
        """Return the probability under which a user of this language has probably not finished.

        Args:
            language: Such as ``en`` or ``pt-BR``; of the base language, if it has none of its own.
                None, or one that the bundle does not have: the threshold for all of them.
        """
        found = of_language(self.thresholds, language)
        return self.threshold if found is None else found

    def thresholds_at(self, tpr: float) -> dict[str, float]:
        """Return the thresholds of each language that give another TPR.

        ``MultilingualModel(unlikely_threshold=...)`` takes them.

        Args:
            tpr: Share of complete turns that are recognised, one of ``points``, such as 0.95.

        Raises:
            ValueError: It has none for that.
        """
        for name, thresholds in self.points.items():
            if float(name) == tpr:
                return dict(thresholds)
        known = ", ".join(self.points) or "none"
        raise ValueError(f"{self.name} has no thresholds for a TPR of {tpr}; it has {known}")


_Value = TypeVar("_Value")


def of_language(by: Mapping[str, _Value], language: str | None) -> _Value | None:
    """Return what there is for a language, or else for its base: ``pt`` for ``pt-BR``."""
    if language is None:
        return None
    known = {name.lower(): value for name, value in by.items()}
    name = language.lower()
    return known.get(name, known.get(name.split("-")[0]))


def read(folder: Path) -> Bundle:
    """Return the bundle in ``folder``, its files hashed.

    Raises:
        MissingPartError: One of its files is missing; a FileNotFoundError.
        BundleError: ``turn.json`` is of another format version or has a field missing, unknown or
            wrong, or a file is not the one it was made for or cannot be read.
    """
    spec = _spec(folder)
    files = spec.pop("files")
    if (MEMORY in files) != ("memory_units" in spec):
        _refuse(folder, f"{SPEC}: {MEMORY} among its files needs memory_units, and these it")
    for name, (size, digest) in files.items():
        _check_file(folder, name, size, digest)
    del spec["format"]
    pairs = spec.get("calibration", {})
    spec["calibration"] = {language: tuple(pair) for language, pair in pairs.items()}
    memory = folder / MEMORY if MEMORY in files else None
    return Bundle(model=folder / MODEL, tokenizer=folder / TOKENIZER, memory=memory, **spec)


def write(folder: Path, fields: Mapping[str, Any]) -> Bundle:
    """Write ``turn.json`` beside the files that are in ``folder``, and read the bundle back.

    Args:
        folder: Has ``model.onnx`` and ``tokenizer.json``, and ``memory.npy`` where the fields have
            ``memory_units``.
        fields: Those of :class:`Bundle`, without the paths.

    Raises:
        BundleError: As :func:`read`.
    """
    names = (MODEL, TOKENIZER, MEMORY) if "memory_units" in fields else (MODEL, TOKENIZER)
    files = {name: _measured(folder, name) for name in names}
    spec = {"format": FORMAT, **fields, "files": files}
    text = json.dumps(spec, indent=2, ensure_ascii=False)
    (folder / SPEC).write_text(f"{text}\n", encoding="utf-8")
    return read(folder)


def _refuse(folder: Path, what: str, remedy: str = "export it again") -> NoReturn:
    raise BundleError(f"turn detector {folder}: {what}; {remedy}")


def _missing(folder: Path, name: str) -> NoReturn:
    raise MissingPartError(
        f"turn detector {folder}: {name} is missing; a bundle has {MODEL}, {TOKENIZER} and {SPEC}, "
        "which scripts/export_turn.py makes of a checkpoint"
    )


_What = TypeVar("_What")


def _of_file(folder: Path, name: str, read_file: Callable[[Path], _What]) -> _What:
    try:
        return read_file(folder / name)
    except (FileNotFoundError, NotADirectoryError):
        _missing(folder, name)
    except OSError as error:
        _refuse(folder, f"{name} cannot be read: {error}", "it must be a file that you may read")


def _measured(folder: Path, name: str) -> tuple[int, str]:
    """Return the bytes and the sha256 of a file."""
    return _of_file(folder, name, lambda path: (path.stat().st_size, sha256_once(path)))


def _spec(folder: Path) -> dict[str, Any]:
    text = _of_file(folder, SPEC, Path.read_bytes)
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(folder, f"{SPEC} is not JSON that can be read: {error}")
    if not isinstance(spec, dict):
        _refuse(folder, f"{SPEC} is not a JSON object")
    if not _is_format(spec.get("format")):
        version = short(spec.get("format"))
        _refuse(
            folder,
            f"{SPEC}, field format: is version {version}, and {FORMAT} is what is known here",
            "export it again, or update nearvoice",
        )
    for name in sorted(spec.keys() - _FIELDS.keys()):
        _refuse(folder, f"{SPEC}, field {name!r}: is unknown; known are {', '.join(_FIELDS)}")
    for name, (good, what) in _FIELDS.items():
        if name not in spec and name not in _OPTIONAL:
            _refuse(folder, f"{SPEC}, field {name}: is missing")
        if name in spec and not good(spec[name]):
            _refuse(folder, f"{SPEC}, field {name}: must be {what}, not {short(spec[name])}")
    return spec


def _check_file(folder: Path, name: str, size: int, digest: str) -> None:
    found = _measured(folder, name)
    if found != (size, digest):
        _refuse(
            folder,
            f"{name} has {found[0]} bytes and sha256 {found[1]}, not {size} and {digest}",
            "it is damaged or another one: copy the bundle again",
        )


_Rule = tuple[Callable[[Any], bool], str]
_LARGEST = 2**31 - 1
"""Of whole numbers."""
_LONGEST = 8_192
"""Tokens of a prompt."""


def _is_format(value: object) -> bool:
    return type(value) is int and value == FORMAT


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value <= _LARGEST


def _is_length(value: object) -> bool:
    return type(value) is int and 0 < value <= _LONGEST


def _by_name(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(good, value.values()))


def _is_rate(name: str) -> bool:
    try:
        return 0 < float(name) < 1
    except ValueError:
        return False


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _are_files(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() - {MEMORY} == {MODEL, TOKENIZER}
        and all(
            isinstance(file, list) and len(file) == 2 and _is_size(file[0]) and _is_text(file[1])
            for file in value.values()
        )
    )


_TEXT: _Rule = (_is_text, "a text")
_SIZE = f"a whole number from 1 to {_LARGEST}"
_FIELDS: dict[str, _Rule] = {
    "format": (_is_format, str(FORMAT)),
    "name": _TEXT,
    "version": _TEXT,
    "licence": _TEXT,
    "template": _TEXT,
    "end": _TEXT,
    "vocabulary": (_is_size, _SIZE),
    "max_tokens": (_is_size, _SIZE),
    "threshold": (_is_share, "from 0 to 1"),
    "thresholds": (_by_name(_is_share), "languages, each from 0 to 1"),
    "calibration": (_by_name(_is_pair), "languages, each with a scale and a shift"),
    "variables": (_by_name(lambda value: isinstance(value, str)), "names, each with a text"),
    "normalisation": (
        lambda value: value in NORMALISATIONS,
        f"one of {', '.join(NORMALISATIONS)}",
    ),
    "max_messages": (lambda value: value is None or _is_size(value), f"{_SIZE}, or null"),
    "truncation": (
        lambda value: value in get_args(Truncation),
        f"one of {', '.join(get_args(Truncation))}",
    ),
    "memory_units": (_by_name(_is_number), "languages, each with a number"),
    "points": (
        lambda value: _by_name(_by_name(_is_share))(value) and all(map(_is_rate, value)),
        "rates, each with languages, each from 0 to 1",
    ),
    "files": (
        _are_files,
        f"{MODEL}, {TOKENIZER} and perhaps {MEMORY}, each with its bytes and sha256",
    ),
}
"""Field of ``turn.json`` -> what is good, and how to say so."""
_OPTIONAL = {
    *("thresholds", "calibration", "variables"),
    *("normalisation", "max_messages", "truncation"),
    *("memory_units", "points"),
}
