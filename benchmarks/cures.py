"""Cures of drift: what is done to the state of Silero after each window, ours and others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np

from nearvoice import SileroVAD
from nearvoice.drift import FADING, PATIENCE, QUIET, DriftGuard
from nearvoice.silero import SileroState
from nearvoice.silero_network import join, split

from .hearing import WINDOW


class Rule(Protocol):
    """What is done to the state after each window. A shallow copy of it is a stream of its own."""

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state to go on with."""


class Off:
    """Nothing is done."""

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state as it is."""
        return state


class Reset:
    """Every so often in quiet, a state made anew.

    Args:
        make: Old state -> new one.
        windows: Quiet windows in a row that allow it.
        pause: Seconds from one to the next.
    """

    def __init__(
        self, make: Callable[[SileroState], SileroState], windows: int, pause: float = 2.0
    ) -> None:
        self._make = make
        self._needed = windows
        self._pause = round(pause / WINDOW)
        self._quiet = self._since = 0

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state as it is, or made anew."""
        self._quiet = self._quiet + 1 if probability < 0.1 else 0
        self._since += 1
        if self._quiet < self._needed or self._since < self._pause:
            return state
        self._since = 0
        return self._make(state)


def _keep(hidden: float, cell: float, state: SileroState) -> SileroState:
    rnn, context = split(state.memory)
    return SileroState(join(rnn * np.array([[hidden], [cell]], np.float32), context))


Cure = Callable[[SileroVAD], Rule]
OFF, OURS = "off", "fading"
RULES: dict[str, Cure] = {
    OFF: lambda model: Off(),
    OURS: lambda model: DriftGuard(WINDOW),
    # the rule that research found in pipecat: 5 windows below .1, at most every 2 s
    "full reset": lambda model: Reset(lambda state: model.initial_state(), 5),
}
CHOICES: dict[str, Cure] = {
    **RULES,
    "hidden state zeroed": lambda model: Reset(functools.partial(_keep, 0, 1), 62),
    "cell state zeroed": lambda model: Reset(functools.partial(_keep, 1, 0), 62),
    f"FADING {FADING / 2}": lambda model: DriftGuard(WINDOW, fading=FADING / 2),
    f"FADING {FADING * 2}": lambda model: DriftGuard(WINDOW, fading=FADING * 2),
    f"PATIENCE {PATIENCE / 2}": lambda model: DriftGuard(WINDOW, patience=PATIENCE / 2),
    f"PATIENCE {PATIENCE * 2}": lambda model: DriftGuard(WINDOW, patience=PATIENCE * 2),
    f"QUIET {QUIET / 2}": lambda model: DriftGuard(WINDOW, quiet=QUIET / 2),
    f"QUIET {QUIET * 2}": lambda model: DriftGuard(WINDOW, quiet=QUIET * 2),
}
"""Other cures and other constants, on a part of the table."""
