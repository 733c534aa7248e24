"""How often our VAD and livekit-plugins-silero agree, and how often the latter with itself.

    python -m scripts.equality [--seed 2026] [--trials 200]

Half of the trials have audio at the rate of the network, where both must say the same to the bit;
in the other half the audio is resampled, and the official plugin adds random noise to it. No trial
is left out but those that the official plugin does not survive. Writes vad-equality.json into
out/benchmarks, or the folder of --results.
"""

import argparse
import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
from livekit.agents.vad import VADEvent
from livekit.plugins import silero as official
from livekit.plugins.nearvoice import silero

from benchmarks import machine
from tests import trials

TOLERANCE = 0.03
"""Difference of probabilities that counts as one."""


def main() -> None:
    """Compare, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--trials", type=int, default=200, help="of each half")
    parser.add_argument("--results", type=Path, default=Path("out/benchmarks"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
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
    equal = {"onnxruntime": 0, "numpy": 0}
    furthest = dict.fromkeys(equal, 0.0)
    events = 0
    for _ in range(count):
        rate = rng.choice((16_000, 16_000, 8_000))
        trial = trials.random_trial(rng, rate)
        trial.load["sample_rate"] = rate
        theirs = trials.run(official, trial)
        events += len(theirs)
        for kernel in equal:
            ours = trials.run(silero, trials.with_options(trial, kernel=kernel))
            equal[kernel] += trials.digest(ours) == trials.digest(theirs)
            furthest[kernel] = max(furthest[kernel], distance(ours, theirs))
    return {
        "trials": count,
        "events": events,
        "equal in every field but the probability": equal,
        "largest difference of a probability": furthest,
    }


def resampled(rng: random.Random, count: int) -> dict[str, Any]:
    """Return how many trials with resampling disagree: official with itself, ours with it."""
    pairs: dict[str, list[tuple[bool, float, float]]] = {"official, again": [], "nearvoice": []}
    crashed = 0
    while len(pairs["nearvoice"]) < count:
        trial = trials.random_trial(rng, rng.choice(trials.RATES))
        if trial.rate == trial.load["sample_rate"]:
            continue
        try:
            first, second = (trials.run(official, trial) for _ in range(2))
        except ValueError:
            crashed += 1
            continue
        for name, events in (("official, again", second), ("nearvoice", trials.run(silero, trial))):
            differs = trials.changes(events) != trials.changes(first)
            pairs[name].append((differs, distance(events, first), trial.gain))
    return {
        "trials": count,
        "official plugin crashed": crashed,
        **{
            name: {
                "another START or END": sum(differs for differs, _, _ in found),
                "of these, on quiet speech": sum(differs and g < 1 for differs, _, g in found),
                "a probability further than the tolerance": sum(d > TOLERANCE for _, d, _ in found),
                "largest difference, median": round(float(np.median([d for _, d, _ in found])), 4),
                "largest difference": round(max(d for _, d, _ in found), 4),
            }
            for name, found in pairs.items()
        },
    }


def distance(ours: list[VADEvent], theirs: list[VADEvent]) -> float:
    """Return the largest difference between the probabilities of two runs of the same trial."""
    difference = np.subtract(trials.probabilities(ours), trials.probabilities(theirs))
    return float(np.abs(difference).max(initial=0.0))


if __name__ == "__main__":
    main()
