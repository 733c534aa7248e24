"""A conversation in, the token ids out that a network has room for: its newest turns.

What goes, goes whole and many tokens at a time, so that the beginning of the prompt, and with it
what the network has read, stays what it is for a while.
"""

from __future__ import annotations

from collections.abc import Sequence

from .turn_bundle import Bundle
from .turn_prompt import Reader
from .turn_text import Chat, Turn, turns

_PART = 0.25
"""Of the most tokens: dropped at a time."""
_BLOCK = 32
"""Messages that a long conversation is left behind by, at a time."""
_LETTERS = 16
"""Characters of a token, at most but for oddities: no turn of more than these is read whole."""


class Window:
    """What of a conversation is read.

    Args:
        bundle: Says how much that may be, and what goes first.
        reader: Of its prompts.
    """

    def __init__(self, bundle: Bundle, reader: Reader) -> None:
        self._bundle = bundle
        self._reader = reader
        self._between = _between(reader)

    def turns(self, messages: Chat) -> list[Turn]:
        """Return the turns of a conversation, of a long one the newest.

        Raises:
            ValueError: Nothing was said.
        """
        most = self._bundle.max_messages
        if most is None:
            # always from a multiple on, or each new message would move everything
            said = sum(m["role"] in ("user", "assistant") and m["content"] != "" for m in messages)
            most = said % _BLOCK + _BLOCK
        found = turns(messages, self._bundle.normalisation, most)
        if not found:
            raise ValueError("nothing was said: there is no message of the user or the assistant")
        return found

    def ids(self, messages: Chat) -> list[int]:
        """Return the token ids of a conversation, not more than the network reads.

        Raises:
            ValueError: Nothing was said.
        """
        return self.fit(self.turns(messages))

    def fit(self, said: Sequence[Turn]) -> list[int]:
        """Return the token ids of :meth:`turns`, not more than the network reads."""
        most = self._bundle.max_tokens
        if self._bundle.truncation == "tokens":
            return self._reader.ids(said)[-most:]
        said = [turn._replace(content=_newest(turn.content, most * _LETTERS)) for turn in said]
        counts = [self._reader.count(turn) + self._between for turn in said]
        ids = self._reader.ids(said[_dropped(counts, most + self._between) :])
        over = len(ids) - most
        if over <= 0:
            return ids
        step = max(1, int(most * _PART))  # a turn that is too long by itself
        return ids[-(-over // step) * step :]


def _newest(text: str, characters: int) -> str:
    """Return the end of a text: all of it, or one to two times so many characters."""
    return text[max(0, len(text) // characters - 1) * characters :]


def _between(reader: Reader) -> int:
    """Return how many ids a turn after another makes beside its own: under 0 with a preamble."""
    user, assistant = Turn("user", "?"), Turn("assistant", "?")
    both, three = reader.ids([user, assistant]), reader.ids([user, assistant, user])
    return len(three) - len(both) - reader.count(user)


def _dropped(counts: Sequence[int], most: int) -> int:
    """Return how many of the oldest turns are dropped, as if the conversation were heard anew.

    When it becomes longer than ``most`` tokens a part of that is dropped, so that its beginning
    then stays what it is for a while, also while its newest turn grows, which is never dropped.
    """
    first = total = 0
    part = max(0.0, most * _PART)
    for last, count in enumerate(counts):
        total += count
        while total > most and first < last:
            dropped = 0
            while dropped <= part and first < last:
                dropped += counts[first]
                first += 1
            total -= dropped
    return first
