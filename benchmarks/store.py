"""Predictions of a task, kept: a file for each system and item, written once and whole.

What is there is not made again, so a run that was interrupted goes on where it stopped. Scores are
made of these files alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


class MissingPredictionError(FileNotFoundError):
    """A score was asked of what has not been predicted; the message says what to run."""


class Store:
    """The predictions of one task, in a folder.

    Args:
        folder: Made with the first prediction.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def json(self, system: str, item: str, make: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401 - any JSON
        """Return what a system said to an item, any JSON.

        Args:
            system: Its name, with its version where that may change.
            item: Its name.
            make: Asks the system, if it has not been asked; without it that is an error.

        Raises:
            MissingPredictionError: There is nothing, and ``make`` is not given.
        """
        path = self.path(system, item, "json")
        if not path.exists():
            said = json.dumps(self._made(path, make))
            _write(path, lambda file: file.write(said.encode()))
        return json.loads(path.read_text("utf-8"))

    def arrays(
        self,
        system: str,
        item: str,
        make: Callable[[], Mapping[str, npt.ArrayLike]] | None = None,
    ) -> Arrays:
        """Return the arrays that a system made of an item, by name; otherwise as :meth:`json`."""
        path = self.path(system, item, "npz")
        if not path.exists():
            made = {name: np.asarray(value) for name, value in self._made(path, make).items()}
            _write(path, lambda file: np.savez(file, **made))  # type: ignore[arg-type]
        with np.load(path) as kept:  # pickle is off by default
            return {name: kept[name] for name in kept.files}

    def note(self, about: Any) -> None:  # noqa: ANN401 - any JSON
        """Keep what scores must know besides predictions, any JSON, in the place of what was."""
        text = json.dumps(about, indent=2)
        _write(self.folder / "about.json", lambda file: file.write(text.encode()))

    def about(self) -> Any:  # noqa: ANN401 - any JSON
        """Return what :meth:`note` kept.

        Raises:
            MissingPredictionError: It kept nothing.
        """
        path = self.folder / "about.json"
        if not path.exists():
            self._made(path, None)
        return json.loads(path.read_text("utf-8"))

    def path(self, system: str, item: str, suffix: str) -> Path:
        """Return the file of a prediction."""
        return self.folder / _slug(system) / f"{_slug(item)}.{suffix}"

    def forget(self) -> None:
        """Drop everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _made(self, path: Path, make: Callable[[], Any] | None) -> Any:  # noqa: ANN401 - any JSON
        if make is None:
            raise MissingPredictionError(
                f"no prediction {path}: run python -m benchmarks predict {self.folder.name}"
            )
        return make()


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        write(file)
    part.replace(path)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "-", text)
