"""Is speech heard as well after long sound without speech? Drift of Silero's state, and its cures.

Each clip follows a prelude. Labelled sets and where the public gets them:
:data:`benchmarks.data.SOURCES`; hold music and the crowded room come with livekit-agents.
"""

from __future__ import annotations

import functools
import timeit
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice import SileroVAD
from nearvoice.audio import Samples
from nearvoice.drift import FADING, PATIENCE, QUIET, DriftGuard

from . import data, sounds, systems
from .cures import CHOICES, OFF, OURS, RULES, Cure
from .data import Clip
from .hearing import WINDOW
from .recovery import SEED, Figures, Speech, Table, cut, places, speech_of, worst

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


def drift(folder: Path, kernel: systems.Kernel = "numpy") -> dict[str, Any]:
    """Return the tables of all rules, and of other choices on a part.

    Args:
        folder: The data folder, see :data:`benchmarks.data.SOURCES`; without its "ami" set the
            rows of that are left out.
        kernel: What runs the network.

    Raises:
        MissingDataError: The "ten" set is not in the data folder.
    """
    clips, before = data.ten(folder), preludes()
    try:
        meetings = data.ami(folder, "test")
    except data.MissingDataError:
        meetings = []
    longest = max(places(LENGTHS[-1], len(clips))) * WINDOW + 1
    heard = {name: prelude(longest, SEED) for name, prelude in before.items()}
    models = [systems.model(rate, kernel) for rate in RATES]
    rules: dict[str, Any] = {name: {} for name in RULES}
    choices: dict[str, Any] = {name: {} for name in CHOICES}
    for model in models:
        rate = model.sample_rate
        windows = {name: cut(samples, rate) for name, samples in heard.items()}
        follow = _follow(clips, before, rate)
        _fill(rules, RULES, model, windows, LENGTHS, follow)
        few = {name: windows[name] for name in ("stationary noise", "hold music", "menu beeps")}
        _fill(choices, CHOICES, model, few, (60,), {"clean": follow["clean"]})
        if meetings:
            meeting = {"clean": speech_of(meetings, rate)}
            _fill(rules, RULES, model, windows, (60,), meeting, suffix=" ami")
    return {
        "task": "vad-drift",
        "what": WHAT,
        "seed": SEED,
        "kernel": models[0].kernel,
        "constants": {"quiet": QUIET, "patience": PATIENCE, "fading": FADING},
        "clips": {"ten": len(clips), "ami": len(meetings)},
        "guard_us": cost(),
        "systems": rules,
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
