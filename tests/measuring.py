"""A task from end to end: predict, then score."""

from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.settings import Settings
from benchmarks.store import Store


def measured(task: ModuleType, out: Path, **options: Any) -> dict[str, Any]:
    """Return the result of a task, whose predictions are kept in a folder."""
    settings, store = Settings(**options), Store(out)
    task.predict(settings, store)
    result: dict[str, Any] = task.score(settings, store)
    return result
