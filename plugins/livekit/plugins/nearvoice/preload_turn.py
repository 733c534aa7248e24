"""Imported by LiveKit's forkserver alone, for agents that use the turn detector: its network.

Unlike other sessions of onnxruntime this one has no threads that a fork would lose, so the jobs
that are forked share its memory, and pay for what they compute alone. It is the model that comes
with nearvoice; another is loaded by each job, as is any where processes are not forked.
"""

import contextlib

from nearvoice.turn import TurnDetector

with contextlib.suppress(Exception):  # as in preload.py: left to the job that loads it
    DETECTOR = TurnDetector.load()
