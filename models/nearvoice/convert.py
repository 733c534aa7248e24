"""What the arrays of a model file are: constants of its ONNX file, some in a smaller form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import hush_weights
from .arrays import Arrays, read_onnx
from .manifest import ModelFile


class Conversion(NamedTuple):
    """How the constants of a file are made smaller."""

    form: str
    """What the result is called; another name where it changes, so that what was made before is
    made again."""
    convert: Callable[[Arrays], Arrays]
    """Gives the same for the same constants, bit for bit."""


CONVERSIONS = dict.fromkeys(hush_weights.FILES, Conversion("int8", hush_weights.compact))
"""Name of a model file -> its conversion; constants of the others are kept as they are."""


def source(file: ModelFile) -> str:
    """Return what the array file of a model file says that it came from: a hash, and its form."""
    conversion = CONVERSIONS.get(file.name)
    return file.sha256 if conversion is None else f"{file.sha256} {conversion.form}"


def convert(file: ModelFile, onnx: Path) -> Arrays:
    """Return the arrays of a model file out of its ONNX file.

    Raises:
        FileNotFoundError: There is no such file.
        nearvoice.arrays.WeightsError: It is not ONNX, or holds no weights.
    """
    constants = read_onnx(onnx)
    conversion = CONVERSIONS.get(file.name)
    return constants if conversion is None else conversion.convert(constants)
