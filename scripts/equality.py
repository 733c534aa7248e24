"""How often our VAD and livekit-plugins-silero agree, and how often the latter with itself.

    python -m scripts.equality [--seed 2026] [--trials 200]

Ours runs without what the official plugin has not: recovery from drift. Half of the trials have
audio at the rate of the network, where both must say the same, to the bit but for the kernel. In
the other half the audio is resampled: by ours with less alias, and by the official plugin with
random noise added. To tell the resampler from the rest, ours hears these trials a second time, by
the official recipe without the noise. No trial is left out but those that the official plugin does
not survive. Writes vad-equality.json into out/benchmarks, or the folder of --results.
"""

import argparse
import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from livekit.agents.vad import VADEvent
from livekit.plugins import silero as official
from livekit.plugins.nearvoice import silero

from benchmarks import machine, systems
from tests import trials

TOLERANCE = 0.03
"""Difference of probabilities that counts as one."""
KERNELS = ("onnxruntime", "numpy", "numba")
RESAMPLED_BY = "numpy"
"""Kernel of the resampled trials."""


def main() -> None:
    """Compare, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--trials", type=int, default=200, help="of each half")
    parser.add_argument("--results", type=Path, default=Path("out/benchmarks"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    systems.check_compiled()
    rng = random.Random(options.seed)
    result = {
        "task": "vad-equality",
        "what": f"{options.trials} random trials of each kind, seed {options.seed}",
        "tolerance": TOLERANCE,
        "same rate": same_rate(rng, options.trials),
        "resampled": resampled(rng, options.trials),
        "machine": machine.describe(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "vad-equality.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: result[name] for name in ("same rate", "resampled")}, indent=2))


def same_rate(rng: random.Random, count: int) -> dict[str, Any]:
    """Return how many trials without resampling are equal, with each kernel of ours."""
    pairs: dict[str, list[Pair]] = {kernel: [] for kernel in KERNELS}
    events = windows = 0
    for _ in range(count):
        rate = rng.choice((16_000, 16_000, 8_000))
        trial = trials.random_trial(rng, rate)
        trial.load["sample_rate"] = rate
        theirs = trials.run(official, trial)
        events += len(theirs)
        windows += len(trials.probabilities(theirs))
        for kernel, found in pairs.items():
            ours = trials.run(silero, trials.as_upstream(trial, kernel=kernel))
            found.append(compare(ours, theirs, trial))
    return {
        "trials": count,
        "events": events,
        "windows": windows,
        **{
            kernel: {
                "equal in every field but the probability": sum(one.equal for one in found),
                **figures(found),
            }
            for kernel, found in pairs.items()
        },
    }


def resampled(rng: random.Random, count: int) -> dict[str, Any]:
    """Return how many trials with resampling disagree: official with itself, ours with it."""
    again, ours, recipe = "official, again", "nearvoice", "nearvoice, resampled as the official"
    pairs: dict[str, list[Pair]] = {again: [], ours: [], recipe: []}
    crashed = windows = 0
    while len(pairs[ours]) < count:
        trial = trials.random_trial(rng, rng.choice(trials.RATES))
        if trial.rate == trial.load["sample_rate"]:
            continue
        try:
            first, second = (trials.run(official, trial) for _ in range(2))
        except ValueError:
            crashed += 1
            continue
        windows += len(trials.probabilities(first))
        comparable = trials.as_upstream(trial, kernel=RESAMPLED_BY)
        pairs[again].append(compare(second, first, trial))
        pairs[ours].append(compare(trials.run(silero, comparable), first, trial))
        with mock.patch.object(silero, "Resampler", trials.CubicResampler):
            pairs[recipe].append(compare(trials.run(silero, comparable), first, trial))
    return {
        "trials": count,
        "windows": windows,
        "official plugin crashed": crashed,
        "kernel": RESAMPLED_BY,
        **{name: figures(found) for name, found in pairs.items()},
    }


class Pair(NamedTuple):
    """How one trial went twice."""

    equal: bool
    """In every field of every event but the probability."""
    differs: bool
    """Another START or END."""
    quiet: bool
    """Whether the speech of the trial is quiet."""
    windows: int
    """How many more one heard than the other: resamplers hold different lengths of sound back."""
    shifted: bool
    """Whether a flush dropped what was held back: the windows after it cannot be compared."""
    distance: float
    """Largest difference of a probability; 0 when shifted."""
    flips: int
    """Windows that one has at .5 or above, and the other below; 0 when shifted."""


def compare(ours: list[VADEvent], theirs: list[VADEvent], trial: trials.Trial) -> Pair:
    """Compare two runs of a trial."""
    heard = [np.array(trials.probabilities(events)) for events in (ours, theirs)]
    windows = abs(len(heard[0]) - len(heard[1]))
    shifted = windows > 0 and any(kind == "flush" for _, kind, _ in trial.actions)
    both = 0 if shifted else min(map(len, heard))
    one, other = (probabilities[:both] for probabilities in heard)
    return Pair(
        equal=trials.digest(ours) == trials.digest(theirs),
        differs=trials.changes(ours) != trials.changes(theirs),
        quiet=trial.gain < 1,
        windows=windows,
        shifted=shifted,
        distance=float(np.abs(one - other).max(initial=0.0)),
        flips=int(np.sum((one >= 0.5) != (other >= 0.5))),
    )


def figures(pairs: Sequence[Pair]) -> dict[str, float]:
    """Return how often the trials went another way, and how far the probabilities were apart."""
    distances = [pair.distance for pair in pairs if not pair.shifted]
    return {
        "another START or END": sum(pair.differs for pair in pairs),
        "of these, on quiet speech": sum(pair.differs and pair.quiet for pair in pairs),
        "another number of windows": sum(pair.windows > 0 for pair in pairs),
        "of these, shifted by a flush and not compared below": sum(p.shifted for p in pairs),
        "windows on the other side of .5": sum(pair.flips for pair in pairs),
        "a probability further than the tolerance": sum(d > TOLERANCE for d in distances),
        "largest difference, median": rounded(float(np.median(distances))),
        "largest difference": rounded(max(distances)),
    }


def rounded(difference: float) -> float:
    """Return a difference with two digits that count."""
    return float(f"{difference:.2g}")


if __name__ == "__main__":
    main()
