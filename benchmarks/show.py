"""A result as text, whatever figures its rows hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


# ---- as a table -------------------------------------------------------------------------------

Columns = Mapping[str, tuple[str, ...]]
"""Heading -> where in a system's row its figure is: key after key."""


def table(result: dict[str, Any], columns: Columns) -> str:
    """Return headings and a line for each system: its figures, or why it is missing."""
    rows = result["systems"]
    width = max(map(len, rows), default=0)
    sizes = {heading: max(8, len(heading) + 2) for heading in columns}
    lines = [" " * width + "".join(f"{heading:>{size}s}" for heading, size in sizes.items())]
    for name, row in rows.items():
        cells = "".join(f"{_at(row, columns[heading]):>{size}s}" for heading, size in sizes.items())
        lines.append(f"{name:{width}s}" + (f"  {row['missing']}" if "missing" in row else cells))
    return "\n".join(lines)


def _at(row: Any, path: tuple[str, ...]) -> str:  # noqa: ANN401 - any JSON
    for key in path:
        row = row.get(key) if isinstance(row, dict) else None
    return f"{row:.4g}" if isinstance(row, (int, float)) else "-"
