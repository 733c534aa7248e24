"""Sound through a noise suppressor: at its rate, in frames as a room delivers them, and back."""

from __future__ import annotations

import numpy as np

from nearvoice.audio import PCM, resample, to_float32

from .data import RATE
from .noise_scores import lag
from .noise_systems import Stream, System
from .playback import FRAME_MS, frames

TAIL = 0.5
"""Seconds of silence after a sound, so that what a system holds back comes out."""


def suppress(system: System, heard: PCM, frame_ms: int = FRAME_MS) -> PCM:
    """Return what a new stream of a system makes of a recording at 16 kHz, its delay not removed.

    Args:
        system: Gets the sound at its own rate.
        heard: int16[n] at 16 kHz.
        frame_ms: Length of the frames.

    Returns:
        int16[m] at 16 kHz, m at least n: half a second of what comes later is there too.
    """
    out = through(system.open(), resample(padded(heard), RATE, system.rate), system.rate, frame_ms)
    return resample(out, system.rate, RATE)


def padded(heard: PCM) -> PCM:
    """Return a recording at 16 kHz with silence after it, whole frames long."""
    size = RATE * FRAME_MS // 1000
    count = -(-(len(heard) + int(TAIL * RATE)) // size) * size
    return np.concatenate((heard, np.zeros(count - len(heard), np.int16)))


def through(stream: Stream, pcm: PCM, rate: int, frame_ms: int) -> PCM:
    """Return what a stream makes of the frames of a sound, in a row."""
    out = [stream(frame) for frame in frames(pcm, rate, frame_ms)]
    return np.concatenate([np.frombuffer(f.data, np.int16, f.samples_per_channel) for f in out])


def delay(heard: PCM, out: PCM) -> int:
    """Return by how many samples a sound comes out later, from the correlation of both."""
    return lag(to_float32(heard), to_float32(out), int(TAIL * RATE))


def aligned(out: PCM, late: int, count: int) -> PCM:
    """Return ``count`` samples of what came out, beginning ``late`` samples in."""
    return out[late : late + count]
