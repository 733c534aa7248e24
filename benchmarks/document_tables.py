"""Tables of single documents, made of results: several figures in a cell, rows of one system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import cures, turn_figures, turn_hard
from .report_tables import Results

Row = Mapping[str, Any]


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    head = f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|\n"
    return head + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _at(row: Any, *path: str | int) -> Any:  # noqa: ANN401 - a part of JSON
    for key in path:
        row = row[key]
    return row


def _short(value: float, decimals: int = 3) -> str:
    """Return a figure under 1 as .123."""
    text = f"{value:.{decimals}f}"
    return text.removeprefix("0") if text.startswith("0.") else text


# ---- docs/turn-model.md -----------------------------------------------------------------------

_LANGUAGES = {
    "AUC": ("nearvoice", "auc"),
    "TNR .95": ("nearvoice", "tnr at .95"),
    "TNR .993": ("nearvoice", "tnr at .993"),
    "TPR": ("nearvoice", "shipped", "tpr", "value"),
    "TNR": ("nearvoice", "shipped", "tnr", "value"),
    "words, AUC": ("counting words", "auc"),
    "words, TNR .95": ("counting words", "tnr at .95"),
    "long": ("nearvoice", turn_figures.LONG, "auc"),
    "words, long": ("counting words", turn_figures.LONG, "auc"),
}


def languages(results: Results) -> str:
    """Return what the turn detector makes of each language, beside counting words."""
    systems = results["turn"]["systems"]
    means = (turn_figures.MEAN, turn_figures.OTHERS)

    def cell(language: str, system: str, *path: str) -> str:
        return (
            ""
            if language in means and "shipped" in path
            else (f"{_at(systems[system][language], *path):.3f}")
        )

    def row(language: str) -> list[str]:
        pairs = "" if language in means else str(systems["nearvoice"][language]["n"])
        return [language, pairs, *(cell(language, *path) for path in _LANGUAGES.values())]

    named = [*turn_hard.LANGUAGES, *means]
    return grid(["language", "pairs", *_LANGUAGES], map(row, named))


# ---- the turn detector's model card -----------------------------------------------------------

_INTERVALS = {"AUC": "auc", "TNR .95": "tnr at .95", "TNR .993": "tnr at .993"}


def _spread(row: Row, figure: str) -> str:
    low, high = row["interval"][figure]
    return f"{row[figure]:.3f} ({low:.3f} to {high:.3f})"


def card(results: Results) -> str:
    """Return the figures of each language with their intervals."""
    systems = results["turn"]["systems"]
    means = (turn_figures.MEAN, turn_figures.OTHERS)

    def cells(language: str) -> Iterator[str]:
        row, words = (systems[name][language] for name in ("nearvoice", "counting words"))
        yield language
        yield "" if language in means else str(row["n"])
        yield from (_spread(row, figure) for figure in _INTERVALS.values())
        for rate in ("tpr", "tnr"):
            yield "" if language in means else f"{row['shipped'][rate]['value']:.3f}"
        yield f"{words['auc']:.3f}"
        above = row["above words"]["auc"]
        yield f"{above['value']:+.3f} ({above['low']:+.3f} to {above['high']:+.3f})"

    headings = ["language", "pairs", *_INTERVALS, "TPR", "TNR", "words", "above words"]
    return grid(headings, ([*cells(name)] for name in (*turn_hard.LANGUAGES, *means)))


def card_sources(results: Results) -> str:
    """Return the figures of each language and source, and of what was recognised."""
    rows = results["turn"]["systems"]["nearvoice"]
    recognised = {"en dstc10, real recognised speech": rows[turn_figures.HEARD]}

    def cells(name: str, row: Row) -> Iterator[str]:
        yield from (name, str(row["n"]), _spread(row, "auc"))
        yield from (f"{row[figure]:.3f}" for figure in ("tnr at .95", "tnr at .993"))

    every = dict(sorted(rows[turn_figures.SOURCES].items())) | recognised
    headings = ["language and source", "pairs", *_INTERVALS]
    return grid(headings, ([*cells(name, row)] for name, row in every.items()))


_HARD = {
    "shipped": ("shipped", "accuracy", "value"),
    "for .95": ("dev 0.95", "accuracy", "value"),
    "at .5": ("0.5", "accuracy", "value"),
    "order": ("pair order", "value"),
}
_PHENOMENA = {
    "shipped": ("shipped", "accuracy", "value"),
    "TPR": ("shipped", "tpr", "value"),
    "TNR": ("shipped", "tnr", "value"),
    "for .95": ("dev 0.95", "accuracy", "value"),
    "at .5": ("0.5", "accuracy", "value"),
}


def hard(results: Results) -> str:
    """Return the share of right decisions on the hard set, by language."""
    of = results["turn-hard"]["systems"]["nearvoice"]
    return _decisions("hard set", _HARD, {name: of[name] for name in (*turn_hard.LANGUAGES, "all")})


def phenomena(results: Results) -> str:
    """Return the same by phenomenon."""
    of = results["turn-hard"]["systems"]["nearvoice"]["by phenomenon"]
    return _decisions("phenomenon", _PHENOMENA, {name: of[name] for name in turn_hard.PHENOMENA})


def _decisions(first: str, columns: Mapping[str, Sequence[str]], rows: Mapping[str, Row]) -> str:
    return grid(
        [first, "pairs", *columns],
        (
            [name, str(row["pairs"]), *(f"{_at(row, *path):.3f}" for path in columns.values())]
            for name, row in rows.items()
        ),
    )


# ---- docs/noise.md ----------------------------------------------------------------------------


def recogniser(results: Results) -> str:
    """Return the word errors of a recogniser after each of ours."""
    systems = results["noise-words"]["systems"]
    names = {
        "no processing": "no processing",
        "`NC()`": "nearvoice NC",
        "`BVC()`": "nearvoice BVC",
        "`NC(attenuation_limit=12)`": "nearvoice NC attenuation_limit=12",
        "`BVC(attenuation_limit=12)`": "nearvoice BVC attenuation_limit=12",
    }
    keys = ("wer all", "wer talker", "wer clean")
    return grid(
        ["", "noise", "one other talker", "clean"],
        (
            [label, *(f"{systems[name][key]:.0%}".replace("%", " %") for key in keys)]
            for label, name in names.items()
        ),
    )


# ---- docs/vad.md ------------------------------------------------------------------------------


def latency(results: Results) -> str:
    """Return when each VAD says that speech has begun and ended."""
    systems = results["vad"]["systems"]
    names = {
        "nearvoice": "nearvoice numba",
        "nearvoice, `smoothing=0.0`": "nearvoice smoothing=0",
        "nearvoice at 8 kHz": "nearvoice 8 kHz",
        "livekit-plugins-silero": "livekit-plugins-silero",
        "`inference.VAD`, 0.55 s of silence": "livekit inference.VAD",
    }

    def cells(row: Row) -> Iterator[str]:
        for event in ("start", "end"):
            yield ", ".join(f"{row[f'{event}_ms_{which}']:.0f}" for which in ("median", "p90"))

    rows = ([label, *cells(systems[name]["ten events"])] for label, name in names.items())
    return grid(["", "START", "END"], rows)


# ---- docs/vad-drift.md ------------------------------------------------------------------------

_ROWS = ("silence", "room tone", "stationary noise", "hold music", "ringing", "menu beeps")


def _drift_rows() -> Iterator[tuple[str, str]]:
    """Yield what a row is called, and its name in the result."""
    snrs = ("stationary noise 10 dB", "stationary noise 5 dB")
    yield "none", "none, clean"
    for then in snrs:
        yield f"none; speech in {then}", f"none, {then}"
    for name in (*_ROWS, "crowded room"):
        yield name, f"{name}, 60 s, clean"
        for then in snrs:
            if then.startswith(name):
                decibels = then.removeprefix(name).strip()
                yield f"{name}; speech in it, {decibels}", f"{name}, 60 s, {then}"


def drift(results: Results, rate: int) -> str:
    """Return what is heard after a minute of something, without the rule and with it."""
    systems = results["vad-drift"]["systems"]
    off, ours = (systems[name][str(rate)]["rows"] for name in (cures.OFF, cures.OURS))

    def onset(row: Row) -> str:
        return " / ".join(f"{row[f'onset_ms_{which}']:.0f}" for which in ("median", "p90", "max"))

    def cells(name: str) -> Iterator[str]:
        for figure in ("recall", "fpr", "auc"):
            yield f"{off[name][figure]:.3f} → {ours[name][figure]:.3f}"
        yield f"{onset(off[name])} → {onset(ours[name])}"

    return grid(
        [
            f"{rate // 1000} kHz, after 60 s of",
            *("recall", "false positives", "AUC", "onset ms: median / p90 / max"),
        ],
        ([label, *cells(name)] for label, name in _drift_rows()),
    )


def rules(results: Results) -> str:
    """Return how far each rule is behind speech with no prelude."""
    return _behind(results["vad-drift"]["systems"], goals=True)


def choices(results: Results) -> str:
    """Return the same of other choices, on a part."""
    return _behind(results["vad-drift"]["choices"], goals=False)


def _behind(systems: Mapping[str, Any], *, goals: bool) -> str:
    def cells(table: Row) -> Iterator[str]:
        behind = table["worst"]
        yield f"{behind['recall_lost_mean']:.3f}"
        yield f"{behind['recall_lost_worst'][0]:.3f}"
        if goals:
            yield behind["recall_goal_met"]
        yield f"{behind['p90_later_ms_worst'][0]:.0f} ms"
        if goals:
            yield behind["p90_goal_met"]
        yield f"{behind['auc_lost_without_prelude']:+.4f}"
        yield f"{table['false']['hold music']['starts_per_hour']:.0f}"

    headings = {
        "recall lost: mean": True, "worst": True, "within .01": goals, "p90 later: worst": True,
        "within 32 ms": goals, "AUC lost with no prelude": True,
        "false starts an hour of hold music": True,
    }  # fmt: skip
    return grid(
        ["rule", "rate", *(heading for heading, shown in headings.items() if shown)],
        (
            [name, f"{rate // 1000} kHz", *cells(of[str(rate)])]
            for name, of in systems.items()
            for rate in (8_000, 16_000)
        ),
    )


# ---- docs/vad-threshold.md --------------------------------------------------------------------

_RULES = {
    "0.5": "fixed 0.5",
    "0.3": "fixed 0.3",
    "0.2*": "fixed 0.2, deactivation 0.14",
    "0.1*": "fixed 0.1, deactivation 0.07",
    "crude": "crude",
    "auto": "auto",
}
_SETS = {
    "TEN, clean": "ten clean",
    "TEN, 5 dB, six noises": "ten 5 dB, mean of noises",
    "TEN, 0 dB, six noises": "ten 0 dB, mean of noises",
    "the same, one call each": "ten 0 dB, mean of noises, one call",
    "call, clean": "call clean",
    "call, 20 dB quieter": "call -20 dB",
    "call, 30 dB quieter": "call -30 dB",
    "call, 40 dB quieter": "call -40 dB",
    "call, loud, 40 dB quieter, loud": "call loud, -40 dB, loud",
    "far: 0.3 s, +3 dB": "far 0.3 s +3 dB",
    "far, nine rooms": "far, mean of rooms",
    "AMI, test": "ami test",
    "AMI, development (tuned on)": "ami development (tuned on)",
    "AMI, train (tuned on)": "ami train (tuned on)",
}
_SEGMENTS = (
    *("call, clean", "call, 30 dB quieter", "call, 40 dB quieter"),
    *("call, loud, 40 dB quieter, loud", "far: 0.3 s, +3 dB"),
)
_NOISES = {
    "seven recordings at -20, -35, -50 dBFS, mean": "mean",
    "at -50 dBFS, after a quiet call, mean": "mean after a quiet call",
    "office, -50 dBFS": "office-ambience -50 dBFS",
    "hold music, -50 dBFS": "hold_music -50 dBFS",
    "crowded room, -50 dBFS": "crowded-room -50 dBFS",
    "crowded room, -35 dBFS": "crowded-room -35 dBFS",
    "babble of eight, -35 dBFS": "babble -35 dBFS",
}


def frames(results: Results) -> str:
    """Return recall, false positives and F1 of each threshold on each set, and the best fixed."""
    result = results["vad-quiet"]

    def cell(rule: str, name: str) -> str:
        row = result["systems"][rule]["speech"][name]
        return " / ".join(_short(row[key]) for key in ("recall", "fpr", "f1"))

    def best(name: str) -> str:
        found = result["sets"].get(name)
        return f"{_short(found['best_f1'])} @ {found['best_threshold']:.2f}" if found else ""

    return grid(
        ["recall / false positives / F1", *_RULES, "best F1 @"],
        (
            [label, *(cell(rule, name) for rule in _RULES.values()), best(name)]
            for label, name in _SETS.items()
        ),
    )


def segments(results: Results) -> str:
    """Return the segments that each threshold misses, and when END came."""
    systems = results["vad-quiet"]["systems"]

    def cell(rule: str, name: str) -> str:
        row = systems[rule]["speech"][name]["events"]
        late = f"{row['end_ms_median']:.0f}, {row['end_ms_p90']:.0f}"
        return f"{row['missed']}/{row['segments']}; {late}"

    def rooms(rule: str) -> str:
        row = systems[rule]["speech"]["far, mean of rooms"]
        return f"{row['missed']}/{row['segments']}"

    rows = [[label, *(cell(rule, _SETS[label]) for rule in _RULES.values())] for label in _SEGMENTS]
    rows.append(["far, nine rooms (sum)", *map(rooms, _RULES.values())])
    return grid(["missed of labelled; END after, ms: median, p90", *_RULES], rows)


def noises(results: Results) -> str:
    """Return the starts in noise without speech."""
    systems = results["vad-quiet"]["systems"]

    def cell(rule: str, name: str) -> str:
        row = systems[rule]["noise"][name]
        return f"{row['starts_per_minute']:.2f} ({row['speaking']:.2f})"

    return grid(
        ["starts per minute (share of time speaking)", *_RULES],
        (
            [label, *(cell(rule, name) for rule in _RULES.values())]
            for label, name in _NOISES.items()
        ),
    )


# ---- docs/reliability.md ----------------------------------------------------------------------

_HELD = {
    "delay, ms: p99": ("delay_ms", "p99"),
    "stall, ms: p99": ("stall_ms", "p99"),
    "turn, ms: p50": ("turn_ms", "p50"),
    "p99": ("turn_ms", "p99"),
    "max": ("turn_ms", "max"),
    "MiB a call": ("mib_a_call",),
}


def held(results: Results) -> str:
    """Return how many calls a machine holds, and what their figures are then."""
    systems = results["load"]["systems"]

    def cell(row: Row, path: Sequence[str]) -> str:
        return "" if path[0] not in row else f"{_at(row, *path):.0f}"

    def row(name: str) -> list[str]:
        held = systems[name]
        at = systems[f"{name}, {held['calls']} calls"]
        cells = [cell(at, path) for path in _HELD.values()]
        return [name, str(held["calls"]), f"{held['calls a core']:g}", *cells]

    named = (name for name, row in systems.items() if row.get("calls a core"))
    return grid(["parts of a call", "calls", "a core", *_HELD], map(row, named))


MAKERS: dict[str, Callable[[Results], str]] = {
    "turn-languages": languages,
    "turn-card": card,
    "turn-card-sources": card_sources,
    "turn-hard": hard,
    "turn-phenomena": phenomena,
    "noise-words": recogniser,
    "vad-latency": latency,
    "vad-drift-8": lambda results: drift(results, 8_000),
    "vad-drift-16": lambda results: drift(results, 16_000),
    "vad-drift-rules": rules,
    "vad-drift-choices": choices,
    "vad-threshold-frames": frames,
    "vad-threshold-segments": segments,
    "vad-threshold-noises": noises,
    "load-held": held,
}
"""Name in a document -> its table."""
