"""``python -m benchmarks [TASK ...]``: measure, print, keep the result."""

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nearvoice import files

from . import machine, startup, vad

TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "vad-cpu": lambda a: vad.cpu(_audio(a), a.rounds),
    "vad-window": lambda a: vad.window(_audio(a), a.rounds),
    "vad-memory": lambda a: vad.memory(_audio(a), a.streams),
    "startup": lambda a: startup.startup(a.rounds),
}


def main() -> None:
    """Run the tasks that are named, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all")
    parser.add_argument("--rounds", type=_count, default=9, help="times each system has its turn")
    parser.add_argument("--streams", type=_count, default=1000, help="of vad-memory")
    parser.add_argument("--audio", type=Path, help="16-bit WAV to use instead of the sample call")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("out/benchmarks"),
        help="folder of the JSON files (default: out/benchmarks; benchmarks/results is what the "
        "documents cite)",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.tasks) - set(TASKS)
    if unknown:
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    logging.disable(logging.WARNING)
    for task in arguments.tasks or TASKS:
        on = machine.describe()
        result = {**TASKS[task](arguments), "machine": on}
        arguments.results.mkdir(parents=True, exist_ok=True)
        path = arguments.results / f"{task}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        show(result)
        print(f"  saved {path}")


def _audio(arguments: argparse.Namespace) -> Path:
    path: Path | None = arguments.audio
    return path or files.path("sample.wav")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def show(result: dict[str, Any]) -> None:
    """Print a result: one line a system, medians, with minimum and maximum behind them."""
    print(f"\n{result['task']}: {result['what']}")
    for name, figures in result["systems"].items():
        cells = [f"{figure} {_cell(value)}" for figure, value in figures.items()]
        print(f"  {name:27s}" + "   ".join(cells))


def _cell(value: float | dict[str, float]) -> str:
    if isinstance(value, dict):
        return f"{value['median']:g} ({value['min']:g} to {value['max']:g})"
    return f"{value:g}"


if __name__ == "__main__":
    main()
