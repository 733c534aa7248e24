"""``nearvoice turn`` and ``nearvoice calibrate``: options in, the lines that they print out."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from timeit import default_timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from .turn import TurnDetector
    from .turn_calibrate import Result
    from .turn_file import LabelledTurn

Messages = list[dict[str, str]]

_LANGUAGE = "such as en or pt-BR; without it "
_MODEL = "nearvoice (default), the one that comes with it, or the folder of a bundle"
_SPACELESS = ("ja", "th", "zh")
"""Languages whose words nothing parts: each character is taken for one."""


class LicenceError(ValueError):
    """A model may not be used by itself; the message says where it may be."""


def add_turn(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nearvoice turn``."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="what the user said; a line each")
    parser.add_argument(
        "--chat",
        type=Path,
        metavar="FILE.json",
        help='what was said before: a list of {"role": ..., "content": ...}, or {"messages": '
        "[...]}; without a text it ends with what the user said",
    )
    parser.add_argument(
        "--language",
        type=_language,
        metavar="CODE",
        help=f"{_LANGUAGE}the one that the script gives away, if any",
    )
    parser.add_argument("--model", default="nearvoice", metavar="MODEL", help=_MODEL)
    parser.add_argument(
        "--words", action="store_true", help="also the probability after each word of the text"
    )


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nearvoice calibrate``."""
    parser.add_argument(
        "turns",
        type=Path,
        metavar="TURNS.jsonl",
        help='a turn a line: {"language": "de", "text": "..." or "messages": [...], '
        '"complete": true or false}',
    )
    parser.add_argument(
        "--tpr",
        type=_tpr,
        default=0.993,
        metavar="P",
        help="share of complete turns that are to be seen as such (default: %(default)s)",
    )
    parser.add_argument("--model", default="nearvoice", metavar="MODEL", help=_MODEL)
    parser.add_argument("--png", type=Path, metavar="FILE", help="also draw TNR over TPR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures as JSON")


def _language(text: str) -> str:
    from .turn_file import LANGUAGE

    if not LANGUAGE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be such as en or pt-BR, not {text!r}")
    return text


