"""Imported by LiveKit's forkserver alone, for agents that use the turn detector.

The network of one thread starts no other, so that jobs which are forked share its memory, and pay
for what they compute alone.
"""

import contextlib

from nearvoice.turn import TurnDetector

with contextlib.suppress(Exception):  # as in preload.py: left to the job that loads it
    TurnDetector.load()
