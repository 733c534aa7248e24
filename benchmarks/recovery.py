"""How well clips are heard after long sound without speech: a row for each prelude and length.

As a state is a value, a prelude is heard once, and every clip goes on from a state on the way, each
from another place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearvoice import SileroVAD
from nearvoice.audio import Samples, resample, to_float32, to_int16
from nearvoice.silero import SileroState

from . import data, hearing, metrics
from .cures import Cure, Rule
from .data import Clip
from .hearing import WINDOW

SEED = 3


class Speech(NamedTuple):
    """Clips at one rate, cut into windows."""

    clips: Sequence[Clip]
    windows: Sequence[npt.NDArray[np.float32]]
    """float32[n, 512 or 256] for each clip."""


def cut(samples: Samples, rate: int) -> npt.NDArray[np.float32]:
    """Return the windows of sound at 16 kHz, at ``rate``: float32[n, 512 or 256]."""
    if rate != data.RATE:
        samples = to_float32(resample(to_int16(samples), data.RATE, rate))
    return hearing.windows(samples, round(WINDOW * rate))


def speech_of(clips: Sequence[Clip], rate: int) -> Speech:
    """Return clips at 16 kHz as they are heard at ``rate``."""
    return Speech(clips, [cut(clip.samples, rate) for clip in clips])


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


def places(seconds: float, count: int) -> list[int]:
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
    starts = len(hearing.detect(probabilities, WINDOW))
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
        spots = {seconds: places(seconds, count) for seconds in lengths}
        said, streams = _streams(
            self._model, self._cure, windows, [place for some in spots.values() for place in some]
        )
        self.false[name] = _false(said)
        for seconds, some in spots.items():
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
