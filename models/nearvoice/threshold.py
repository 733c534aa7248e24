"""A threshold that follows how sure the network is of the speech of one stream.

Of a close voice Silero is either sure or silent: to twenty windows that it is sure of comes one in
doubt. Of a quiet or far voice it doubts two to twelve for as many, and most of the doubted ones are
speech. So the threshold stays where it is for the one and falls for the other. Noise by itself
moves nothing: doubt counts only just before speech that is sure. Evidence and limits:
docs/vad-threshold.md.
"""

from __future__ import annotations

import math

HIGHEST = 0.5
"""The threshold of a new stream and of clean close speech; what is at or above it is sure."""
LOWEST = 0.05
"""No threshold is below it; what is at or above it, and not sure, is doubted. The next step down,
.03, finds half a percent more of quiet speech and ends it later."""
DEACTIVATION = 0.7
"""Deactivation threshold per activation threshold: 0.35 at 0.5, as when the threshold is fixed.
The fixed distance of a fixed threshold would leave .01 of a low one, and END would not come."""

_ORDINARY = 0.08
"""Doubted windows per sure one that leave the threshold alone: they are .05 in clean read speech,
.1 to .6 in far speech. Beyond, the threshold falls with the square of the ratio."""
_PRIOR_SURE = 31.0
_PRIOR_DOUBTED = 0.05 * _PRIOR_SURE
"""A new stream is as one that heard a second of clean close speech: a few odd windows prove little.
What was learnt fades to this."""
_FADE = math.exp(-1 / 938)
"""Per window; a time constant of 30 s."""
_LEAK = 1 - 1 / 16
"""Per window that is not sure: half a second of doubt is kept until a sure window confirms it."""
_STEP = math.exp(0.025)
"""Of the odds of the running median, per window: it goes from silence to speech in some 10 s."""
_MOST_ODDS = math.exp(7.0)
"""Of the running median; the least are the inverse."""


class AdaptiveThreshold:
    """The activation threshold of one stream, learnt from its probabilities as they come.

    It sees the network's own P(speech), before any smoothing, of windows of 32 ms at either rate.
    A threshold depends on earlier windows only, is from :data:`LOWEST` to :data:`HIGHEST`, and is
    the same for the same probabilities.

    It falls with the square of the ratio of doubted to sure windows once that exceeds what clean
    close speech has, but not below the running median of the probabilities: speech that would fill
    more than half of the time is not believed.
    """

    __slots__ = ("_doubt", "_doubted", "_odds", "_sure", "threshold")

    threshold: float
    """In force for the next window, in [LOWEST, HIGHEST]."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the stream: what follows is as of a new one."""
        self.threshold = HIGHEST
        self._sure = _PRIOR_SURE
        self._doubted = _PRIOR_DOUBTED
        self._doubt = 0.0
        self._odds = 1.0

    def step(self, probability: float) -> float:
        """Return the threshold for the window of ``probability``, in [LOWEST, HIGHEST]; learn it.

        Raises:
            ValueError: The probability is not from 0 to 1; nothing was learnt.
        """
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"a probability is from 0 to 1, got {probability!r}")
        in_force = self.threshold
        self._count(probability)
        self._move_median(probability)
        ratio = _ORDINARY * self._sure / self._doubted
        wanted = HIGHEST * ratio * ratio
        median = self._odds / (1.0 + self._odds)
        # spelt out: twice as fast as min and max
        wanted = wanted if wanted > median else median
        wanted = wanted if wanted > LOWEST else LOWEST
        self.threshold = wanted if wanted < HIGHEST else HIGHEST
        return in_force

    def _count(self, probability: float) -> None:
        """Let the counts fade, and count the window as sure, doubted, or neither."""
        self._sure = _PRIOR_SURE + (self._sure - _PRIOR_SURE) * _FADE
        self._doubted = _PRIOR_DOUBTED + (self._doubted - _PRIOR_DOUBTED) * _FADE
        if probability >= HIGHEST:
            self._sure += 1.0
            self._doubted += self._doubt
            self._doubt = 0.0
        else:
            self._doubt *= _LEAK
            if probability >= LOWEST:
                self._doubt += 1.0

    def _move_median(self, probability: float) -> None:
        """Move the running median of the probabilities a step up or down."""
        if probability * (1.0 + self._odds) > self._odds:
            if self._odds < _MOST_ODDS:
                self._odds *= _STEP
        elif self._odds > 1.0 / _MOST_ODDS:
            self._odds /= _STEP
