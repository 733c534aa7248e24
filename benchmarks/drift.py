"""Is speech heard as well after long sound without speech? Drift of Silero's state, and its cures.

Each clip follows a prelude. As a state is a value, the prelude is heard once, and every clip goes
on from a state on the way, each from another place. Labelled sets and where the public gets them:
:data:`benchmarks.data.SOURCES`; hold music and the crowded room come with livekit-agents.
"""

from __future__ import annotations

import copy
import functools
import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nearvoice import SileroVAD, SpeechDetector
from nearvoice.audio import Samples, resample, to_float32, to_int16
from nearvoice.drift import FADING, PATIENCE, QUIET, DriftGuard
from nearvoice.silero import SileroState
from nearvoice.silero_network import join, split
from nearvoice.speech import Boundary

from . import data, metrics
from .data import Clip

RATES = (16_000, 8_000)
LENGTHS = (10, 60, 600)
"""Seconds of a prelude, at least: see :func:`_places`."""
SNRS = (10, 5)
"""dB of labelled speech above the sound of the prelude, where that goes on."""
LEVEL = -30.0
"""dB of full scale of stationary noise, hold music and crowded room."""
WINDOW = 0.032
"""Seconds, at both rates."""
SEED = 3

# ---- cures ------------------------------------------------------------------------------------


class Rule(Protocol):
    """What is done to the state after each window. A shallow copy of it is a stream of its own."""

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state to go on with."""


class Off:
    """Nothing is done."""

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state as it is."""
        return state


