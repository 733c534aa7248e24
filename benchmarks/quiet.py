"""What fixed thresholds and the learnt one make of clean, noisy, quiet and far speech.

The speech is the labelled sets of :mod:`benchmarks.data`, whose messages say where the public gets
them; the noises come with livekit-agents; pauses, levels and rooms are made from seeds. The
constants of :mod:`nearvoice.threshold` were found on AMI's train and development excerpts and on
other calls than these; the TEN set and AMI's test excerpts had no part in it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nearvoice.audio import Samples
from nearvoice.silero import SileroVAD
from nearvoice.speech import Boundary, SpeechDetector, SpeechOptions
from nearvoice.threshold import DEACTIVATION, AdaptiveThreshold

from . import data, metrics
from .data import Clip, Segment
from .metrics import Scores

WINDOW = 0.032
"""Seconds of a window."""

# ---- systems ----------------------------------------------------------------------------------


class System(NamedTuple):
    """A way to choose the threshold of each window of one stream."""

    thresholds: Callable[[Scores], Scores]
    """P(speech) of all windows of a stream, raw -> activation thresholds, each from the past."""
    deactivation: float | None
    """Per activation threshold; None for what a fixed threshold has by default."""


def _fixed(threshold: float) -> Callable[[Scores], Scores]:
    return lambda probabilities: np.full(len(probabilities), threshold)


def crude(probabilities: Scores) -> Scores:
    """Three times the lower quartile of the last 29 s, from .03 to .5; .5 for the first 2 s.

    It is taken anew every tenth window.
    """
    thresholds = np.full(len(probabilities), 0.5)
    for i in range(60, len(probabilities), 10):
        quartile = float(np.quantile(probabilities[max(0, i - 900) : i], 0.25))
        thresholds[i : i + 10] = min(0.5, max(0.03, 3 * quartile))
    return thresholds


def learnt(probabilities: Scores) -> Scores:
    """Those of :class:`AdaptiveThreshold`."""
    threshold = AdaptiveThreshold()
    return np.array([threshold.step(probability) for probability in probabilities.tolist()])


SYSTEMS = {
    **{f"fixed {threshold}": System(_fixed(threshold), None) for threshold in (0.5, 0.3, 0.2, 0.1)},
    **{
        f"fixed {threshold}, deactivation {DEACTIVATION * threshold:.2f}": System(
            _fixed(threshold), DEACTIVATION
        )
        for threshold in (0.2, 0.1)
    },
    "crude": System(crude, DEACTIVATION),
    "auto": System(learnt, DEACTIVATION),
}


def decide(system: System, probabilities: Scores) -> list[Segment]:
    """Return when the policy, its other options at their defaults, says START and END.

    An END that never came is infinity.
    """
    detector = SpeechDetector(WINDOW)
    found: list[Segment] = []
    before = -1.0
    thresholds = system.thresholds(probabilities).tolist()
    for probability, threshold in zip(probabilities.tolist(), thresholds, strict=True):
        if threshold != before:
            off = None if system.deactivation is None else system.deactivation * threshold
            detector.options = SpeechOptions(
                activation_threshold=threshold, deactivation_threshold=off
            )
            before = threshold
        change = detector.step(probability).change
        if change and change.boundary is Boundary.START:
            found.append(Segment(detector.timestamp, np.inf))
        elif change:
            found[-1] = found[-1]._replace(end=detector.timestamp)
    return found


# ---- sets -------------------------------------------------------------------------------------

Set = list[Clip]
"""Labelled streams; each clip is a stream of its own."""
SNRS = (20, 10, 5, 0)
QUIET = (20, 30, 40)
"""dB by which speech is made quieter."""
ROOMS = [(rt60, direct_db) for rt60 in (0.3, 0.6, 1.0) for direct_db in (3, -3, -9)]
"""Seconds of reverberation, and dB of the direct sound to it."""
PAUSES = (0.6, 5.0)
"""Seconds between the clips of a call, drawn evenly."""
TONE = -75.0
"""Level of the room tone of a call in dB: two or three steps of 16 bits, as in a quiet line."""


def joined(clips: Sequence[Clip], name: str) -> Clip:
    """Return the clips in a row, as one stream."""
    samples = [clip.samples[: len(clip.labels) * data.HOP] for clip in clips]
    return Clip(name, np.concatenate(samples), np.concatenate([clip.labels for clip in clips]))


def call(clips: Sequence[Clip], seed: int) -> Clip:
    """Return the clips in a row, a pause of digital silence before each."""
    rng = np.random.default_rng(seed)
    pauses = [data.digital_silence(float(rng.uniform(*PAUSES))) for _ in clips]
    return joined([data.before(*pair) for pair in zip(pauses, clips, strict=True)], "call")


def toned(clip: Clip, db: float, seed: int = 2) -> Clip:
    """Return the clip with the tone of a room under it, at ``db`` of full scale."""
    tone = data.room_tone(len(clip.samples) / data.RATE, seed, db)[: len(clip.samples)]
    return replace(clip, samples=data.amplify(clip.samples + tone, 0))


def sets(folder: Path) -> Iterator[tuple[str, Set]]:
    """Yield name and streams of each condition.

    Raises:
        MissingDataError: A labelled set is not in the data folder.
    """
    clips = data.ten(folder)
    for name, made in _short(clips):
        yield f"ten {name}", made
        yield f"ten {name}, one call", [joined(made, name)]
    one = call(clips, seed=1)
    yield from _calls(one)
    yield from _far(one)
    for split in ("test", "development", "train"):
        tuned = "" if split == "test" else " (tuned on)"
        excerpts = data.ami(folder, split)
        yield f"ami {split}{tuned}", excerpts
        yield f"ami {split}{tuned}, one call", [joined(excerpts, split)]


def _short(clips: Set) -> Iterator[tuple[str, Set]]:
    yield "clean", clips
    noises = data.noises()
    for snr in SNRS:
        for noise in data.AMBIENCES:
            mixed = [data.mix(clip, noises[noise], snr, seed) for seed, clip in enumerate(clips)]
            yield f"{noise} {snr} dB", mixed
    for db in QUIET:
        yield f"-{db} dB", [data.attenuate(clip, db) for clip in clips]


def _calls(one: Clip) -> Iterator[tuple[str, Set]]:
    yield "call clean", [toned(one, TONE)]
    for db in QUIET:
        yield f"call -{db} dB", [toned(data.attenuate(one, db), TONE)]
    third = len(one.labels) // 3 * data.HOP
    gains = np.repeat([1.0, 0.01, 1.0], third).astype(np.float32)
    turned = one.samples[: len(gains)] * gains
    yield (
        "call loud, -40 dB, loud",
        [toned(Clip("call", turned, one.labels[: len(turned) // data.HOP]), TONE)],
    )


def _far(one: Clip) -> Iterator[tuple[str, Set]]:
    tone = data.room_tone(60.0, seed=3)
    for seed, (rt60, direct_db) in enumerate(ROOMS):
        far = data.attenuate(data.reverberate(one, data.room(rt60, direct_db, seed)), 20)
        yield f"far {rt60} s {direct_db:+d} dB", [data.mix(far, tone, 20, seed)]
        if (rt60, direct_db) == (0.6, 3):
            for noise in ("office-ambience", "hold_music"):
                mixed = data.mix(far, data.noises()[noise], 10, seed)
                yield f"far {rt60} s {direct_db:+d} dB, {noise} 10 dB", [mixed]


def group(name: str) -> str | None:
    """Return the group over which the figures of a set are averaged, if any."""
    if name.startswith("ten "):
        kind = ", one call" if name.endswith(", one call") else ""
        found = next((snr for snr in SNRS if f" {snr} dB" in name), None)
        return None if found is None else f"ten {found} dB, mean of noises{kind}"
    if name.startswith("far ") and "," not in name:
        return "far, mean of rooms"
    return "quiet, mean of calls" if name.startswith("call ") and "-" in name else None


# ---- noise without speech ---------------------------------------------------------------------

LEVELS = (-20.0, -35.0, -50.0)
"""Of noise without speech, in dB of full scale."""
AFTER = " after a quiet call"


def silent(clips: Set, minutes: float) -> Iterator[tuple[str, Samples, float]]:
    """Yield name, sound and the second from which it is without speech, of each noise."""
    quiet_call = toned(data.attenuate(call(clips, seed=4), 40), TONE).samples[: 120 * data.RATE]
    makers = {name: data.looped(noise) for name, noise in data.noises().items()}
    babble = data.babble([clip.samples for clip in clips])
    for name, make in {**makers, "babble": babble}.items():
        sound = make(minutes * 60, 5)
        for db in LEVELS:
            heard = data.amplify(sound, db - data.level(sound))
            yield f"{name} {db:g} dBFS", heard, 0.0
        after = np.concatenate((quiet_call, heard))
        yield f"{name} {db:g} dBFS{AFTER}", after, len(quiet_call) / data.RATE


# ---- score ------------------------------------------------------------------------------------

WHAT = (
    "recall, false positive rate and F1 of 10 ms frames, raw probability against threshold, no lag "
    "compensated; events of the policy with its defaults; each clip a new stream but for 'one "
    "call', 'call' and 'far'; starts per minute of sound without speech"
)


def quiet(
    folder: Path,
    kernel: Literal["auto", "numpy", "onnxruntime"] = "auto",
    minutes: float = 10.0,
) -> dict[str, Any]:
    """Return the figures of every way to choose a threshold, on every set.

    Args:
        folder: The data folder, see :data:`benchmarks.data.SOURCES`.
        kernel: What runs the network.
        minutes: Of each noise without speech.

    Raises:
        MissingDataError: A labelled set is not in the data folder.
    """
    network = SileroVAD(16_000, kernel)
    described: dict[str, dict[str, float]] = {}
    figures: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in SYSTEMS}
    for name, streams in sets(folder):
        print(name, file=sys.stderr)
        heard = [probabilities(network, clip.samples) for clip in streams]
        described[name] = _ceiling(streams, heard)
        for system, how in SYSTEMS.items():
            figures[system][name] = _figures(how, streams, heard)
    starts: dict[str, dict[str, dict[str, float]]] = {name: {} for name in SYSTEMS}
    for name, sound, begin in silent(data.ten(folder), minutes):
        print(name, file=sys.stderr)
        said = probabilities(network, sound)
        for system, how in SYSTEMS.items():
            starts[system][name] = _starts(how, said, begin)
    return {
        "task": "vad-quiet",
        "what": WHAT,
        "us_per_window": _cost(),
        "data": {name: source.url for name, source in data.SOURCES.items()},
        "sets": described,
        "systems": {
            name: {
                "speech": {**figures[name], **_means(figures[name])},
                "noise": {**starts[name], **_noise_means(starts[name])},
            }
            for name in SYSTEMS
        },
    }


def _cost(rounds: int = 9) -> float:
    """Return the microseconds of one step of the learnt threshold: median of some rounds."""
    heard = np.random.default_rng(0).random(20_000) ** 4
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        learnt(heard)
        took.append((time.perf_counter() - started) / len(heard) * 1e6)
    return round(statistics.median(took), 3)


def probabilities(network: SileroVAD, samples: Samples) -> npt.NDArray[np.float64]:
    """Return P(speech) of each window of a new stream, float64[n // window]."""
    count = len(samples) // network.window
    windows = np.ascontiguousarray(samples[: count * network.window]).reshape(count, -1)
    state, said = network.initial_state(), np.empty(count)
    for i, window in enumerate(windows):
        said[i], state = network.step(window, state)
    return said


def _grid(values: Sequence[Scores], streams: Set) -> Scores:
    on_grid = [
        metrics.to_grid(value, WINDOW, len(clip.labels))
        for value, clip in zip(values, streams, strict=True)
    ]
    return np.concatenate(on_grid)


def _ceiling(streams: Set, heard: Sequence[Scores]) -> dict[str, float]:
    """Say what the set is, and what the best fixed threshold would have given."""
    labels = np.concatenate([clip.labels for clip in streams])
    scores = _grid(heard, streams)
    best, threshold = metrics.best_f1(labels, scores)
    return {
        "minutes": round(len(labels) * data.FRAME_SECONDS / 60, 2),
        "speech": round(float(labels.mean()), 3),
        "auc": round(metrics.roc_auc(labels, scores), 4),
        "best_f1": round(best, 4),
        "best_threshold": round(threshold, 4),
        "recall_at_fpr_0.05": round(_recall(labels, scores, 0.05), 4),
    }


def _recall(labels: data.Labels, scores: Scores, false_positive_rate: float) -> float:
    """Return the recall of the fixed threshold with that rate of false positives."""
    threshold = np.quantile(scores[~labels], 1 - false_positive_rate)
    return float(np.mean(scores[labels] > threshold))


def _figures(system: System, streams: Set, heard: Sequence[Scores]) -> dict[str, Any]:
    thresholds = [system.thresholds(said) for said in heard]
    above = [said - threshold for said, threshold in zip(heard, thresholds, strict=True)]
    labels = np.concatenate([clip.labels for clip in streams])
    frames = metrics.at_threshold(labels, _grid(above, streams), 0.0)
    events = metrics.Events()
    for clip, said in zip(streams, heard, strict=True):
        decided = decide(system, said)
        events += metrics.events(clip.labels, decided, SpeechOptions().min_silence_duration)
    return {
        "recall": round(frames.recall, 4),
        "fpr": round(frames.false_positive_rate, 4),
        "f1": round(frames.f1, 4),
        "threshold": round(float(np.median(np.concatenate(thresholds))), 3),
        "events": events.summary(),
    }


def _means(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return recall, FPR and F1 averaged over the sets of each group, and events added up."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in figures.items():
        if where := group(name):
            groups.setdefault(where, []).append(row)
    return {
        name: {
            **{key: round(float(np.mean([r[key] for r in rows])), 4) for key in _FRAMES},
            **{key: sum(r["events"][key] for r in rows) for key in ("segments", "missed", "false")},
        }
        for name, rows in groups.items()
    }


_FRAMES = ("recall", "fpr", "f1")


def _starts(system: System, said: Scores, begin: float) -> dict[str, float]:
    """Return what the policy makes of the sound after ``begin`` seconds, which is no speech."""
    end = len(said) * WINDOW
    decided = [one for one in decide(system, said) if one.end > begin]
    speaking = sum(min(one.end, end) - max(one.start, begin) for one in decided)
    return {
        "starts_per_minute": round(
            sum(one.start > begin for one in decided) / ((end - begin) / 60), 3
        ),
        "speaking": round(speaking / (end - begin), 4),
    }


def _noise_means(starts: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the means over noises in which nobody is understood to speak: all but babble."""
    means = {}
    for name, after in (("mean", False), ("mean after a quiet call", True)):
        rows = [
            row
            for noise, row in starts.items()
            if noise.endswith(AFTER) is after and not noise.startswith("babble")
        ]
        means[name] = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in _NOISE}
    return means


_NOISE = ("starts_per_minute", "speaking")


def report(result: dict[str, Any]) -> str:
    """Return the result as text: of each set and noise, a line a system."""
    systems = result["systems"]
    width = max(len(name) for name in systems)
    lines = []
    for part, cells in (("speech", _FRAMES), ("noise", _NOISE)):
        for row in next(iter(systems.values()))[part]:
            lines.append(f"{row}  {result['sets'].get(row, '')}")
            for name, figures in systems.items():
                shown = "  ".join(f"{figures[part][row][cell]:.3f}" for cell in cells)
                lines.append(f"    {name:{width}s}  {shown}")
    return "\n".join(lines)
