"""``python -m benchmarks [TASK ...]``: measure, print, keep the result."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nearvoice import files

from . import (
    accuracy,
    data,
    drift,
    eot_run,
    machine,
    noise,
    noise_cpu,
    noise_delay,
    noise_hour,
    noise_level,
    noise_memory,
    noise_words,
    quiet,
    speed,
    startup,
    tiles,
    turn_accuracy,
    turn_hard,
    turn_speed,
    turn_startup,
    turn_worker,
    vad,
    window,
    worker,
)
from .show import show

Result = dict[str, Any]


class Task(NamedTuple):
    """Something to measure."""

    run: Callable[[argparse.Namespace], Result]
    report: Callable[[Result], str] = show
    """Result -> text to print."""


TASKS = {
    "vad": Task(lambda a: accuracy.accuracy(_data(a), jobs=a.jobs), accuracy.report),
    "vad-drift": Task(lambda a: drift.drift(_data(a)), drift.report),
    "vad-quiet": Task(lambda a: quiet.quiet(_data(a)), quiet.report),
    "vad-window": Task(lambda a: window.window(_audio(a), a.rounds)),
    "vad-cpu": Task(lambda a: speed.cpu(_audio(a), a.rounds)),
    "vad-memory": Task(lambda a: vad.memory(_audio(a), a.streams)),
    "worker-memory": Task(lambda a: worker.memory(_audio(a), min(a.rounds, worker.ROUNDS))),
    "startup": Task(lambda a: startup.startup(a.rounds)),
    "kernel-tiles": Task(lambda a: tiles.tiles(a.rounds)),
    "noise": Task(lambda a: noise.quality(_data(a), a.quick), noise.report),
    "noise-level": Task(lambda a: noise_level.level(_data(a)), noise_level.report),
    "noise-words": Task(
        lambda a: noise_words.recognised(_data(a), a.recogniser, a.quick), noise_words.report
    ),
    "noise-cpu": Task(lambda a: noise_cpu.cpu(_audio(a), a.rounds), noise_cpu.report),
    "noise-delay": Task(lambda a: noise_delay.delay(_audio(a)), noise_delay.report),
    "noise-hour": Task(lambda a: noise_hour.hour(_audio(a)), noise_hour.report),
    "noise-memory": Task(lambda a: noise_memory.memory(_audio(a), min(a.rounds, worker.ROUNDS))),
    "turn": Task(lambda a: turn_accuracy.accuracy(_data(a)), turn_accuracy.report),
    "turn-hard": Task(lambda a: turn_hard.hard(a.data), turn_hard.report),
    "turn-eot": Task(lambda a: eot_run.run(a.eot, a.results / "turn-eot"), eot_run.report),
    "turn-speed": Task(lambda a: turn_speed.speed(_audio(a), a.rounds), turn_speed.report),
    "turn-worker": Task(
        lambda a: turn_worker.work(min(a.rounds, worker.ROUNDS)), turn_worker.report
    ),
    "turn-startup": Task(lambda a: turn_startup.startup(a.rounds), turn_startup.report),
}


def main() -> None:
    """Run the tasks that are named, all of them by default."""
    arguments = _arguments()
    logging.disable(logging.WARNING)
    for name in arguments.tasks or TASKS:
        on = machine.describe()
        try:
            result = {**TASKS[name].run(arguments), "machine": on}
        except (data.MissingDataError, ImportError) as error:
            if arguments.tasks:
                raise SystemExit(f"{name}: {error}") from error
            print(f"\n{name}: skipped: {error}")
            continue
        arguments.results.mkdir(parents=True, exist_ok=True)
        path = arguments.results / f"{name}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\n{name}: {result['what']}\n{TASKS[name].report(result)}\n  saved {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all")
    parser.add_argument("--rounds", type=_count, default=9, help="times each system has its turn")
    parser.add_argument("--streams", type=_count, default=1000, help="of vad-memory")
    parser.add_argument("--audio", type=Path, help="16-bit WAV to use instead of the sample call")
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of speech for vad, vad-drift, vad-quiet, noise, noise-level and noise-words, "
        f"of text for turn, and for what turn-hard learns from (default: {data.VARIABLE} of the "
        "environment); without one they are skipped, but for turn-hard",
    )
    parser.add_argument(
        "--eot",
        type=Path,
        metavar="FOLDER",
        help="eot-bench's data set, parquet files, for turn-eot; without it that is skipped",
    )
    parser.add_argument("--jobs", type=_count, default=os.cpu_count(), help="processes of vad")
    parser.add_argument("--quick", action="store_true", help="half of the set of noise")
    parser.add_argument(
        "--recogniser",
        default=noise_words.DEFAULT,
        metavar="MODULE:FUNCTION",
        help="of noise-words: makes what turns int16 at 16 kHz into words (default: %(default)s)",
    )
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
    return arguments


def _data(arguments: argparse.Namespace) -> Path:
    return data.data_folder(arguments.data)


def _audio(arguments: argparse.Namespace) -> Path:
    path: Path | None = arguments.audio
    return path or files.path("sample.wav")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


if __name__ == "__main__":
    main()
