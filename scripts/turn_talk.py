"""Our own telephone dialogues, with slots: what corpora have little of.

``scripts/turn_talk/LANG*.txt`` (CC0) have slots, ``{city} = Paris | Lyon``, and dialogues, blocks
of lines ``a: ...`` for the agent and ``u: ...`` for the caller, each with its alternatives. A
dialogue becomes several, of which each draws anew.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import NamedTuple

from scripts.turn_corpus import Dialogue

FOLDER = Path(__file__).parent / "turn_talk"
SOURCE = "talk"
"""What these dialogues have as their source."""
_ROLES = {"a": "assistant", "u": "user"}
_SLOT = re.compile(r"\{(\w+)\}")
_DEFINITION = re.compile(r"\{(\w+)\} = (.+)")
_DEEPEST = 8
"""Slots inside slots."""


class Script(NamedTuple):
    """A language's dialogues, as they are written."""

    slots: dict[str, list[str]]
    dialogues: list[list[tuple[str, list[str]]]]
    """Role and alternatives of each turn."""


def read(path: Path) -> Script:
    """Read a file of dialogues.

    Raises:
        ValueError: A line is neither a slot nor a turn, names a slot that is not there, or has one
            that there was already.
    """
    slots: dict[str, list[str]] = {}
    dialogues: list[list[tuple[str, list[str]]]] = [[]]
    named: dict[str, int] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith("#"):
            continue
        text = line
        if definition := _DEFINITION.fullmatch(line):
            if definition[1] in slots:
                raise _wrong(path, number, f"{{{definition[1]}}} is there already")
            text = definition[2]
            slots[definition[1]] = definition[2].split(" | ")
        elif not line.strip():
            dialogues.append([])
        elif line[:1] in _ROLES and line[1:3] == ": ":
            dialogues[-1].append((_ROLES[line[0]], line[3:].split(" | ")))
        else:
            raise _wrong(path, number, f"neither a slot nor a turn: {line!r}")
        for name in _SLOT.findall(text):
            named.setdefault(name, number)
    for name, number in named.items():
        if name not in slots:
            raise _wrong(path, number, f"there is no slot {{{name}}}")
    return Script(slots, [dialogue for dialogue in dialogues if dialogue])


def _wrong(path: Path, number: int, what: str) -> ValueError:
    return ValueError(f"{path.name}, line {number}: {what}")


def dialogues(seed: int, times: int, folder: Path = FOLDER) -> list[Dialogue]:
    """Return every dialogue of every language, ``times`` over, each with draws of its own."""
    chance = random.Random(seed)
    return [
        Dialogue(
            path.stem[:2], SOURCE, [(role, draw(script, turn, chance)) for role, turn in dialogue]
        )
        for path in sorted(folder.glob("*.txt"))
        for script in [read(path)]
        for dialogue in script.dialogues
        for _ in range(times)
    ]


def draw(script: Script, alternatives: list[str], chance: random.Random) -> str:
    """Return one of the alternatives, its slots filled."""
    text = chance.choice(alternatives)
    for _ in range(_DEEPEST):
        if "{" not in text:
            break
        text = _SLOT.sub(lambda slot: chance.choice(script.slots[slot[1]]), text)
    return text
