"""A checkpoint folder in, what its prompts are made with out; and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from nearvoice.turn_bundle import Bundle
from nearvoice.turn_chat import chat_template, special_tokens
from nearvoice.turn_prompt import Reader, Template
from nearvoice.turn_window import Window


@dataclass(frozen=True)
class Recipe:
    """How dialogues become token ids."""

    tokenizer: Tokenizer
    template: str
    """In Jinja."""
    end: str
    """Token that the template writes when a turn has ended."""
    variables: dict[str, str]
    """What the template may use, such as ``bos_token``."""

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        """Read what :meth:`write` wrote."""
        kept = json.loads((folder / "prompt.json").read_text("utf-8"))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(tokenizer, kept["template"], kept["end"], kept["variables"])

    def write(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``prompt.json`` into a checkpoint folder."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        kept = {"template": self.template, "end": self.end, "variables": self.variables}
        (folder / "prompt.json").write_text(json.dumps(kept, indent=2), "utf-8")

    @classmethod
    def of_checkpoint(cls, folder: Path, end: str = "<|im_end|>") -> Recipe:
        """Read a folder of transformers, or one that :meth:`write` wrote into."""
        if (folder / "prompt.json").exists():
            return cls.read(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(tokenizer, chat_template(folder), end, special_tokens(folder))

    def fields(self, max_tokens: int) -> dict[str, Any]:
        """Return the fields of ``turn.json`` that say how a conversation becomes a prompt."""
        return {
            "template": self.template,
            "end": self.end,
            "variables": self.variables,
            "vocabulary": self.tokenizer.get_vocab_size(),
            "max_tokens": max_tokens,
        }

    def window(self, max_tokens: int) -> Window:
        """Return what reads conversations exactly as a bundle with these fields does in a call."""
        unused = {"model": Path(), "tokenizer": Path(), "name": "", "version": "", "licence": ""}
        bundle = Bundle(**unused, **self.fields(max_tokens), threshold=0.5)
        return Window(bundle, Reader(self.tokenizer, self.as_template()))

    def as_template(self) -> Template:
        """Return the template, read."""
        return Template(self.template, self.end, self.variables)
