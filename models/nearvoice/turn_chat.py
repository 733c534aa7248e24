"""A folder of transformers in, its chat template and special tokens out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    return config


def chat_template(folder: Path) -> str:
    """Return the chat template, in Jinja: ``chat_template.jinja``, or what the tokenizer has.

    Raises:
        FileNotFoundError: ``tokenizer_config.json`` is missing.
        ValueError: There is no template, or several and none is the default.
    """
    own = folder / "chat_template.jinja"
    if own.exists():
        return own.read_text("utf-8")
    found = _config(folder).get("chat_template")
    if isinstance(found, list):
        found = {named["name"]: named["template"] for named in found}.get("default")
    if not isinstance(found, str):
        raise ValueError(f"{folder} has no chat template, or several and none called default")
    return found


def special_tokens(folder: Path) -> dict[str, str]:
    """Return what a template may call ``bos_token`` and so on.

    Raises:
        FileNotFoundError: ``tokenizer_config.json`` is missing.
    """
    names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
    tokens = {}
    for name in (*names, "mask_token"):
        found = _config(folder).get(name)
        if isinstance(found, dict):
            found = found.get("content")
        if isinstance(found, str):
            tokens[name] = found
    return tokens
