"""JSON in, checked conversations and labelled turns out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

from .turn_text import Chat, plain

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""How a language is written, as in a bundle: ``en``, ``pt-BR``."""

_ROLES = ("user", "assistant")
_OTHER_ROLES = ("system", "developer", "tool")
"""What a detector leaves out."""


class TurnsError(ValueError):
    """A conversation or a file of labelled turns is not one; the message says where and why."""


class LabelledTurn(NamedTuple):
    """A turn of which it is known whether the user had finished."""

    language: str
    messages: Chat
    """Up to this turn, whose words are the last."""
    complete: bool


def read(path: Path) -> list[LabelledTurn]:
    """Return the turns of a file of JSON lines; docs/turn-calibration.md has the format.

    Raises:
        OSError: It cannot be read.
        TurnsError: It has no turns, or a line is wrong.
    """
    turns, wrong = [], []
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise TurnsError(f"{path} is not UTF-8: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            turns.append(_turn(line))
        except TurnsError as error:
            wrong.append(f"{path}, line {number}: {error}")
    if wrong:
        more = f" (and {len(wrong) - 1} more lines are wrong)" if wrong[1:] else ""
        raise TurnsError(f"{wrong[0]}{more}")
    if not turns:
        raise TurnsError(f"{path} has no turns")
    return turns


def _turn(line: str) -> LabelledTurn:
    fields = parse(line)
    if not isinstance(fields, dict):
        raise TurnsError("must be a JSON object")
    language, complete = fields.get("language"), fields.get("complete")
    if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
        raise TurnsError(f"language must be such as en or pt-BR, not {short(language)}")
    if not isinstance(complete, bool):
        raise TurnsError(f"complete must be true or false, not {short(complete)}")
    if ("text" in fields) == ("messages" in fields):
        raise TurnsError("must have either text or messages")
    if "text" in fields:
        said: object = [{"role": "user", "content": fields["text"]}]
    else:
        said = fields["messages"]
    return LabelledTurn(language, conversation(said), complete)


def parse(text: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a text in JSON says.

    Raises:
        TurnsError: It is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TurnsError(f"is not JSON: {error}") from error


def conversation(said: object) -> list[dict[str, str]]:
    """Return the messages of the user and the assistant, of which the last must be the user's.

    Args:
        said: A list of objects with ``role`` and ``content``; those of other roles are left out.

    Raises:
        TurnsError: It is something else, or the user says no word in the end.
    """
    if not isinstance(said, list):
        raise TurnsError("messages must be a list of objects with role and content")
    found = [_message(at, one) for at, one in enumerate(said, 1)]
    messages = [one for one in found if one["role"] in _ROLES]
    if not messages or messages[-1]["role"] != "user":
        raise TurnsError("the last message must be the user's")
    if not plain(messages[-1]["content"]):
        raise TurnsError("nothing was said: the last message has no word")
    return messages


def _message(number: int, said: object) -> dict[str, str]:
    if not isinstance(said, dict):
        raise TurnsError(f"message {number} must be an object with role and content")
    role, content = said.get("role"), said.get("content")
    if role in _OTHER_ROLES:
        return {"role": role, "content": ""}
    if role not in _ROLES:
        known = ", ".join((*_ROLES, *_OTHER_ROLES))
        raise TurnsError(f"message {number}: role must be one of {known}, not {short(role)}")
    if not isinstance(content, str) or not _is_unicode(content):
        raise TurnsError(f"message {number}: content must be a text, not {short(content)}")
    return {"role": role, "content": content}


def _is_unicode(text: str) -> bool:
    """Return False for halves of surrogate pairs, which JSON may have and a tokenizer may not."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
