"""Make the golden values of tests/data: what livekit-plugins-silero answers.

    python -m scripts.golden [--seed 1] [--trials 200]

silero_probabilities.json holds the probability of every window of the sample call at both rates of
the network; vad_events.json.xz the events of 200 random trials.

The official plugin resamples with dither, so its answers differ from run to run wherever it
resamples. A trial is kept only when it says the same in five runs (everything but the
probabilities, which are the mean of the five), and when no probability comes so close to a
threshold that the last bits of float32 would decide. Ours is not consulted.
"""

import argparse
import json
import logging
import lzma
import random
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from livekit.plugins import silero
from livekit.plugins.silero import onnx_model

from nearvoice.audio import resample, to_float32
from tests import trials
from tests.offline import sample

DATA = Path(__file__).parents[1] / "tests/data"
PACKAGES = ("livekit-plugins-silero", "livekit-agents", "livekit", "onnxruntime", "numpy")
RUNS = 5
MARGIN = 1e-4
"""Distance from every threshold that a probability must keep."""


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rng = random.Random(arguments.seed)
    made_by = {name: version(name) for name in PACKAGES}
    document = {"made_by": made_by, "probabilities": probabilities()}
    (DATA / "silero_probabilities.json").write_text(json.dumps(document) + "\n")
    document = {"made_by": made_by, "seed": arguments.seed, **events(rng, arguments.trials)}
    packed = lzma.compress(json.dumps(document).encode(), preset=9)
    (DATA / "vad_events.json.xz").write_bytes(packed)
    print(f"{arguments.trials} trials, left out {document['left_out']}, {len(packed)} bytes")


def probabilities() -> dict[int, list[float]]:
    """Return P(speech) of every window of the sample call, by sample rate in Hz."""
    session = onnx_model.new_inference_session(force_cpu=True)
    call = sample.load()
    result = {}
    for rate in (16_000, 8_000):
        model = onnx_model.OnnxModel(onnx_session=session, sample_rate=rate)
        size = model.window_size_samples
        samples = to_float32(resample(call.samples, call.rate, rate))
        starts = range(0, len(samples) - size + 1, size)
        result[rate] = [round(model(samples[i : i + size]), 7) for i in starts]
    return result


def events(rng: random.Random, count: int) -> dict[str, Any]:
    """Return ``count`` trials with the answers of the official plugin, half of them at 16 kHz."""
    kept: list[dict[str, Any]] = []
    left_out = {"unstable": 0, "close": 0, "crashed": 0}
    while len(kept) < count:
        rate = 16_000 if len(kept) % 2 == 0 else rng.choice(trials.RATES)
        trial = trials.random_trial(rng, rate)
        golden = answer(trial)
        if isinstance(golden, str):
            left_out[golden] += 1
            continue
        kept.append({"trial": asdict(trial), **golden})
    return {"left_out": left_out, "trials": kept}


def answer(trial: trials.Trial) -> dict[str, Any] | str:
    """Return what the official plugin says in a trial, or why the trial cannot be used."""
    try:
        runs = [trials.run(silero, trial) for _ in range(RUNS)]
    except ValueError:  # the official plugin dies at some frame sizes: docs/vad.md
        return "crashed"
    if len({trials.digest(events) for events in runs}) > 1:
        return "unstable"
    heard = np.mean([trials.probabilities(run) for run in runs], axis=0)
    if any(np.abs(heard - t).min(initial=1.0) < MARGIN for t in thresholds(trial)):
        return "close"
    return {
        "digest": trials.digest(runs[0]),
        "changes": trials.changes(runs[0]),
        "probabilities": [round(float(p), 8) for p in heard],
    }


def thresholds(trial: trials.Trial) -> set[float]:
    """Return every threshold that is in force at some time in a trial."""
    options = [trial.load, *(action[2] for action in trial.actions)]
    named = {v for o in options for name, v in o.items() if name.endswith("_threshold")}
    return named | {0.5, 0.35}


if __name__ == "__main__":
    main()
