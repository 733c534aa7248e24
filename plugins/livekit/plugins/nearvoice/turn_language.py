"""Which language's threshold counts, where recognisers say one, none, or many."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Mapping

from livekit.agents import LanguageCode

from nearvoice.script import language_of
from nearvoice.turn_bundle import Bundle, of_language

logger = logging.getLogger(f"{__package__}.turn_detector")

Threshold = float | Mapping[str, float] | None
"""One for all languages, by language, or None for those of the model."""

_UNKNOWN = ("", "auto", "multi", "und")
"""What a recogniser calls a language that it does not know."""


class Languages:
    """The language of a conversation, as far as it is known, and its threshold.

    Args:
        bundle: Has a threshold for each of its languages, and one for all others.
        thresholds: What comes before them.
        default: Spoken where the recogniser says none.
        always: Spoken whatever it says; None for whatever it says.

    Raises:
        ValueError: A threshold is not from 0 to 1, or its language is none.
    """

    def __init__(
        self, bundle: Bundle, thresholds: Threshold, default: str | None, always: str | None
    ) -> None:
        self._bundle = bundle
        self._always = always
        self.thresholds = checked(thresholds)
        self.default = code(default)
        self.said = ""
        """What the user said last, for its script."""
        self._last: str | None = None
        """The last that the recogniser said."""
        self._unlisted: set[str] = set()

    def resolve(self, language: str | None) -> str | None:
        """Return the language that counts where the recogniser says this; None if none is known."""
        if self._always is not None:
            return self._always
        if (known := code(language)) is not None:
            self._last = known
            return known
        return self.default or self._last or language_of(self.said)

    def threshold(self, language: str | None) -> float:
        """Return the threshold of a language that :meth:`resolve` gave."""
        given = self.thresholds
        if isinstance(given, float):
            return given
        if given is not None and (own := of_language(given, language)) is not None:
            return own
        if language is not None and of_language(self._bundle.thresholds, language) is None:
            self._say_unlisted(language)
        return self._bundle.threshold_for(language)

    def _say_unlisted(self, language: str) -> None:
        if language in self._unlisted:
            return
        self._unlisted.add(language)
        logger.info(
            "%s has no threshold for the language %s: it takes %.4g, as for all others; "
            "unlikely_threshold={%r: ...} sets one, and `nearvoice calibrate` finds it",
            self._bundle.name,
            language,
            self._bundle.threshold,
            language,
        )


def code(language: str | None) -> str | None:
    """Return a language as ISO 639-1, perhaps with its region; None where it is not known."""
    if language is None or language.lower() in _UNKNOWN:
        return None
    return LanguageCode(language).iso


def checked(given: Threshold) -> Threshold:
    """Return thresholds by ISO 639-1.

    Raises:
        ValueError: One is not from 0 to 1, or its language is none.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return _share(given)
    found = {}
    for language, value in given.items():
        if (known := code(language)) is None:
            raise ValueError(f"unlikely_threshold: {language!r} is not a language")
        found[known] = _share(value)
    return found


def _share(value: object) -> float:
    if not isinstance(value, numbers.Real) or not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"unlikely_threshold must be from 0 to 1, got {value!r}")
    return float(value)
