"""What a turn detector reads: messages made plain, merged, and cut to the newest.

The rules are those of livekit-plugins-turn-detector 1.8.9, ``base.py``, which LiveKit's weights
were trained with: ours were too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

Normalisation = Literal["none", "plain"]
"""``none`` leaves text as it is; ``plain`` is what :func:`plain` does."""
NORMALISATIONS: tuple[str, ...] = get_args(Normalisation)

Chat = Sequence[Mapping[str, str]]
"""Messages, oldest first: each has a ``role`` and its ``content``."""


class Turn(NamedTuple):
    """What one side said until the other spoke."""

    role: str
    """``user`` or ``assistant``."""
    content: str
    """Normalised."""


class _Removed(dict[int, "int | None"]):
    """For ``str.translate``: None for punctuation, which removes it, but for ' and -."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        kept = char in "'-" or not unicodedata.category(char).startswith("P")
        self[code] = code if kept else None
        return self[code]


_PUNCTUATION = _Removed()
_SPACE = re.compile(r"\s+")


def plain(text: str) -> str:
    """Return ``text`` as a recogniser without punctuation writes it.

    In lower case, in Unicode's form NFKC, without punctuation but for ' and -, and with single
    spaces.
    """
    text = unicodedata.normalize("NFKC", text.lower()).translate(_PUNCTUATION)
    return _SPACE.sub(" ", text).strip()


def turns(messages: Chat, normalisation: Normalisation, most: int | None = None) -> list[Turn]:
    """Return the turns that the newest messages of the user and the assistant make.

    Other roles and empty messages are left out. What one side says in several messages is one turn,
    joined by spaces.

    Args:
        messages: The conversation.
        normalisation: Of each message.
        most: How many messages, not turns; None for all.
    """
    said = [m for m in messages if m["role"] in ("user", "assistant") and m["content"]]
    return _merged(said if most is None else said[-most:], normalisation)


def _merged(messages: Iterable[Mapping[str, str]], normalisation: Normalisation) -> list[Turn]:
    merged: list[Turn] = []
    for message in messages:
        content = message["content"]
        if normalisation == "plain":
            content = plain(content)
        if merged and merged[-1].role == message["role"]:
            merged[-1] = Turn(message["role"], f"{merged[-1].content} {content}")
        else:
            merged.append(Turn(message["role"], content))
    return merged
