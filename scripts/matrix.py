"""Run the tests with the oldest and the newest versions that are supported.

    python -m scripts.matrix                       # every row that an interpreter is there for
    python -m scripts.matrix oldest newest         # these rows
    python -m scripts.matrix --python python3.13 newest
    python -m scripts.matrix oldest -- tests/test_vad_plugin.py

Each row is a virtual environment of its own under ``out/matrix``, made by pip of the requirements
of this project, with the oldest or the newest version of what agents bring with them. A line for
each at the end says what was run with what; the exit status is 1 if a test failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OUT = Path("out/matrix")
PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13")
SHOWN = ("livekit-agents", "numpy", "numba", "onnxruntime", "tokenizers", "soxr", "huggingface-hub")
OLDEST = {
    "livekit-agents": "livekit-agents==1.8.0",
    "livekit-plugins-silero": "livekit-plugins-silero==1.8.0",
    "livekit-plugins-turn-detector": "livekit-plugins-turn-detector==1.8.0",
    "numpy": "numpy==1.26.*",
    "numba": "numba==0.62.*",
    "onnxruntime": "onnxruntime==1.18.*",
}
"""Of what pyproject.toml allows, and LiveKit's plugins that tests compare with; the others are as
pip finds them."""
ROWS: Mapping[str, Mapping[str, str]] = {"oldest": OLDEST, "newest": {}}
TOOLS = (
    *("pytest>=8.2", "hypothesis>=6.100", "matplotlib>=3.8", "onnx>=1.17"),
    *("livekit-plugins-silero", "livekit-plugins-turn-detector"),
)
WITHOUT = (
    *("test_eot_bench", "test_report", "test_turn_benchmark", "test_turn_training"),
    *("test_turn_smol", "test_turn_rows", "test_turn_noise", "test_turn_memory_training"),
)
"""Tests of what agents never load: training, and benchmarks with peers of pinned versions."""


class Ran(NamedTuple):
    """What came of a row."""

    python: str
    row: str
    versions: str
    result: str
    failed: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.matrix", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help=f"of {', '.join(ROWS)}; all")
    parser.add_argument("--python", action="append", help="an interpreter; may be given again")
    own, tests = _split(sys.argv[1:] if arguments is None else arguments)
    asked = parser.parse_args(own)
    pythons = asked.python or [name for name in PYTHONS if shutil.which(name)]
    ran = [run(python, row, tests) for python in pythons for row in asked.rows or ROWS]
    print("\n| Python | row | versions | result |\n|---|---|---|---|")
    for one in ran:
        print(f"| {one.python} | {one.row} | {one.versions} | {one.result} |")
    return int(any(one.failed for one in ran))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what is before ``--``, and what is after it: for pytest."""
    given = list(arguments)
    at = given.index("--") if "--" in given else len(given)
    return given[:at], given[at + 1 :]


def run(python: str, row: str, tests: Sequence[str]) -> Ran:
    """Run the tests in an environment of a row, which is made if it is not there."""
    folder = OUT / f"{Path(python).name}-{row}"
    print(f"{folder}", file=sys.stderr)
    binary = folder / "bin/python"
    stamp, wanted = folder / "installed", [*TOOLS, *ROWS[row].values()]
    if not stamp.exists() or stamp.read_text("utf-8").split() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [str(binary), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        made = subprocess.run([*pip, "--editable", ".", *wanted], check=False)
        if made.returncode:
            return Ran(_version(binary), row, "", "cannot be installed", failed=True)
        stamp.write_text("\n".join(wanted), "utf-8")
    subprocess.run([str(binary), "-m", "nearvoice", "download-files"], check=True)
    ignored = [f"--ignore=tests/{name}.py" for name in WITHOUT]
    command = [str(binary), "-m", "pytest", "-q", "--no-header", "--tb=short", *(tests or ignored)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or ["nothing"]
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:], file=sys.stderr)
    return Ran(
        _version(binary), row, _versions(binary), lines[-1].strip("= "), done.returncode != 0
    )


def _version(binary: Path) -> str:
    done = subprocess.run([str(binary), "-V"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("Python ")


def _versions(binary: Path) -> str:
    program = (
        "from importlib.metadata import version\n"
        f"print(', '.join(f'{{n}} {{version(n)}}' for n in {SHOWN!r}))"
    )
    done = subprocess.run([str(binary), "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