class Reset:
    """Every so often in quiet, a state made anew.

    Args:
        make: Old state -> new one.
        windows: Quiet windows in a row that allow it.
        pause: Seconds from one to the next.
    """

    def __init__(
        self, make: Callable[[SileroState], SileroState], windows: int, pause: float = 2.0
    ) -> None:
        self._make = make
        self._needed = windows
        self._pause = round(pause / WINDOW)
        self._quiet = self._since = 0

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state as it is, or made anew."""
        self._quiet = self._quiet + 1 if probability < 0.1 else 0
        self._since += 1
        if self._quiet < self._needed or self._since < self._pause:
            return state
        self._since = 0
        return self._make(state)


def _keep(hidden: float, cell: float, state: SileroState) -> SileroState:
    rnn, context = split(state.memory)
    return SileroState(join(rnn * np.array([[hidden], [cell]], np.float32), context))


Cure = Callable[[SileroVAD], Rule]
OFF, OURS = "off", "fading"
SYSTEMS: dict[str, Cure] = {
    OFF: lambda model: Off(),
    OURS: lambda model: DriftGuard(WINDOW),
    # the rule that research found in pipecat: 5 windows below .1, at most every 2 s
    "full reset": lambda model: Reset(lambda state: model.initial_state(), 5),
}
CHOICES: dict[str, Cure] = {
    **SYSTEMS,
    "hidden state zeroed": lambda model: Reset(functools.partial(_keep, 0, 1), 62),
    "cell state zeroed": lambda model: Reset(functools.partial(_keep, 1, 0), 62),
    f"FADING {FADING / 2}": lambda model: DriftGuard(WINDOW, fading=FADING / 2),
    f"FADING {FADING * 2}": lambda model: DriftGuard(WINDOW, fading=FADING * 2),
    f"PATIENCE {PATIENCE / 2}": lambda model: DriftGuard(WINDOW, patience=PATIENCE / 2),
    f"PATIENCE {PATIENCE * 2}": lambda model: DriftGuard(WINDOW, patience=PATIENCE * 2),
    f"QUIET {QUIET / 2}": lambda model: DriftGuard(WINDOW, quiet=QUIET / 2),
    f"QUIET {QUIET * 2}": lambda model: DriftGuard(WINDOW, quiet=QUIET * 2),
}
"""Other cures and other constants, on a part of the table."""

# ---- preludes and what follows ----------------------------------------------------------------


class Speech(NamedTuple):
    """Clips at one rate, cut into windows."""

    clips: Sequence[Clip]
    windows: Sequence[npt.NDArray[np.float32]]
    """float32[n, 512 or 256] for each clip."""


def preludes() -> dict[str, data.Prelude]:
    """Return what is heard before the clips."""
    sounds = data.noises()
    return {
        "silence": data.digital_silence,
        "room tone": lambda seconds, seed: data.room_tone(seconds, seed, db=-60.0),
        "stationary noise": lambda seconds, seed: data.stationary_noise(seconds, seed, db=LEVEL),
        "hold music": data.looped(sounds["hold_music"], LEVEL),
        "ringing": data.ringing,
        "menu beeps": data.menu_beeps,
        "crowded room": data.looped(sounds["crowded-room"], LEVEL),
    }


GOES_ON = ("stationary noise", "crowded room")
"""Preludes that go on under the speech, too."""


def _cut(samples: Samples, rate: int) -> npt.NDArray[np.float32]:
    """Return the windows of sound at 16 kHz, at ``rate``: float32[n, 512 or 256]."""
    if rate != data.RATE:
        samples = to_float32(resample(to_int16(samples), data.RATE, rate))
    size = round(WINDOW * rate)
    return samples[: len(samples) // size * size].reshape(-1, size)


def _speech(clips: Sequence[Clip], rate: int) -> Speech:
    return Speech(clips, [_cut(clip.samples, rate) for clip in clips])


def _within(clips: Sequence[Clip], noise: Samples, snr: int) -> list[Clip]:
    """Return the clips ``snr`` dB above a noise that stays as loud as in its prelude."""
    mixed = []
    for seed, clip in enumerate(clips):
        spoken = clip.samples[: len(clip.labels) * data.HOP].reshape(-1, data.HOP)[clip.labels]
        gain = LEVEL + snr - data.level(spoken)
        louder = replace(clip, samples=data.amplify(clip.samples, gain))
        mixed.append(data.mix(louder, noise, snr, seed))
    return mixed


def _follow(clips: Sequence[Clip], sounds: dict[str, data.Prelude], rate: int) -> dict[str, Speech]:
    """Return what can follow a prelude: the clips, and the clips in its sound."""
    followed = {"clean": _speech(clips, rate)}
    for name in GOES_ON:
        noise = sounds[name](60.0, SEED)
        for snr in SNRS:
            followed[f"{name} {snr} dB"] = _speech(_within(clips, noise, snr), rate)
    return followed


# ---- listening --------------------------------------------------------------------------------


class Heard(NamedTuple):
    """A stream at some moment."""

    state: SileroState
    rule: Rule


def _listen(
    model: SileroVAD, windows: Iterable[npt.NDArray[np.float32]], heard: Heard
) -> tuple[npt.NDArray[np.float64], Heard]:
    """Go on listening; return P(speech) of each window, and the stream after them."""
    state, rule = heard.state, copy.copy(heard.rule)
    said = []
    for window in windows:
        p, state = model.step(window, state)
        state = rule.step(p, state)
        said.append(p)
    return np.array(said), Heard(state, rule)


def _places(seconds: float, count: int) -> list[int]:
    """Return after how many windows of a prelude each clip begins: ``seconds`` and up.

    They are spread evenly, over nine tenths of the length, but not over more than 54 s.
    """
    spread = min(0.9 * seconds, 54.0)
    return [round((seconds + spread * i / max(1, count - 1)) / WINDOW) for i in range(count)]


def _streams(
    model: SileroVAD, cure: Cure, windows: npt.NDArray[np.float32], places: Iterable[int]
) -> tuple[npt.NDArray[np.float64], dict[int, Heard]]:
    """Hear a prelude; return P(speech) of its windows, and the stream at each of the places."""
    heard, before, said, found = Heard(model.initial_state(), cure(model)), 0, [], {}
    for place in sorted(set(places)):
        probabilities, heard = _listen(model, windows[before:place], heard)
        said.append(probabilities)
        found[place], before = heard, place
    return np.concatenate(said), found


# ---- figures ----------------------------------------------------------------------------------

Figures = dict[str, float]


def _figures(model: SileroVAD, speech: Speech, heard: Sequence[Heard]) -> Figures:
    """Return how the clips are heard that go on from the streams, one each."""
    scores = [
        metrics.to_grid(_listen(model, windows, stream)[0], WINDOW, len(clip.labels))
        for clip, windows, stream in zip(speech.clips, speech.windows, heard, strict=True)
    ]
    labels = np.concatenate([clip.labels for clip in speech.clips])
    together = np.concatenate(scores)
    at_half = metrics.at_threshold(labels, together)
    delays = [_onset(clip.labels, score) for clip, score in zip(speech.clips, scores, strict=True)]
    return {
        "recall": round(at_half.recall, 4),
        "fpr": round(at_half.false_positive_rate, 4),
        "auc": round(metrics.roc_auc(labels, together), 4),
        "onset_ms_median": round(float(np.median(delays))),
        "onset_ms_p90": round(float(np.percentile(delays, 90))),
        "onset_ms_max": round(max(delays)),
    }


def _onset(labels: data.Labels, scores: metrics.Scores) -> float:
    """Return milliseconds from the first labelled speech to the first frame at .5 or above.

    Never heard counts as heard at the end of the clip.
    """
    start = int(np.argmax(labels))
    late = np.flatnonzero(scores[start:] >= 0.5)
    return float(late[0] if len(late) else len(scores) - start) * data.FRAME_SECONDS * 1e3


def _false(probabilities: npt.NDArray[np.float64]) -> Figures:
    """Return starts of speech an hour, with the plugin's defaults, and the share of windows."""
    detector = SpeechDetector(WINDOW)
    changes = [detector.step(float(p)).change for p in probabilities]
    starts = sum(change is not None and change.boundary is Boundary.START for change in changes)
    return {
        "starts_per_hour": round(starts * 3600 / (len(probabilities) * WINDOW), 1),
        "speech": round(float(np.mean(probabilities >= 0.5)), 4),
    }


