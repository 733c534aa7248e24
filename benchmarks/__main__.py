"""``python -m benchmarks``: measure, score, report."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from . import data, fetch, report, suite
from .settings import Settings
from .store import MissingPredictionError
from .tasks import GROUPS, TASKS

QUICK_ROUNDS = 3
OUT = Path("out/benchmarks")
CITED = Path(__file__).parent / "results"
"""What the documents cite; says also how long each task takes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage, or all of them."""
    asked = _parser().parse_args(arguments)
    logging.disable(logging.WARNING)
    stage: Callable[[argparse.Namespace], None] = asked.stage
    stage(asked)


def _run(asked: argparse.Namespace) -> None:
    _predict(asked)
    _score(asked)
    report.write(_results(asked), asked.out)
    print(f"report: {asked.out / 'benchmarks.html'}, {asked.out / 'benchmarks.md'}")


def _predict(asked: argparse.Namespace) -> None:
    expected = {name: found.get("seconds", 60.0) for name, found in suite.read(CITED).items()}
    tasks, settings = _tasks(asked), _settings(asked)
    skipped = suite.predict(tasks, settings, asked.out / "predictions", expected)
    for task, why in skipped:
        print(f"{task}: skipped: {why}")
    if skipped and asked.tasks:
        raise SystemExit(1)


def _score(asked: argparse.Namespace) -> None:
    tasks, settings = _tasks(asked), _settings(asked)
    results = _results(asked)
    try:
        found = suite.score(tasks, settings, asked.out / "predictions", results)
    except MissingPredictionError as error:
        raise SystemExit(str(error)) from error
    print(suite.text(tasks, found))
    print(f"\nsaved in {results}")


def _report(asked: argparse.Namespace) -> None:
    report.write(_results(asked), asked.to)
    for document in asked.documents:
        report.document(_results(asked), document)


def _data(asked: argparse.Namespace) -> None:
    folder = data.place(asked.data)
    failed = fetch.fetch(asked.sets or fetch.SETS, folder, asked.sources)
    for name, why in failed.items():
        print(f"data: no {name}: {why}")
    print(f"data: {len(asked.sets or fetch.SETS) - len(failed)} sets in {folder}")


def _results(asked: argparse.Namespace) -> Path:
    results: Path = asked.results or asked.out / "results"
    return results


def _tasks(asked: argparse.Namespace) -> dict[str, suite.Task]:
    names = {task for name in asked.tasks for task in GROUPS.get(name, (name,))}
    return {
        name: task
        for name, task in TASKS.items()
        if name in names or (not names and not task.named and (task.quick or not asked.quick))
    }


def _settings(asked: argparse.Namespace) -> Settings:
    usual = QUICK_ROUNDS if asked.quick else Settings.rounds
    return Settings(
        rounds=asked.rounds or usual,
        quick=asked.quick,
        jobs=asked.jobs,
        streams=asked.streams,
        folder=asked.data,
        sound=asked.audio,
        eot=asked.eot,
        recogniser=asked.recogniser,
    )


# ---- command line -----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    for name, stage, options, text in (
        ("run", _run, (_add_choice, _add_options), "predict, score and report"),
        (
            "predict",
            _predict,
            (_add_choice, _add_options),
            "run the systems and keep what they say; goes on where it stopped",
        ),
        ("score", _score, (_add_choice, _add_options), "make results of what was predicted"),
        ("report", _report, (_add_report,), "make pages of results"),
        ("data", _data, (_add_data,), "fetch and build the data sets that are not there"),
    ):
        one = stages.add_parser(name, help=text, description=text)
        one.set_defaults(stage=stage)
        for add in options:
            add(one)
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    choices = ", ".join((*TASKS, *GROUPS))
    parser.add_argument("tasks", nargs="*", type=_task, metavar="TASK", help=f"of {choices}; all")
    parser.add_argument("--quick", action="store_true", help="a part of each set, few rounds")
    _add_folders(parser)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        help="folder of predictions, results and report (default: %(default)s)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="folder of the results (default: results in --out; benchmarks/results is what the "
        "documents cite)",
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        help=f"folder of the data sets (default: {data.VARIABLE} of the environment, else "
        "benchmarks in the cache folder); a task without its set is skipped",
    )
    parser.add_argument(
        "--eot",
        type=Path,
        metavar="FOLDER",
        help="eot-bench's data set, parquet files, for turn-eot; without it the Hugging Face cache "
        "is looked into",
    )
    parser.add_argument(
        "--rounds",
        type=_count,
        help=f"times each system has its turn ({Settings.rounds}; with --quick {QUICK_ROUNDS})",
    )
    parser.add_argument("--streams", type=_count, default=Settings.streams, help="of vad-memory")
    parser.add_argument("--audio", type=Path, help="16-bit WAV to use instead of the sample call")
    parser.add_argument(
        "--jobs", type=_count, default=os.cpu_count(), help="processes, where no time is measured"
    )
    parser.add_argument(
        "--recogniser",
        default=Settings.recogniser,
        metavar="MODULE:FUNCTION",
        help="of noise-words: makes what turns int16 at 16 kHz into words (default: %(default)s)",
    )


def _add_report(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser)
    parser.add_argument(
        "--to", type=Path, default=OUT, help="folder of the pages (default: %(default)s)"
    )
    parser.add_argument(
        "--documents",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="such as README.md: their tables are made anew",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    choices = ", ".join(fetch.SETS)
    parser.add_argument("sets", nargs="*", type=_set, metavar="SET", help=f"of {choices}; all")
    parser.add_argument(
        "--data",
        type=Path,
        help=f"folder to fill (default: {data.VARIABLE} of the environment, else benchmarks in the "
        "cache folder)",
    )
    parser.add_argument(
        "--sources",
        type=Path,
        default=Path("out/sources"),
        help="folder of what is fetched, or was put there at the paths that it has in its "
        "repository (default: %(default)s)",
    )


def _set(text: str) -> str:
    return _one_of(text, "set", fetch.SETS)


def _task(text: str) -> str:
    return _one_of(text, "task", (*TASKS, *GROUPS))


def _one_of(text: str, what: str, choices: Collection[str]) -> str:
    if text not in choices:
        raise argparse.ArgumentTypeError(f"no {what} {text}; there are {', '.join(choices)}")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


if __name__ == "__main__":
    main()
