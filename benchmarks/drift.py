"""Is speech heard as well after long sound without speech? Drift of Silero's state, and its cures.

Each clip follows a prelude. Labelled sets and where the public gets them:
:data:`benchmarks.data.SOURCES`; hold music and the crowded room come with livekit-agents.
"""

from __future__ import annotations

import functools
import timeit
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nearvoice import SileroVAD
from nearvoice.audio import Samples
from nearvoice.drift import FADING, PATIENCE, QUIET, DriftGuard

from . import data, processes, sounds, systems
from .cures import CHOICES, OFF, OURS, RULES
from .data import Clip
from .hearing import WINDOW
from .recovery import SEED, Figures, Speech, Table, cut, places, speech_of, worst
from .settings import Settings
from .store import Store

RATES = (16_000, 8_000)
LENGTHS = (10, 60, 600)
"""Seconds of a prelude, at least: see :func:`_places`."""
SNRS = (10, 5)
"""dB of labelled speech above the sound of the prelude, where that goes on."""
LEVEL = -30.0
"""dB of full scale of stationary noise, hold music and crowded room."""

# ---- preludes and what follows ----------------------------------------------------------------


def preludes() -> dict[str, sounds.Prelude]:
    """Return what is heard before the clips."""
    recorded = sounds.noises()
    return {
        "silence": sounds.digital_silence,
        "room tone": lambda seconds, seed: sounds.room_tone(seconds, seed, db=-60.0),
        "stationary noise": lambda seconds, seed: sounds.stationary_noise(seconds, seed, db=LEVEL),
        "hold music": sounds.looped(recorded["hold_music"], LEVEL),
        "ringing": sounds.ringing,
        "menu beeps": sounds.menu_beeps,
        "crowded room": sounds.looped(recorded["crowded-room"], LEVEL),
    }


FEW = ("stationary noise", "hold music", "menu beeps")
"""Preludes of other choices."""
GOES_ON = ("stationary noise", "crowded room")
"""Preludes that go on under the speech, too."""


def _within(clips: Sequence[Clip], noise: Samples, snr: int) -> list[Clip]:
    """Return the clips ``snr`` dB above a noise that stays as loud as in its prelude."""
    mixed = []
    for seed, clip in enumerate(clips):
        spoken = clip.samples[: len(clip.labels) * data.HOP].reshape(-1, data.HOP)[clip.labels]
        gain = LEVEL + snr - sounds.level(spoken)
        louder = replace(clip, samples=sounds.amplify(clip.samples, gain))
        mixed.append(sounds.mix(louder, noise, snr, seed))
    return mixed


def _follow(
    clips: Sequence[Clip], before: dict[str, sounds.Prelude], rate: int
) -> dict[str, Speech]:
    """Return what can follow a prelude: the clips, and the clips in its sound."""
    followed = {"clean": speech_of(clips, rate)}
    for name in GOES_ON:
        noise = before[name](60.0, SEED)
        for snr in SNRS:
            followed[f"{name} {snr} dB"] = speech_of(_within(clips, noise, snr), rate)
    return followed


# ---- the task ---------------------------------------------------------------------------------

WHAT = (
    "TEN-VAD test set after preludes: frames of 10 ms at threshold .5, no lag compensated; onset: "
    "from the first labelled speech of a clip to the first frame heard as speech; false: starts of "
    "speech in the prelude itself, with the plugin's defaults; reference: no prelude, no cure"
)


class Part(NamedTuple):
    """What a process is given: some cures, at a rate, before some speech."""

    which: str
    """"rules", "choices", or "ami": the rules, before meetings."""
    rate: int
    settings: Settings
    store: Path


def predict(settings: Settings, store: Store) -> None:
    """Hear speech after every prelude with every cure, in processes.

    What is kept are the figures of what was heard. Without the "ami" set there are none of it.

    Raises:
        MissingDataError: The "ten" set is not in the data folder.
    """
    clips, meetings = data.ten(settings.data), _meetings(settings)
    kernels = {model.kernel for model in map(_model, RATES)}
    store.note(
        {
            "kernel": kernels.pop(),
            "clips": {"ten": len(clips), "ami": len(meetings)},
            "guard_us": cost(),
        }
    )
    parts = [
        Part(which, rate, settings, store.folder)
        for which in ("rules", "choices", *(("ami",) if meetings else ()))
        for rate in RATES
    ]
    processes.each(_keep, parts, settings.jobs, "vad-drift")


def _model(rate: int) -> SileroVAD:
    return systems.model(rate, "auto")


def _meetings(settings: Settings) -> list[Clip]:
    try:
        return data.ami(settings.data, "test")
    except data.MissingDataError:
        return []


def _keep(part: Part) -> None:
    Store(part.store).json(part.which, str(part.rate), lambda: _tables(part))


def _tables(part: Part) -> dict[str, Any]:
    """Return the figures of each cure: "rows" and "false"."""
    clips, before = data.ten(part.settings.data), preludes()
    longest = max(places(LENGTHS[-1], len(clips))) * WINDOW + 1
    chosen = FEW if part.which == "choices" else tuple(before)
    windows = {name: cut(before[name](longest, SEED), part.rate) for name in chosen}
    lengths = LENGTHS if part.which == "rules" else (60,)
    if part.which == "rules":
        follow = _follow(clips, before, part.rate)
    else:
        clips = _meetings(part.settings) if part.which == "ami" else clips
        follow = {"clean": speech_of(clips, part.rate)}
    found = {}
    for system, cure in (CHOICES if part.which == "choices" else RULES).items():
        table = Table(_model(part.rate), cure)
        table.without(follow)
        for name in chosen:
            table.after(name, windows[name], lengths, follow)
        found[system] = {"rows": table.rows, "false": table.false}
    return found


def score(_: Settings, store: Store) -> dict[str, Any]:
    """Return the tables of all rules, and of other choices on a part."""
    about = store.about()
    rules: dict[str, Any] = {name: {} for name in RULES}
    choices: dict[str, Any] = {name: {} for name in CHOICES}
    for rate in RATES:
        _fill(rules, store.json("rules", str(rate)), str(rate))
        _fill(choices, store.json("choices", str(rate)), str(rate))
        if about["clips"]["ami"]:
            _fill(rules, store.json("ami", str(rate)), f"{rate} ami")
    return {
        "task": "vad-drift",
        "what": WHAT,
        "seed": SEED,
        "kernel": about["kernel"],
        "constants": {"quiet": QUIET, "patience": PATIENCE, "fading": FADING},
        "clips": about["clips"],
        "guard_us": about["guard_us"],
        "systems": rules,
        "choices": choices,
    }


def _fill(tables: dict[str, Any], found: Mapping[str, Any], rate: str) -> None:
    """Add how far each is behind the first of them, which cures nothing."""
    reference: dict[str, Figures] = next(iter(found.values()))["rows"]
    for system, one in found.items():
        tables[system][rate] = {"worst": worst(one["rows"], reference), **one}


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
