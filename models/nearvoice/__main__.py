"""The ``nearvoice`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__


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
    download.set_defaults(run=_download_files)

    verify = commands.add_parser("verify", help="hash the model files again; fetches nothing")
    verify.add_argument("names", nargs="*", metavar="FILE", help="these only (default: all)")
    verify.set_defaults(run=_verify)

    doctor = commands.add_parser("doctor", help="say whether an agent would start here, and why")
    doctor.set_defaults(run=_doctor)
    return parser


def _download_files(options: argparse.Namespace) -> int:
    from . import files
    from .prepare import prepare
    from .progress import Lines

    with Lines() as report:
        prepare(options.names or None, to=options.to, report=report)
    if options.to is None:
        print(f"the model files are in {files.cache_dir()}")
    else:
        print(f"copy {options.to} to the other machine and set NEARVOICE_MODELS_DIR to it there")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from . import files

    checks = files.verify(options.names or None)
    for check in checks:
        print(f"{check.name:16}  {check.state:7}  {check.path}  {check.detail}".rstrip())
    if all(check.state == "ok" for check in checks):
        return 0
    print("run `nearvoice download-files`: it fetches what is missing or corrupt", file=sys.stderr)
    return 1


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import diagnose

    diagnosis = diagnose()
    for title, facts in diagnosis.sections.items():
        print(title)
        for name, value in facts.items():
            print(f"  {name:20}  {value}")
    print()
    print(diagnosis.verdict)
    return 1 if diagnosis.problems else 0


if __name__ == "__main__":
    sys.exit(main())
