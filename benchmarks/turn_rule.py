"""The rule that needs no model: punctuation, the last word, and how much was said.

Its probabilities are ranks, not frequencies: what it knows is that one text is likelier to be whole
than another.
"""

from __future__ import annotations

from .turn_pairs import Pair
from .turn_rule_words import ENDINGS, WORDS

ENDED, OPEN, HANGS, SHORT = 0.9, 0.6, 0.1, 0.3
"""Ends with punctuation; with a word like any; with one that others follow; too little was said."""
_END, _GOES_ON = (".", "?", "!", "。", "？", "！", "।"), (",", ";", ":", "，", "、", "…", "-")  # noqa: RUF001
_SPACELESS = ("ja", "zh")
_FEW = {"ja": 3, "zh": 2, "ko": 1, "tr": 1}
"""Words, or signs of Japanese and Chinese, that are too little unless somebody answers; else 2."""
_LENGTH = 12
"""Words from which on more do not count."""

_KNOWN = {language: frozenset(text.split()) for language, text in WORDS.items()}
_KNOWN_ENDINGS = {language: tuple(text.split()) for language, text in ENDINGS.items()}


def probability(text: str, language: str, *, answers: bool) -> float:
    """Return a rank from 0 to 1: how likely it is that a turn has ended.

    Args:
        text: What was said, with punctuation or without.
        language: Such as ``en``.
        answers: Whether somebody else spoke before, to whom one word may be enough.
    """
    text = text.strip()
    if text.endswith(_END):
        return ENDED
    words = _units(text, language)
    if text.endswith(_GOES_ON) or not words or hangs(text, language):
        return HANGS + _more(words)
    if not answers and len(words) <= _FEW.get(language, 2):
        return SHORT + _more(words)
    return OPEN + _more(words)


def hangs(text: str, language: str) -> bool:
    """Return whether the text ends with what something follows, or with a filler."""
    last = text.lower().split()[-1:]
    if last and last[0] in _KNOWN.get(language, ()):
        return True
    return text.endswith(_KNOWN_ENDINGS.get(language, ("\0",)))


def of_pair(pair: Pair, *, complete: bool) -> float:
    """Return :func:`probability` of a complete turn, or of its cut."""
    text = pair.complete if complete else pair.cut
    return probability(text, pair.language, answers=bool(pair.before))


def _units(text: str, language: str) -> list[str]:
    return list(text) if language in _SPACELESS else text.split()


def _more(words: list[str]) -> float:
    return 0.1 * min(len(words), _LENGTH) / _LENGTH
