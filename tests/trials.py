"""Random uses of a VAD, and what a VAD answers to them: the ground on which two VADs are compared.

A trial is plain data, so that it can be stored beside the answers of the official plugin
(``scripts/golden.py``) and replayed on ours (``tests/test_vad_plugin.py``).
"""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import soxr
from livekit import rtc
from livekit.agents.vad import VAD, VADEvent, VADEventType

from nearvoice.audio import PCM, resample
from tests.offline import sample, virtual_loop

RATES = (8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Input rates in Hz that need resampling to 16 kHz."""
CHANGES = (VADEventType.START_OF_SPEECH, VADEventType.END_OF_SPEECH)


@dataclass
class Trial:
    """One stream: which audio, in which frames, with which options, and what happens when."""

    rate: int
    """Of the input, in Hz."""
    start: float
    seconds: float
    """Which part of the sample call."""
    gain: float
    frames: list[int]
    """Samples of each frame; repeated until the audio ends."""
    load: dict[str, Any]
    """Arguments of VAD.load."""
    actions: list[tuple[float, str, dict[str, float]]] = field(default_factory=list)
    """(seconds of audio pushed, "flush" | "vad" | "stream", options to update)."""


def random_trial(rng: random.Random, rate: int) -> Trial:
    """Return a trial in which anything may happen that the official plugin survives."""
    seconds = rng.uniform(3.0, 9.0)
    load = random_options(rng)
    load["sample_rate"] = rng.choice((16_000, 16_000, 8_000))
    actions = [
        (rng.uniform(0.2, seconds), kind, {} if kind == "flush" else random_options(rng))
        for kind in rng.choices(("flush", "vad", "stream"), k=rng.choice((0, 0, 1, 2, 4)))
    ]
    return Trial(
        rate=rate,
        start=rng.uniform(0.0, 30.0 - seconds),
        seconds=seconds,
        gain=rng.choice((1.0, 1.0, 0.2, 4.0)),
        frames=rng.choice(
            (
                [rate // 100],
                [rate // 50],
                [rate // 20],
                [525, 526, 1051, 0],
                [rng.randrange(300, 5000) for _ in range(20)],
                [rate],
            )
        ),
        load=load,
        actions=sorted(actions, key=lambda action: action[0]),
    )


def random_options(rng: random.Random) -> dict[str, float]:
    """Return some options; an activation threshold never comes without the other one.

    Alone, it moves the deactivation threshold of ours and not of the official plugin.
    """
    ranges = {
        "min_speech_duration": (0.0, 0.4),
        "min_silence_duration": (0.0, 1.0),
        "prefix_padding_duration": (0.0, 1.0),
        "max_buffered_speech": (0.2, 4.0),
    }
    chosen = rng.sample(sorted(ranges), rng.randrange(len(ranges) + 1))
    options = {name: round(rng.uniform(*ranges[name]), 3) for name in chosen}
    if rng.random() < 0.5:
        options["activation_threshold"] = round(rng.uniform(0.2, 0.9), 3)
        options["deactivation_threshold"] = round(rng.uniform(0.05, 0.5), 3)
    return options


def with_options(trial: Trial, **load: Any) -> Trial:
    """Return the trial with further arguments of VAD.load."""
    return replace(trial, load={**trial.load, **load})


def audio(trial: Trial) -> PCM:
    """Return the int16 samples of a trial at its rate."""
    call = sample.load()
    part = call.cut(trial.start, trial.start + trial.seconds)
    loud = np.clip(part * trial.gain, -32768, 32767).astype(np.int16)
    return resample(loud, call.rate, trial.rate)


def as_upstream(trial: Trial, **load: Any) -> Trial:
    """Return the trial without what the official plugin has not: recovery from drift."""
    return with_options(trial, drift_reset=False, **load)


class CubicResampler:
    """The official plugin's recipe for another rate, without the noise that it adds to int16."""

    def __init__(self, source: int, target: int, _kernel: str = "") -> None:
        self.source, self.target = source, target
        self._stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="QQ")

    def push(self, samples: np.ndarray) -> np.ndarray:
        return samples if self.source == self.target else self._stream.resample_chunk(samples)


def run(module: Any, trial: Trial) -> list[VADEvent]:
    """Return the events of ``module.VAD`` (official or ours) in a trial."""
    return virtual_loop.run(lambda: _run(module.VAD.load(**trial.load), trial))


async def _run(vad: VAD, trial: Trial) -> list[VADEvent]:
    stream: Any = vad.stream()
    pcm = audio(trial)
    actions = list(trial.actions)
    sent = turn = 0
    while sent < len(pcm):
        while actions and actions[0][0] * trial.rate <= sent:
            _, kind, options = actions.pop(0)
            if kind == "flush":
                stream.flush()
            else:
                # an update takes effect at once: let the stream hear what came before it
                await heard(stream)
                (vad if kind == "vad" else stream).update_options(**options)
        count = trial.frames[turn % len(trial.frames)]
        turn += 1
        part = pcm[sent : sent + count]
        sent += count
        stream.push_frame(rtc.AudioFrame(part.tobytes(), trial.rate, 1, len(part)))
    stream.end_input()
    return [event async for event in stream]


async def heard(stream: Any) -> None:
    """Wait until the stream has taken in all that was pushed: up to 5 s of audio a frame.

    Nothing tells when; but executors work inline, and ours yields after every few windows.
    """
    quiet = 0
    while quiet <= 20:
        await asyncio.sleep(0)
        quiet = quiet + 1 if stream._input_ch.empty() else 0


def facts(event: VADEvent) -> tuple[Any, ...]:
    """Return everything an event says but the probability and how long inference took."""
    sound = hashlib.sha256()
    for frame in event.frames:
        sound.update(np.frombuffer(frame.data, np.int16).tobytes())
    shapes = [(f.sample_rate, f.num_channels, f.samples_per_channel) for f in event.frames]
    return (
        event.type.value,
        event.samples_index,
        event.timestamp,
        event.speech_duration,
        event.silence_duration,
        event.speaking,
        event.raw_accumulated_silence,
        event.raw_accumulated_speech,
        shapes,
        sound.hexdigest(),
    )


def changes(events: Sequence[VADEvent]) -> list[list[Any]]:
    """Return type, index, timestamp, durations and speaking of every START and END."""
    return [list(facts(event)[:6]) for event in events if event.type in CHANGES]


def probabilities(events: Sequence[VADEvent]) -> list[float]:
    """Return the probability of every window."""
    return [event.probability for event in events if event.type not in CHANGES]


def digest(events: Sequence[VADEvent]) -> str:
    """Return one hash over the facts of all events, floats to the last bit."""
    return hashlib.sha256(repr([facts(event) for event in events]).encode()).hexdigest()
