"""Imported by LiveKit's forkserver alone, before it forks job processes: what all of them share.

A job that is forked finds the modules, the weights and the kernels in memory, and has no pages of
its own for them. No thread is started and no session made here: neither survives a fork.
"""

from nearvoice.silero import preload

from . import silero  # noqa: F401 - the import is the purpose

preload()
