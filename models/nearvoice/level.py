"""How loud the caller is: a gain for networks that take a quiet caller for background.

The level is learnt from what a voice activity detector calls speech, so that noise alone raises
nothing. For speech of a normal level the gain is exactly 1, and it does not follow syllables.
"""

from __future__ import annotations

import math

_TARGET = -22.0
"""Level of speech, in dB of full scale (mean square), that the networks know best."""
_FREE = 8.0
"""Decibels below the target down to which speech is left as it is; louder speech always is."""
_SETTLED = 4.0
"""Decibels off the target at which a gain that is not 1 is left as it is."""
_MOST = 40.0
"""Bound of the gain, in dB."""
_CLEAR = 16.0
"""Decibels above the quietest of the last hops from which speech is one voice in a quiet room."""
_SYLLABLE, _DOUBT = 0.1, 0.7
"""Seconds of speech that are heard before the first gain: of one voice in a quiet room, and of what
may be voices in the background, as before the caller speaks."""
_RECOVERY = 10.0
"""Decibels a second by which the quietest of the last hops is forgotten."""
_SPEECH = 0.5
"""Probability from which a hop is speech."""
_RISE = 0.05
"""Seconds in which the level follows louder speech."""
_FALL = 2.0
"""Decibels a second by which the level falls through quieter speech."""


class Level:
    """The level of speech in one stream, and the gain for it.

    Args:
        hop: Duration of a hop, in seconds.
    """

    def __init__(self, hop: float) -> None:
        self._rise = 1 - math.exp(-hop / _RISE)
        self._fall = _FALL * hop
        self._recovery = _RECOVERY * hop
        self._quietest = math.inf
        self._heard = 0.0
        """Seconds of speech."""
        self._hop = hop
        self._speech: float | None = None
        self._gain = 0.0

    @property
    def speech(self) -> float | None:
        """Level of the speech heard, in dB of full scale; None before there was any."""
        return self._speech

    def step(self, power: float, probability: float) -> float:
        """Take the next hop; return its gain, a factor.

        Args:
            power: Mean square of the hop, in dB of full scale.
            probability: That it is speech.
        """
        self._quietest = min(power, self._quietest + self._recovery)
        if probability >= _SPEECH:
            self._learn(power)
        return 10 ** (self._gain / 20)

    def _learn(self, power: float) -> None:
        speech = self._speech
        if speech is None:
            speech = power
        elif power > speech:
            speech += self._rise * (power - speech)
        else:
            speech = max(power, speech - self._fall)
        self._speech = speech
        self._heard += self._hop
        clear = speech - self._quietest >= _CLEAR
        if self._heard < (_SYLLABLE if clear else _DOUBT):
            return
        wanted = _TARGET - speech
        allowed = _SETTLED if self._gain else _FREE
        if abs(wanted - self._gain) > allowed:
            self._gain = min(wanted, _MOST) if wanted > _FREE else 0.0