def _tpr(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, not {text}")
    return value


def _detector(model: str) -> TurnDetector:
    from .turn import LIVEKIT, TurnDetector

    if model in LIVEKIT:
        raise LicenceError(
            "LiveKit's licence allows its turn detectors with LiveKit Agents only: use them in an "
            'agent, with MultilingualModel(model="livekit") or EnglishModel(model="livekit")'
        )
    return TurnDetector.load(model)


# turn


def predictions(options: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each text, and with ``--words`` one for each of its words.

    Raises:
        OSError: The file of the chat cannot be read.
        TurnsError: It is not a conversation, or nothing was said.
        BundleError: The model is damaged or incomplete.
        LicenceError: It is LiveKit's.
    """
    chats = _chats(options.texts, options.chat)
    detector = _detector(options.model)
    for chat in chats:
        detector.reset()
        yield from _said(detector, chat, options.language, options.words)


def _chats(texts: list[str], path: Path | None) -> list[Messages]:
    from .turn_file import TurnsError, conversation, parse

    if path is None and not texts:
        raise TurnsError("nothing was said: give a text, or a conversation with --chat")
    before: object = []
    try:
        if path is not None:
            before = parse(path.read_text("utf-8-sig"))
        if isinstance(before, dict):
            before = before.get("messages")
        if not texts or not isinstance(before, list):
            return [conversation(before)]
        return [conversation([*before, {"role": "user", "content": text}]) for text in texts]
    except (TurnsError, UnicodeDecodeError) as error:
        raise TurnsError(str(error) if path is None else f"{path}: {error}") from error


def _said(
    detector: TurnDetector, chat: Messages, language: str | None, words: bool
) -> Iterator[str]:
    from .script import language_of

    *before, last = chat
    text = last["content"]
    language = language or language_of(text)
    threshold = detector.bundle.threshold_for(language)

    def verdict(probability: float) -> str:
        return "has ended" if probability >= threshold else "waits"

    began = default_timer()
    probability = detector.predict(chat, language)
    milliseconds = (default_timer() - began) * 1e3
    yield (
        f"{verdict(probability):9}  probability {probability:.4f}, threshold {threshold:.4f} "
        f"({_whose(detector, language)}), {milliseconds:.1f} ms: {' '.join(text.split())}"
    )
    for start, end in _words(text) if words else ():
        detector.reset()  # so that the last word has the probability of the whole
        heard = detector.predict([*before, {"role": "user", "content": text[:end]}], language)
        yield f"  {verdict(heard):9}  {heard:.4f}  {text[start:end]}"


def _whose(detector: TurnDetector, language: str | None) -> str:
    from .turn_bundle import of_language

    if language is None:
        return "no language"
    own = of_language(detector.bundle.thresholds, language) is not None
    return language if own else f"{language}, as all others"


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word begins and ends."""
    from .script import language_of

    for match in re.finditer(r"\S+", text):
        start, end = match.span()
        if language_of(match[0]) in _SPACELESS:
            yield from ((at, at + 1) for at in range(start, end))
        else:
            yield start, end


# calibrate


def calibration(options: argparse.Namespace, bar: Progress) -> Iterator[str]:
    """Yield the lines that say what was found; write the files that were asked for.

    Args:
        options: Of :func:`add_calibrate`.
        bar: Shows how far it is.

    Raises:
        OSError: A file cannot be read or written.
        PathError: A file would be written where it must not.
        TurnsError: A line is wrong, or no language has enough turns.
        BundleError: The model is damaged or incomplete.
        LicenceError: It is LiveKit's.
        MissingMatplotlibError: A picture is asked for and cannot be drawn.
    """
    from . import turn_report
    from .turn_calibrate import calibrate
    from .turn_file import TurnsError, read

    _check_outputs(options)
    turns = read(options.turns)
    detector = _detector(options.model)
    bundle = detector.bundle
    probabilities = _predicted(detector, turns, options.turns.name, bar)
    result = calibrate(turns, probabilities, options.tpr, bundle.threshold_for)
    model = f"{bundle.name} {bundle.version}"
    yield f"{options.turns}: {len(turns)} turns, {model}, wanted TPR {options.tpr:g}"
    yield from turn_report.lines(result)
    if not result.languages:
        raise TurnsError("no language has enough turns for a threshold")
    _write(options, result, model)
    yield ""
    yield f"unlikely_threshold={json.dumps(result.thresholds)}"


def _check_outputs(options: argparse.Namespace) -> None:
    from .denoise_file import PathError, check_paths
    from .spectrogram import require_matplotlib

    written = [path for path in (options.png, options.json) if path is not None]
    for path in written:
        check_paths(options.turns, path)
    if len({path.resolve() for path in written}) < len(written):
        raise PathError(f"{options.png} cannot be both picture and figures: name another one")
    if options.png is not None:
        require_matplotlib()


def _predicted(
    detector: TurnDetector, turns: list[LabelledTurn], name: str, bar: Progress
) -> list[float]:
    task = bar.add_task(name, total=len(turns))
    probabilities = []
    with bar if not bar.disable else contextlib.nullcontext():  # rich before 13.8: an empty line
        for turn in turns:
            detector.reset()  # so that their order is of no consequence
            probabilities.append(detector.predict(turn.messages, turn.language))
            bar.advance(task)
    return probabilities


def _write(options: argparse.Namespace, result: Result, model: str) -> None:
    from . import turn_report
    from .denoise_file import partial

    if options.json is not None:
        text = json.dumps(turn_report.figures(result, model), indent=2, ensure_ascii=False)
        with partial(options.json) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
    if options.png is not None:
        from . import turn_plot

        with partial(options.png) as temporary:
            turn_plot.draw(result, temporary, f"nearvoice calibrate, {model}")
