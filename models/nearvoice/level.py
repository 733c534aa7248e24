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
_FAR = 14.0
"""Decibels below the target from which speech is quiet even for a first syllable."""
_SETTLED = 6.0
"""Decibels off the target at which a gain that is not 1 is left as it is."""
_MOST = 40.0
"""Bound of the gain, in dB."""
_STANDS_OUT = 6.0
"""Decibels above the room from which speech is the caller's."""
_KNOWN = 0.4
"""Seconds without speech after which the room is known."""
_SYLLABLE, _DOUBT = 0.1, 1.0
"""Seconds of speech that are heard before the first gain: of what stands out from a known room, and
of what may be voices in the background, as before the caller speaks."""
_ROOM = 0.3
"""Seconds over which the level of the room is averaged."""
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
        self._new = 1 - math.exp(-hop / _ROOM)
        self._room: float | None = None
        """Level of what is no speech."""
        self._heard = self._unheard = 0.0
        """Seconds of speech, and of the room without."""
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
        if probability >= _SPEECH:
            self._learn(power)
        else:
            self._learn_room(power)
        return 10 ** (self._gain / 20)

    def _learn_room(self, power: float) -> None:
        self._unheard += self._hop
        self._room = power if self._room is None else self._room + self._new * (power - self._room)

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
        wanted = _TARGET - speech
        certain = wanted > _FAR and self._stands_out(speech)
        if self._heard < (_SYLLABLE if certain else _DOUBT):
            return
        allowed = _SETTLED if self._gain else _FREE
        if abs(wanted - self._gain) > allowed:
            self._gain = min(wanted, _MOST) if wanted > _FREE else 0.0

    def _stands_out(self, speech: float) -> bool:
        if self._room is None or self._unheard < _KNOWN:
            return False
        return speech - self._room >= _STANDS_OUT
