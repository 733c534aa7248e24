"""The ``nearvoice`` command."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, turn_command

if TYPE_CHECKING:
    from rich.progress import Progress

    from .denoise import Denoiser
    from .denoise_file import Denoised


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed (said on the standard error)."""
    from .files import DownloadError, UnknownFileError
    from .manifest import ManifestError

    options = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (DownloadError, ManifestError, UnknownFileError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nearvoice", description="Local, CPU-only speech models for voice agents."
    )
    parser.add_argument("--version", action="version", version=f"nearvoice {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    download = commands.add_parser(
        "download-files", help="fetch the model files that are missing, compile the kernels"
    )
    download.add_argument("names", nargs="*", metavar="FILE", help="these only (default: all)")
    download.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="fill this folder instead of the cache: NEARVOICE_MODELS_DIR of another machine",
    )
    download.add_argument(
        "--livekit",
        action="store_true",
        help="also LiveKit's turn detectors, whose licence is shown first, into the cache of "
        "huggingface_hub; so does NEARVOICE_LIVEKIT_MODELS=1",
    )
    download.set_defaults(run=_download_files)

    verify = commands.add_parser("verify", help="hash the model files again; fetches nothing")
    verify.add_argument("names", nargs="*", metavar="FILE", help="these only (default: all)")
    verify.set_defaults(run=_verify)

    doctor = commands.add_parser("doctor", help="say whether an agent would start here, and why")
    doctor.add_argument("--json", action="store_true", help="for a program to read")
    doctor.set_defaults(run=_doctor)

    _add_denoise(commands.add_parser("denoise", help="write a WAV file anew without its noise"))

    turn = commands.add_parser("turn", help="say how likely it is that a user has finished")
    turn_command.add_turn(turn)
    turn.set_defaults(run=lambda options: _printed(turn_command.predictions(options)))

    calibrate = commands.add_parser(
        "calibrate", help="choose the turn detector's thresholds from your own turns"
    )
    turn_command.add_calibrate(calibrate)
    calibrate.set_defaults(run=lambda options: _printed(turn_command.calibration(options, _bar())))
    return parser


def _add_denoise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN.wav", help="16-bit PCM of any rate")
    parser.add_argument("target", type=Path, metavar="OUT.wav", help="as long, in time with it")
    parser.add_argument(
        "--model",
        choices=("hush", "gtcrn"),
        default="hush",
        help="hush (default) also removes voices in the background, gtcrn is faster",
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="S", help="from 0, nothing, to 1 (default)"
    )
    parser.add_argument(
        "--attenuation-limit",
        type=_decibels,
        default=argparse.SUPPRESS,  # the network's own
        metavar="DB",
        help="most that is taken from any frequency; none for no limit, which is the default of "
        "hush; that of gtcrn is 24",
    )
    parser.add_argument(
        "--png", type=Path, metavar="FILE", help="also draw spectrograms of before and after"
    )
    parser.set_defaults(run=_denoise)


def _decibels(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or none, not {text!r}") from None


def _download_files(options: argparse.Namespace) -> int:
    from . import files, turn_livekit
    from .prepare import LIVEKIT_ELSEWHERE, prepare, prepare_livekit
    from .progress import Lines

    if options.livekit and options.to is not None:
        raise files.DownloadError(LIVEKIT_ELSEWHERE)
    with Lines() as report:
        prepare(options.names or None, to=options.to, report=report)
    if options.livekit or (turn_livekit.enabled() and not options.names and options.to is None):
        prepare_livekit(report)
    if options.to is None:
        print(f"the model files are in {files.cache_dir()}")
    else:
        print(f"copy {options.to} to the other machine and set NEARVOICE_MODELS_DIR to it there")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from . import files
    from .prepare import verify_turn

    checks = files.verify(options.names or None)
    own = [] if options.names else [verify_turn()]
    for check in (*checks, *own):
        print(f"{check.name:16}  {check.state:7}  {check.path}  {check.detail}".rstrip())
    if any(check.state != "ok" for check in checks):
        remedy = "run `nearvoice download-files`: it fetches what is missing or corrupt"
        print(remedy, file=sys.stderr)
    if any(check.state != "ok" for check in own):
        print("install nearvoice again: the turn detector comes with it", file=sys.stderr)
    return 0 if all(check.state == "ok" for check in (*checks, *own)) else 1


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import diagnose

    diagnosis = diagnose()
    if options.json:
        print(json.dumps(diagnosis.as_json(), indent=2))
        return 1 if diagnosis.problems else 0
    for title, facts in diagnosis.sections.items():
        print(title)
        for name, value in facts.items():
            print(f"  {name:20}  {value}")
    print()
    print(diagnosis.verdict)
    return 1 if diagnosis.problems else 0


def _printed(lines: Iterable[str]) -> int:
    """Print what a command of the turn detector says."""
    from .denoise_file import PathError
    from .spectrogram import MissingMatplotlibError
    from .turn_bundle import BundleError
    from .turn_command import LicenceError
    from .turn_file import TurnsError
    from .turn_prompt import TemplateError

    try:
        for line in lines:
            print(line)
    except (
        *(OSError, BundleError, LicenceError),
        *(MissingMatplotlibError, PathError, TemplateError, TurnsError),
    ) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class _OptionError(ValueError):
    """An option has a value that the network does not take; the message says which it takes."""


def _denoise(options: argparse.Namespace) -> int:
    from .denoise_file import PathError
    from .spectrogram import MissingMatplotlibError
    from .wav import WavError

    try:
        _denoise_file(options)
    except (OSError, PathError, WavError, MissingMatplotlibError, _OptionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _denoise_file(options: argparse.Namespace) -> None:
    from . import spectrogram
    from .denoise_file import check_paths, denoise_file, partial

    source, target, png = options.source, options.target, options.png
    check_paths(source, target, png)
    if png is not None:
        spectrogram.require_matplotlib()
    bar = _bar()
    task = bar.add_task(source.name, total=None, start=False)

    def begin(frames: int) -> None:
        bar.update(task, total=frames)
        bar.start_task(task)

    with bar if not bar.disable else contextlib.nullcontext():  # rich before 13.8: an empty line
        done = denoise_file(
            source,
            target,
            lambda rate, channels: _denoisers(options, rate, channels),
            begin=begin,
            advance=lambda frames: bar.advance(task, frames),
            spectrograms=png is not None,
        )
    print(_summary(target, done, bar.tasks[0].elapsed))
    if done.before is not None and done.after is not None:
        with partial(png) as temporary:
            title = f"{source.name}, nearvoice denoise --model {options.model}"
            spectrogram.draw(done.before, done.after, temporary, title)


def _denoisers(options: argparse.Namespace, rate: int, channels: int) -> list[Denoiser]:
    from .denoise import Denoiser

    names = ("strength", "attenuation_limit")
    settings = {name: value for name, value in vars(options).items() if name in names}
    try:
        return [Denoiser(options.model, rate, **settings) for _ in range(channels)]
    except ValueError as error:
        raise _OptionError(error) from error


def _bar() -> Progress:
    """Return a bar that a terminal shows while it is open, and nothing else shows at all."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _summary(target: Path, done: Denoised, elapsed: float | None) -> str:
    """Return the line that says what was done: length, speed, and what was taken away."""
    said = [f"{target}: {done.seconds:.1f} s of audio"]
    if elapsed:
        said.append(f"{done.seconds / elapsed:.3g} times as fast as real time")
    if done.attenuation is None:
        said.append("all of it silence")
    else:
        said.append(f"mean attenuation {done.attenuation:.1f} dB")
    return ", ".join(said)


if __name__ == "__main__":
    sys.exit(main())
