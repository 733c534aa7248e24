"""Text in, the language that its script stands for out."""

from __future__ import annotations

import unicodedata

_LANGUAGES = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "DEVANAGARI": "hi",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "HEBREW": "he",
    "GREEK": "el",
    "THAI": "th",
    "TAMIL": "ta",
    "TELUGU": "te",
    "BENGALI": "bn",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
}
"""First word of a letter's Unicode name -> the language that most write with it, ISO 639-1."""
_READ = 200
"""Characters, the newest, that are looked at."""


def language_of(text: str) -> str | None:
    """Return the likely language of a text, None for scripts of many, such as Latin.

    Japanese is known by its kana, of which a text needs few among Chinese characters.
    """
    counts: dict[str | None, int] = {}
    for char in unicodedata.normalize("NFKC", text[-_READ:]):  # half-width kana have other names
        if char.isalpha():
            script = unicodedata.name(char, "").split(" ")[0].split("-")[0]
            language = _LANGUAGES.get(script)
            counts[language] = counts.get(language, 0) + 1
    if not counts:
        return None
    if counts.get("ja") and counts.get("zh"):
        counts["ja"] += counts.pop("zh")
    return max(counts, key=lambda language: counts[language])
