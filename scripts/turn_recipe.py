"""A checkpoint folder in, what its prompts are made with out; and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from nearvoice.turn_chat import chat_template, special_tokens


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
