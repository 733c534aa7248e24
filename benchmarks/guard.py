"""Regression guard, ``make bench-guard``: instructions of the hot paths against a baseline.

Counts by valgrind's callgrind do not depend on who else uses the machine, nor on its clock: a path
that takes 5 % more of them than before became slower, and the command fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

BASELINE = Path(__file__).parent / "results/guard/baseline.json"
LIMIT = 0.05
"""Share of more instructions that fails."""
REPEAT = 20
"""Calls that are counted."""
PACKAGES = ("numpy", "numba", "llvmlite")
REMEDY = "measure a new one: make bench-guard ARGS=--update"


class UnsupportedError(RuntimeError):
    """Instructions cannot be counted here; the message says why."""


class Line(NamedTuple):
    """A path in the table."""

    path: str
    before: int | None
    now: int | None
    verdict: str
    failed: bool = False


# ---- count ------------------------------------------------------------------------------------


def check() -> None:
    """Make sure that instructions can be counted.

    Raises:
        UnsupportedError: They cannot.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnsupportedError("the baseline is of Linux on x86-64")
    if shutil.which("valgrind") is None:
        raise UnsupportedError("there is no valgrind (Debian: apt-get install valgrind)")


def count(repeat: int = REPEAT) -> dict[str, int]:
    """Return the instructions of one call of each path.

    Raises:
        UnsupportedError: They cannot be counted here.
        RuntimeError: The program failed under valgrind.
    """
    check()
    from .guard_paths import PATHS

    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/out",
            sys.executable,
            "-m",
            "benchmarks.guard_paths",
            str(repeat),
        ]
        fixed = ["setarch", "-R"] if shutil.which("setarch") else []  # addresses as ever
        settings = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **settings}
        done = subprocess.run(
            [*fixed, *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"valgrind failed: {done.stderr[-2000:]}")
        files = [Path(f"{folder}/out.{number}") for number in range(1, len(PATHS) + 1)]
        counts = [parse(file.read_text()) for file in files]
    return {name: round(total / repeat) for name, total in zip(PATHS, counts, strict=True)}


def parse(text: str) -> int:
    """Return the instructions of a file of callgrind.

    Raises:
        ValueError: It says none.
    """
    found = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
    if not found:
        raise ValueError("no totals: this is no file of callgrind")
    return int(found[1])


def versions() -> dict[str, str | None]:
    """Return what counts depend on."""
    known: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
    known["valgrind"] = _valgrind()
    for name in PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = None
    return known


def _valgrind() -> str | None:
    if shutil.which("valgrind") is None:
        return None
    said = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.strip().removeprefix("valgrind-")


# ---- compare ----------------------------------------------------------------------------------


def compare(
    baseline: Mapping[str, Any],
    counts: Mapping[str, int],
    found: Mapping[str, str | None],
    depends: Mapping[str, Sequence[str]],
) -> list[Line]:
    """Return a line for each path.

    Args:
        baseline: "versions" and "instructions", as the file has them.
        counts: Instructions of each path, now.
        found: Versions, now.
        depends: Path -> packages whose versions matter to it, beside Python and valgrind.
    """
    before: Mapping[str, int] = baseline["instructions"]
    lines = []
    for path in dict.fromkeys([*before, *counts]):
        old, new = before.get(path), counts.get(path)
        if old is None or new is None:
            what = "new" if old is None else "gone"
            lines.append(Line(path, old, new, f"{what}: {REMEDY}", failed=True))
            continue
        others = [
            f"{name} {baseline['versions'].get(name)} -> {found.get(name)}"
            for name in ("python", "valgrind", *depends[path])
            if baseline["versions"].get(name) != found.get(name)
        ]
        change = new / old - 1
        if others:
            lines.append(Line(path, old, new, f"NOT COMPARABLE, {', '.join(others)}: {REMEDY}"))
        else:
            lines.append(Line(path, old, new, f"{change:+.1%}", failed=change > LIMIT))
    return lines


def table(lines: Sequence[Line]) -> str:
    """Return the lines as text."""
    width = max(len(line.path) for line in lines)
    return "\n".join(
        f"{line.path:{width}}  {_number(line.before)} {_number(line.now)}  {line.verdict}"
        + ("  FAILED" if line.failed else "")
        for line in lines
    )


def _number(value: int | None) -> str:
    return f"{'-' if value is None else format(value, ','):>12}"


# ---- command ----------------------------------------------------------------------------------


def run(update: bool = False, path: Path = BASELINE) -> int:
    """Count, compare, say what was found; return the exit status."""
    from .guard_paths import PATHS

    try:
        counts = count()
    except UnsupportedError as error:
        print(f"bench-guard: nothing was measured: {error}")
        return 0
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"versions": versions(), "instructions": counts}
        path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", "utf-8")
    baseline = json.loads(path.read_text("utf-8"))
    depends = {name: one.packages for name, one in PATHS.items()}
    lines = compare(baseline, counts, versions(), depends)
    print(f"instructions of a call, at most {LIMIT:.0%} more than before:\n{table(lines)}")
    return int(any(line.failed for line in lines))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--update", action="store_true", help="make this the baseline")
    return run(parser.parse_args().update)


if __name__ == "__main__":
    raise SystemExit(main())
