"""A result as text, whatever figures its rows hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def show(result: dict[str, Any]) -> str:
    """Return a line for each system: its figures, medians with minimum and maximum behind them."""
    rows = result["systems"]
    width = max(map(len, rows), default=0)
    return "\n".join(
        f"  {name:{width}}   " + "   ".join(f"{figure} {cell}" for figure, cell in _cells(row))
        for name, row in rows.items()
    )


def _cells(value: Any, name: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    """Yield name and text of each figure; the name of one inside another has both."""
    if not isinstance(value, dict):
        yield name, _text(value)
    elif value.keys() == {"median", "min", "max"}:
        yield name, f"{value['median']:g} ({value['min']:g} to {value['max']:g})"
    else:
        for key, inner in value.items():
            yield from _cells(inner, f"{name}, {key}" if name else key)


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)
