"""What a recogniser and a hesitant speaker make of a turn: fillers, repeats, words lost.

None of it comes after the last word, so that a turn ends where it did.
"""

from __future__ import annotations

import random
import re

from scripts.turn_corpus import Dialogue

FILLERS = {
    "de": "äh|ähm|hm|also|na ja|wie sagt man|Moment|sozusagen",
    "en": "um|uh|er|hmm|well|you know|like|let me see|I mean|hold on",
    "es": "eh|em|este|pues|bueno|a ver|o sea|mmm",
    "fr": "euh|hum|ben|alors|voyons|enfin|attendez|bah",
    "hi": "उम|अम|मतलब|वो|अच्छा|देखिए|हम्म",
    "id": "eh|em|anu|gimana ya|apa namanya|hmm|jadi",
    "it": "ehm|eh|allora|cioè|diciamo|vediamo|mah|boh",
    "ja": "えっと|あの|ええと|うーん|その|まあ|なんか",
    "ko": "음|어|그|저기|뭐랄까|그러니까|아",
    "nl": "eh|uh|uhm|nou|even kijken|zeg maar|hoe heet het|tja",
    "pt": "é|hum|ahn|então|tipo|deixa ver|quer dizer|bem",
    "ru": "э|эм|ну|это|как его|значит|в общем|м",
    "tr": "şey|ee|hım|yani|ıı|hani|bakayım|işte",
    "zh": "嗯|呃|那个|这个|就是|怎么说呢|等一下",
}
"""Of each language, between ``|``."""
_SPACELESS = ("ja", "zh")
_OFTEN = 0.08
"""Chance of a filler, of a repeat, before a word; half that of losing it."""
_AFTER = re.compile(r"\W+$")
"""What comes after the last word."""
_WORD = re.compile(r"\S+(?:\s+[^\w\s]+(?!\S))*")
"""A word, with what French sets apart from it."""


def noisy(dialogue: Dialogue, chance: random.Random) -> Dialogue:
    """Return the dialogue with the user's turns as they may be heard."""
    turns = [
        (role, _heard(text, dialogue.lang, chance) if role == "user" else text)
        for role, text in dialogue.turns
    ]
    return dialogue._replace(turns=turns)


def _heard(text: str, language: str, chance: random.Random) -> str:
    if language in _SPACELESS:
        at = chance.randrange(len(_AFTER.sub("", text)) or 1)
        return text[:at] + chance.choice(FILLERS[language].split("|")) + text[at:]
    words = _WORD.findall(text)
    heard: list[str] = []
    for at, word in enumerate(words):
        drawn = chance.random()
        last = at == len(words) - 1
        if drawn < _OFTEN:
            heard.append(chance.choice(FILLERS[language].split("|")))
        elif drawn < 2 * _OFTEN:
            heard.append(word.rstrip(".,;:?!"))
        elif drawn < 2.5 * _OFTEN and not last and word[-1:].isalnum():
            continue
        heard.append(word.replace("'", "").replace("\u2019", "") if chance.random() < 0.5 else word)
    return " ".join(heard)