class Table:
    """All figures of one system at one rate."""

    def __init__(self, model: SileroVAD, cure: Cure) -> None:
        self._model = model
        self._cure = cure
        self.rows: dict[str, Figures] = {}
        """"PRELUDE, SECONDS s, WHAT FOLLOWS" -> figures."""
        self.false: dict[str, Figures] = {}
        """Prelude -> what was taken for speech in the whole of it."""

    def without(self, follow: dict[str, Speech]) -> None:
        """Measure without a prelude."""
        fresh = Heard(self._model.initial_state(), self._cure(self._model))
        for name, speech in follow.items():
            self.rows[f"none, {name}"] = _figures(self._model, speech, [fresh] * len(speech.clips))

    def after(
        self,
        name: str,
        windows: npt.NDArray[np.float32],
        lengths: Sequence[int],
        follow: dict[str, Speech],
    ) -> None:
        """Measure after a prelude of each length."""
        count = len(follow["clean"].clips)
        places = {seconds: _places(seconds, count) for seconds in lengths}
        said, streams = _streams(
            self._model, self._cure, windows, [place for some in places.values() for place in some]
        )
        self.false[name] = _false(said)
        for seconds, some in places.items():
            # neighbours in the set are not neighbours in the prelude
            order = np.random.default_rng(SEED).permutation(some)
            for then, speech in follow.items():
                if then == "clean" or then.startswith(name):
                    self.rows[f"{name}, {seconds} s, {then}"] = _figures(
                        self._model, speech, [streams[int(place)] for place in order]
                    )


def worst(rows: dict[str, Figures], reference: dict[str, Figures]) -> dict[str, Any]:
    """Return how far a table is behind the same speech with no prelude and no cure.

    The crowded room counts apart: it is speech, and seldom quiet.
    """
    losses: dict[str, list[tuple[float, str]]] = {"recall": [], "onset_ms_p90": [], "fpr": []}
    for name, row in rows.items():
        prelude, *_, then = name.split(", ")
        if prelude not in ("none", "crowded room"):
            none = reference[f"none, {then}"]
            losses["recall"].append((round(none["recall"] - row["recall"], 4), name))
            late = row["onset_ms_p90"] - none["onset_ms_p90"]
            losses["onset_ms_p90"].append((late, name))
            losses["fpr"].append((round(row["fpr"] - none["fpr"], 4), name))
    none = reference["none, clean"]
    return {
        "recall_lost_mean": round(float(np.mean([loss for loss, _ in losses["recall"]])), 4),
        "recall_lost_worst": max(losses["recall"]),
        "recall_goal_met": f"{sum(v <= 0.01 for v, _ in losses['recall'])}"
        f" of {len(losses['recall'])}",
        "p90_later_ms_worst": max(losses["onset_ms_p90"]),
        "p90_goal_met": f"{sum(v <= 32 for v, _ in losses['onset_ms_p90'])}"
        f" of {len(losses['onset_ms_p90'])}",
        "fpr_more_worst": max(losses["fpr"]),
        "auc_lost_without_prelude": round(none["auc"] - rows["none, clean"]["auc"], 4),
    }


# ---- the task ---------------------------------------------------------------------------------

WHAT = (
    "TEN-VAD test set after preludes: frames of 10 ms at threshold .5, no lag compensated; onset: "
    "from the first labelled speech of a clip to the first frame heard as speech; false: starts of "
    "speech in the prelude itself, with the plugin's defaults; reference: no prelude, no cure"
)


