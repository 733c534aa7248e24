"""Take each guard against a fault away, once, and see its tests fail.

    python -m scripts.guards                  # all of scripts/guards.toml, a quarter of an hour
    python -m scripts.guards hangs "disk is"  # of the faults with one of these words in them

Each is taken away in a copy of the tree. The tests that it names must pass with it and fail without
it; the exit status is 1 if one does not.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("guards.toml")
LONGEST, ALL = 120.0, 900.0
"""Seconds that the tests of one guard may take, as without it some hang; and those of all."""


class Guard(NamedTuple):
    """What stands between a fault and a call."""

    fault: str
    """As in docs/reliability.md."""
    file: str
    guard: str
    """Once in the file."""
    without: str
    """What the code would be."""
    tests: tuple[str, ...]
    """Names of the tests that must fail then."""


def listed() -> tuple[list[Guard], list[str]]:
    """Return all guards, and the faults that have none as LiveKit bears them."""
    content = tomllib.loads(LIST.read_text("utf-8"))
    guards = [Guard(**{**entry, "tests": tuple(entry["tests"])}) for entry in content["guards"]]
    return guards, content["unguarded"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.guards", description=__doc__)
    parser.add_argument("words", nargs="*", help="of the faults that are meant; all if omitted")
    words = parser.parse_args(arguments).words or [""]
    guards = [one for one in listed()[0] if any(word in one.fault for word in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        broken = _failed(tree, sorted({test for guard in guards for test in guard.tests}), ALL)
        if broken:
            print(f"fail as the tree is: {', '.join(sorted(broken))}")
            return 1
        for guard in guards:
            still = set(guard.tests) - without(tree, guard)
            unnoticed += bool(still)
            line = " ".join(guard.guard.split())[:60]
            print(f"{'NOT NOTICED' if still else 'noticed'}: {guard.fault}: {line}", flush=True)
            for test in sorted(still):
                print(f"    passes without it: {test}", flush=True)
    print(f"{len(guards)} guards, {unnoticed} not noticed")
    return int(unnoticed > 0)


def without(tree: Path, guard: Guard) -> set[str]:
    """Return the names of the guard's tests that fail when it is gone."""
    path = tree / guard.file
    kept = path.read_text("utf-8")
    path.write_text(removed(kept, guard), "utf-8")
    try:
        return _failed(tree, guard.tests)
    finally:
        path.write_text(kept, "utf-8")


def removed(text: str, guard: Guard) -> str:
    """Return the text of a file without the guard.

    Raises:
        ValueError: It is not in the text, or more than once.
    """
    if (count := text.count(guard.guard)) != 1:
        raise ValueError(f"{guard.file} has {guard.guard!r} {count} times, not once")
    return text.replace(guard.guard, guard.without)


def copied(folder: Path) -> Path:
    """Copy what git knows of this project into a folder; return it."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return folder


def _failed(tree: Path, tests: Iterable[str], seconds: float = LONGEST) -> set[str]:
    """Return the names of the tests that fail: all when that takes longer."""
    tests = list(tests)
    known = {
        **os.environ,
        "PYTHONPATH": f"{tree / 'models'}{os.pathsep}{tree / 'plugins'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, "-k", " or ".join(tests), *_files(tree, tests)],
            cwd=tree,
            env=known,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return set(tests)
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S+?::(?:\w+::)?(test_\w+)", done.stdout, re.M))
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed


def _files(tree: Path, tests: Sequence[str]) -> list[str]:
    wanted = re.compile(rf"def ({'|'.join(tests)})\b")
    files = sorted((tree / "tests").glob("test_*.py"))
    return [str(path) for path in files if wanted.search(path.read_text("utf-8"))]


if __name__ == "__main__":
    raise SystemExit(main())
