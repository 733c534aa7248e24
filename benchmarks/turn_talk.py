"""Conversations of as many tokens as wanted, of words that are one token each."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from nearvoice.turn_bundle import Bundle
from nearvoice.turn_text import Chat

_TURNS = ("user", "assistant", "user", "assistant", "user")
"""No more than six, as the official plugin takes the last six."""
_EARLIER = 8
"""Part of the tokens that are words of each turn but the last: one of so many."""


def vocabulary(bundle: Bundle) -> list[str]:
    """Return the words of a to z, sorted, that are one token of a byte-level tokenizer."""
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(bundle.tokenizer)).get_vocab()
    return sorted(token[1:] for token in tokens if re.fullmatch("Ġ[a-z]{3,}", token))


def talk(
    ids: Callable[[Chat], Sequence[int]], words: Sequence[str], chance: random.Random, tokens: int
) -> list[dict[str, str]]:
    """Return a conversation of five turns that makes so many tokens.

    Args:
        ids: Returns the tokens of a conversation.
        words: To choose from.
        chance: Chooses.
        tokens: At least 24.
    """
    said = [" ".join(chance.choices(words, k=tokens // _EARLIER)) for _ in _TURNS[:-1]]
    chat = [{"role": role, "content": text} for role, text in zip(_TURNS, [*said, ""], strict=True)]
    return go_on(ids, words, chance, chat, tokens)


def go_on(
    ids: Callable[[Chat], Sequence[int]],
    words: Sequence[str],
    chance: random.Random,
    chat: Chat,
    tokens: int,
) -> list[dict[str, str]]:
    """Return the conversation with words added to its last turn until it makes so many tokens.

    Raises:
        ValueError: No number of words makes as many.
    """
    *earlier, last = (dict(message) for message in chat)
    while not last["content"] or len(ids([*earlier, last])) < tokens:
        last["content"] = f"{last['content']} {chance.choice(words)}".strip()
    if (found := len(ids([*earlier, last]))) != tokens:
        raise ValueError(f"the conversation makes {found} tokens, not {tokens}")
    return [*earlier, last]
