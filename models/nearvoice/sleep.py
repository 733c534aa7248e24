"""When noise suppression may sleep: on digital silence, and on long clean stretches.

There the sound is passed on as it is, which costs next to nothing and cannot hurt clean speech.
"""

from __future__ import annotations

_SILENT = -86.0
"""Level, in dB of full scale, up to which a hop is digital silence: dither of one bit is -90."""
_SILENCE = 0.2
"""Seconds of digital silence after which to sleep."""
_QUIET = 40.0
"""Decibels below the speech up to which a pause is clean."""
_LOUD = 15.0
"""Decibels below the speech from which a hop is the caller, if it is speech."""
_CLEAN = 2.0
"""Seconds of a clean stretch after which to sleep."""
_PAUSE = 2.0
"""Seconds in which clean speech comes down to a clean pause."""
_SOFT = 0.3
"""Seconds that clean speech may be neither loud nor a pause."""
_STRAY = 0.15
"""Seconds of sound that is no speech that clean speech may have, forgotten ten times as slowly."""
_SPEECH = 0.4
"""Probability below which a sound is no speech."""
_REMOVED = 1.0
"""Decibels of the sound's power that the network may take from a clean stretch."""


class Sleep:
    """Whether one stream sleeps.

    Args:
        hop: Duration of a hop, in seconds.
    """

    def __init__(self, hop: float) -> None:
        self._hop = hop
        self._silence = 0.0
        self._clean = 0.0
        self._soft = 0.0
        self._stray = 0.0
        self._since_pause = 0.0

    @property
    def silent(self) -> bool:
        """Whether the stream sleeps for silence, from which it wakes at once."""
        return self._silence >= _SILENCE

    def step(self, power: float, probability: float, speech: float | None, kept: float) -> bool:
        """Take the next hop; return whether it may be slept through.

        Args:
            power: Its mean square, in dB of full scale.
            probability: That it is speech.
            speech: Level of the caller's speech in the same unit; None when there was none.
            kept: Decibels of the sound's power that the network has left lately, 0 or below.
        """
        self._silence = self._silence + self._hop if power <= _SILENT else 0.0
        self._clean = self._clean + self._hop if self._is_clean(power, probability, speech) else 0.0
        if kept < -_REMOVED:
            self._clean = 0.0
        return self.silent or self._clean >= _CLEAN

    def _is_clean(self, power: float, probability: float, speech: float | None) -> bool:
        if speech is None:
            return False
        self._stray = max(0.0, self._stray - self._hop / 10)
        if power <= speech - _QUIET:
            self._soft = self._since_pause = 0.0
            return True
        self._since_pause += self._hop
        if probability < _SPEECH:
            self._stray = min(self._stray + self._hop, 2 * _STRAY)
        if probability >= _SPEECH and power >= speech - _LOUD:
            self._soft = 0.0
        else:
            self._soft += self._hop
        return self._soft <= _SOFT and self._stray <= _STRAY and self._since_pause <= _PAUSE
