"""Turns in, the text and the token ids out that a turn detector's network reads.

A chat template writes the turns as one text, which ends where the last turn does. The template's
own tokens are the only special ones: what looks like one in the words of a caller stays words.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .turn_text import Turn

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HIDDEN = 0x10F000
"""From here on, characters for private use that hide special tokens in the words of a caller."""
_PIECES = 512
"""Pieces of text whose ids are remembered: those of some conversations."""


class TemplateError(ValueError):
    """A chat template is not Jinja, or fails on a plain conversation."""


class Template:
    """A chat template: turns in, text out, up to where the last turn ends.

    Jinja runs in its sandbox, with the settings of transformers (5.24,
    ``utils/chat_template_utils.py``) and, of its functions, ``raise_exception`` and ``tojson``. The
    plainest templates, a few words around each turn, need no Jinja, and do not import it.

    Args:
        source: Of the template.
        end: The token that it writes when a turn has ended.
        variables: What it may use beside ``messages``, such as ``bos_token``.

    Raises:
        TemplateError: It cannot be read, or writes no ``end``.
    """

    def __init__(self, source: str, end: str, variables: Mapping[str, str] | None = None) -> None:
        self.end = end
        self._write = _plain_writer(source) or _jinja_writer(source, dict(variables or {}))
        if end not in self._write([Turn("user", "?")]):
            raise TemplateError(f"the chat template does not write {end} when a turn has ended")

    def render(self, turns: Sequence[Turn]) -> str:
        """Return the whole text, with the end of the last turn.

        Raises:
            TemplateError: The template refuses these turns.
        """
        return self._write(turns)

    def prompt(self, turns: Sequence[Turn]) -> str:
        """Return the text up to the end of the last turn.

        Raises:
            TemplateError: The template refuses these turns.
        """
        text = self.render(turns)
        return text[: text.rfind(self.end)]


_Writer = Callable[[Sequence[Turn]], str]

_PLAIN = re.compile(
    r"(|[^{}\s][^{}\r\n]*)\{% for message in messages %\}([^{}\r\n]*)"
    r"\{\{ message\.role \}\}([^{}\r\n]*)\{\{ message\.content \}\}([^{}\r\n]*)"
    r"\{% endfor %\}([^{}\r\n]*)"
)
"""Without what Jinja changes: other line ends, and spaces that begin a line before a block."""


def _plain_writer(source: str) -> _Writer | None:
    """Return what writes as the template does, None if it takes Jinja."""
    match = _PLAIN.fullmatch(source)
    if match is None:
        return None
    start, before, between, after, end = match.groups()

    def write(turns: Sequence[Turn]) -> str:
        said = (f"{before}{turn.role}{between}{turn.content}{after}" for turn in turns)
        return f"{start}{''.join(said)}{end}"

    return write


def _jinja_writer(source: str, variables: dict[str, str]) -> _Writer:
    from jinja2 import TemplateError as JinjaError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> NoReturn:
        raise JinjaError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(source)
    except (JinjaError, RecursionError, ValueError, SyntaxError) as error:
        raise TemplateError(f"the chat template is not Jinja: {error}") from error

    def write(turns: Sequence[Turn]) -> str:
        messages = [turn._asdict() for turn in turns]
        try:
            return template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=False,
                **variables,
            )
        except Exception as error:  # a template may do anything that fails
            raise TemplateError(f"the chat template fails on these turns: {error}") from error

    return write


class Reader:
    """Turns in, token ids out.

    Args:
        tokenizer: Its special tokens are read only where the template writes them.
        template: Writes the text.

    Raises:
        ValueError: A special token of the tokenizer takes the spaces around it, which is not known
            here.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # that is: as text, wherever they are still in it
        special = _special(tokenizer)
        self._tokenizer = tokenizer
        self._template = template
        self._special: dict[str, int] = special
        longest_first = sorted(map(re.escape, special), key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(longest_first)})" if special else r"(?!)")
        first = sorted({ord(token[0]) for token in special})
        self._hide = {char: _HIDDEN + at for at, char in enumerate(first)}
        self._show = {hidden: char for char, hidden in self._hide.items()}
        self._piece = functools.lru_cache(_PIECES)(self._encode)
        self._count = functools.lru_cache(_PIECES)(self._count_turn)

    def ids(self, turns: Sequence[Turn]) -> list[int]:
        """Return the ids of the text up to the end of the last turn.

        Raises:
            TemplateError: The template refuses these turns.
        """
        text = self._template.prompt([self._words(turn) for turn in turns])
        ids: list[int] = []
        for piece in self._pattern.split(text):
            if piece in self._special:
                ids.append(self._special[piece])
            elif piece:
                ids += self._piece(piece.translate(self._show))
        return ids

    def count(self, turn: Turn) -> int:
        """Return how many ids a turn makes by itself."""
        return self._count(turn)

    def _count_turn(self, turn: Turn) -> int:
        return len(self.ids([turn]))

    def _words(self, turn: Turn) -> Turn:
        """Return the turn with what looks like a special token in it hidden."""
        if not self._pattern.search(turn.content):
            return turn
        return turn._replace(content=turn.content.translate(self._hide))

    def _encode(self, piece: str) -> list[int]:
        piece = piece.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
        ids: list[int] = self._tokenizer.encode(piece, add_special_tokens=False).ids
        return ids


def _special(tokenizer: Tokenizer) -> dict[str, int]:
    special: dict[str, int] = {}
    token: Any
    for number, token in tokenizer.get_added_tokens_decoder().items():
        if not token.special:
            continue
        if token.lstrip or token.rstrip or token.single_word:
            raise ValueError(f"the special token {token.content!r} takes the spaces around it")
        special[token.content] = number
    return special
