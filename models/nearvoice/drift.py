"""Keep Silero's recurrent state from drifting while nobody speaks.

The LSTM's cell state has no bound: in long noise, music or ringing it wanders to where the network
hears speech late or not at all. The hidden state hardly matters: with the cell state zeroed, and
nothing else, speech is heard as ever. So while a stream has been quiet for a moment, the cell state
fades: little by little it is forgotten, and what was heard long ago weighs nothing. There is no
reset, and so no moment at which the network starts blind, no second state to run, no window to hear
again.

The rule knows probabilities and windows only, so the same audio gives the same result however it is
cut. Its constants were chosen on AMI's train and development excerpts and on LibriSpeech. What they
bring on other audio, and what half and twice of each would, is in
``benchmarks/results/vad-drift.json``, made by ``benchmarks/drift.py`` and explained in
``docs/vad-drift.md``.
"""

from __future__ import annotations

import math

import numpy as np

from .silero import SileroState
from .silero_network import HIDDEN, join, split

QUIET = 0.35
"""P(speech) below which a window is quiet: where, by default, speech does not go on. Far below it,
a state that has drifted would be left alone just when speech begins to show."""
PATIENCE = 0.5
"""Seconds of unbroken quiet before the cell state fades: more than the pauses within a phrase."""
FADING = 2.5
"""Seconds of fading that leave 1/e of the cell state. Faster, and the network hears hold music as
if it had only just begun, when it takes more of it for speech; slower, and more of the speech after
it is missed."""
_STEP = 0.128
"""Seconds from one fading to the next: short beside ``FADING``, and a quarter of the cost of fading
with each window."""


class DriftGuard:
    """Watches one stream and fades its state; a new guard is a new stream.

    After ``p, state = model.step(window, state)``, say ``state = guard.step(p, state)``.

    Args:
        window_duration: Seconds of audio behind each probability, above 0.
        quiet: P(speech) below which a window is quiet.
        patience: Seconds of unbroken quiet before the state fades.
        fading: Seconds of fading that leave 1/e of the cell state, above 0.

    Raises:
        ValueError: ``window_duration`` or ``fading`` is not above 0.
    """

    def __init__(
        self,
        window_duration: float,
        *,
        quiet: float = QUIET,
        patience: float = PATIENCE,
        fading: float = FADING,
    ) -> None:
        if not window_duration > 0:
            raise ValueError(f"a window lasts longer than 0 s, got {window_duration!r}")
        if not fading > 0:
            raise ValueError(f"fading must take longer than 0 s, got {fading!r}")
        self._threshold = quiet
        self._patience = math.ceil(patience / window_duration - 1e-9)
        self._every = max(1, round(_STEP / window_duration))
        self._gains = np.ones((2, HIDDEN), np.float32)
        """What hidden and cell state are multiplied with."""
        self._gains[1] = math.exp(-self._every * window_duration / fading)
        self._quiet = 0
        """Unbroken quiet windows."""
        self.fades = 0
        """Quiet stretches so far in which the state faded."""

    def step(self, probability: float, state: SileroState) -> SileroState:
        """Return the state to hear the next window with: ``state`` itself, or a faded copy of it.

        Args:
            probability: The network's own P(speech) of the last window, not smoothed.
            state: The state after that window. It is not changed.
        """
        if not probability < self._threshold:
            self._quiet = 0
            return state
        self._quiet += 1
        late = self._quiet - self._patience
        if late < 0 or late % self._every:
            return state
        self.fades += not late
        rnn, context = split(state.memory)
        return SileroState(join(rnn * self._gains, context))

    def reset(self) -> None:
        """Forget the stream, as if the guard were new."""
        self._quiet = self.fades = 0
