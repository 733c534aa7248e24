"""Imported by LiveKit's forkserver alone, before it forks job processes: what all of them share.

A job that is forked finds modules, weights and kernels in memory, and has next to no pages of its
own for them. No thread is started and no session made here: neither survives a fork.
"""

import contextlib
from collections.abc import Callable
from functools import partial

from nearvoice import networks
from nearvoice.polyphase import polyphase

from . import noise_cancellation, silero

_RATES = ((24_000, 16_000), (44_100, 16_000), (48_000, 16_000), (44_100, 48_000), (48_000, 44_100))
"""Of the audio that rooms and files deliver, and what it is resampled to; in Hz."""


def _filters() -> None:
    for source, target in _RATES:
        polyphase(source, target)


def _noise_cancellation(make: Callable[[], object]) -> None:
    if networks.choose_kernel()[0] != "onnxruntime":  # has sessions
        make()


_LOADS: list[Callable[[], object]] = [
    _filters,
    silero.VAD.load,
    partial(_noise_cancellation, noise_cancellation.NC),
    partial(_noise_cancellation, noise_cancellation.BVC),
]
for _load in _LOADS:
    # Whatever goes wrong is left to the job that loads it, whose errors have someone to read them:
    # an exception here would end the forkserver, and no job could start.
    with contextlib.suppress(Exception):
        _load()
