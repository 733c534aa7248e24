"""The recording that systems play to measure their cost, in frames as a room delivers them.

It is the sample call that ``nearvoice download-files`` fetches, or any 16-bit WAV file.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from livekit import rtc

from nearvoice.audio import PCM, resample

RATE = 24_000
FRAME_MS = 50
"""What a room delivers by default: frames of 50 ms at 24 kHz."""


def recording(path: Path, rate: int, seconds: float) -> PCM:
    """Return int16 mono audio of ``path`` at ``rate`` Hz, repeated or cut to ``seconds``."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        at_rate = resample(pcm[:: file.getnchannels()], file.getframerate(), rate)
    return np.resize(at_rate, int(seconds * rate))


def frames(pcm: PCM, rate: int = RATE, frame_ms: int = FRAME_MS) -> list[rtc.AudioFrame]:
    """Cut audio at ``rate`` Hz into frames; what does not fill one is dropped."""
    size = rate * frame_ms // 1000
    starts = range(0, len(pcm) - size + 1, size)
    return [rtc.AudioFrame(pcm[i : i + size].tobytes(), rate, 1, size) for i in starts]
