"""Imported by LiveKit's forkserver alone, before it forks job processes: what all of them share.

A job that is forked finds modules, weights and kernels in memory, and has next to no pages of its
own for them. No thread is started and no session made here: neither survives a fork.
"""

import contextlib

from nearvoice.resample import polyphase

from . import silero

_RATES = (24_000, 48_000)
"""Of the audio that a room delivers, by default and at most, in Hz."""

for rate in _RATES:
    polyphase(rate, 16_000)
# What is missing is left to the job that loads it, whose errors have someone to read them.
with contextlib.suppress(OSError, ValueError):
    silero.VAD.load()