def drift(folder: Path, kernel: str = "auto") -> dict[str, Any]:
    """Return the tables of all systems, and of other choices on a part.

    Args:
        folder: The data folder, see :data:`benchmarks.data.SOURCES`; without its "ami" set the
            rows of that are left out.
        kernel: Of :class:`nearvoice.SileroVAD`.

    Raises:
        MissingDataError: The "ten" set is not in the data folder.
    """
    clips, sounds = data.ten(folder), preludes()
    try:
        meetings = data.ami(folder, "test")
    except data.MissingDataError:
        meetings = []
    longest = max(_places(LENGTHS[-1], len(clips))) * WINDOW + 1
    heard = {name: prelude(longest, SEED) for name, prelude in sounds.items()}
    systems: dict[str, Any] = {name: {} for name in SYSTEMS}
    choices: dict[str, Any] = {name: {} for name in CHOICES}
    for rate in RATES:
        model = SileroVAD(rate, kernel)  # type: ignore[arg-type]
        cut = {name: _cut(samples, rate) for name, samples in heard.items()}
        follow = _follow(clips, sounds, rate)
        _fill(systems, SYSTEMS, model, cut, LENGTHS, follow)
        few = {name: cut[name] for name in ("stationary noise", "hold music", "menu beeps")}
        _fill(choices, CHOICES, model, few, (60,), {"clean": follow["clean"]})
        if meetings:
            meeting = {"clean": _speech(meetings, rate)}
            _fill(systems, SYSTEMS, model, cut, (60,), meeting, suffix=" ami")
    return {
        "task": "vad-drift",
        "what": WHAT,
        "seed": SEED,
        "constants": {"quiet": QUIET, "patience": PATIENCE, "fading": FADING},
        "clips": {"ten": len(clips), "ami": len(meetings)},
        "guard_us": cost(),
        "systems": systems,
        "choices": choices,
    }


def _fill(
    tables: dict[str, Any],
    cures: dict[str, Cure],
    model: SileroVAD,
    preludes: dict[str, npt.NDArray[np.float32]],
    lengths: Sequence[int],
    follow: dict[str, Speech],
    suffix: str = "",
) -> None:
    reference: dict[str, Figures] = {}
    for system, cure in cures.items():
        table = Table(model, cure)
        table.without(follow)
        for name, windows in preludes.items():
            table.after(name, windows, lengths, follow)
        reference = reference or table.rows
        tables[system][f"{model.sample_rate}{suffix}"] = {
            "worst": worst(table.rows, reference),
            "false": table.false,
            "rows": table.rows,
        }


def cost() -> dict[str, float]:
    """Return microseconds of the guard's step in quiet, where it fades now and then, and else."""
    guard, state = DriftGuard(WINDOW), SileroVAD(16_000).initial_state()
    found = {}
    for name, p in (("quiet", 0.0), ("speech", 1.0)):
        seconds = timeit.repeat(functools.partial(guard.step, p, state), number=20_000, repeat=5)
        found[name] = round(min(seconds) / 20_000 * 1e6, 3)
    return found


def report(result: dict[str, Any]) -> str:
    """Return what docs/vad-drift.md shows, as tables of Markdown."""
    lines = [
        "| rule | rate | recall lost: mean | worst | within .01 | p90 later: worst | within 32 ms "
        "| AUC lost with no prelude | false starts an hour of hold music |",
        "|---" * 9 + "|",
    ]
    for part in ("systems", "choices"):
        for system, rates in result[part].items():
            for rate, table in rates.items():
                behind = table["worst"]
                lines.append(
                    f"| {system} | {rate} | {behind['recall_lost_mean']:.4f} "
                    f"| {behind['recall_lost_worst'][0]:.4f} | {behind['recall_goal_met']} "
                    f"| {behind['p90_later_ms_worst'][0]} ms | {behind['p90_goal_met']} "
                    f"| {behind['auc_lost_without_prelude']:.4f} "
                    f"| {table['false']['hold music']['starts_per_hour']:g} |"
                )
        lines.append("")
    for rate in map(str, RATES):
        off, ours = (result["systems"][name][rate]["rows"] for name in (OFF, OURS))
        lines += [f"| {rate} Hz | recall | FPR | AUC | onset p90 | max |", "|---" * 6 + "|"]
        for name in (row for row in off if row.startswith("none") or ", 60 s" in row):
            pairs = [
                f"{off[name][figure]} → {ours[name][figure]}"
                for figure in ("recall", "fpr", "auc", "onset_ms_p90", "onset_ms_max")
            ]
            lines.append(f"| {name} | {' | '.join(pairs)} |")
        lines.append("")
    return "\n".join(lines)
