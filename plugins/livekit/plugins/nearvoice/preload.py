"""Imported by LiveKit's forkserver alone, before it forks job processes: what all of them share.

A job that is forked finds modules, weights and kernels in memory, and has next to no pages of its
own for them. No thread is started and no session made here: neither survives a fork.
"""

import contextlib

from nearvoice.polyphase import polyphase

from . import silero

_RATES = (24_000, 44_100, 48_000)
"""Of the audio that rooms and files deliver, in Hz."""

# Whatever goes wrong is left to the job that loads it, whose errors have someone to read them: an
# exception here would end the forkserver, and no job could start.
with contextlib.suppress(Exception):
    for rate in _RATES:
        polyphase(rate, 16_000)
    silero.VAD.load()
