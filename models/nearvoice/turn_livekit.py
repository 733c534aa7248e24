"""LiveKit's own turn detectors, where whoever wants them has downloaded them.

They stay in the cache of huggingface_hub, where livekit-plugins-turn-detector 1.8.9 has them too,
at the revisions it names (``models.py``). Licence: LiveKit Model License, see :data:`TERMS`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from .digest import sha256
from .turn_bundle import Bundle, BundleError, MissingPartError
from .turn_chat import chat_template, special_tokens

REPOSITORY = "livekit/turn-detector"
REVISIONS: dict[str, str] = {"multilingual": "v0.4.1-intl", "en": "v1.2.2-en"}
"""Which of them -> what livekit-plugins-turn-detector 1.8.9 loads."""
ENABLED = "NEARVOICE_LIVEKIT_MODELS"
"""Environment variable: set to 1, ``download-files`` fetches them too."""
TERMS = (
    "LiveKit's turn detectors are under the LiveKit Model License. Two of its limits: they may be "
    "used only together with LiveKit Agents, not by themselves; and neither they nor what they "
    "answer may be used to build or improve other models. By downloading them you accept it: "
    "https://huggingface.co/livekit/turn-detector"
)
"""What is shown before they are fetched."""

_MODEL, _THRESHOLDS = "onnx/model_q8.onnx", "languages.json"
_PARTS = (_MODEL, "tokenizer.json", "tokenizer_config.json", _THRESHOLDS)
_PERHAPS = (
    *("chat_template.jinja", "special_tokens_map.json", "added_tokens.json"),
    *("config.json", "vocab.json", "merges.txt"),
)
"""What only some revisions have; the official plugin reads them."""
_END = "<|im_end|>"


class Fetched(NamedTuple):
    """One file that was asked for."""

    name: str
    path: Path
    bytes: int


def enabled() -> bool:
    """Return whether ``NEARVOICE_LIVEKIT_MODELS`` asks for them."""
    return os.environ.get(ENABLED, "").lower() in ("1", "true", "yes", "on")


def fetch(flavour: str) -> list[Fetched]:
    """Download what the cache lacks of one of them, and check it.

    Honours HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN and HF_ENDPOINT.

    Raises:
        OSError: It could not be fetched.
        BundleError: What came is not what the Hub said it would be, or cannot be used.
    """
    fetched = []
    for name in (*_PARTS, *_PERHAPS):
        path = _download(flavour, name)
        if path is not None:
            _check_blob(path)
            fetched.append(Fetched(name, path, path.stat().st_size))
    read(flavour)
    return fetched


def _download(flavour: str, name: str) -> Path | None:
    """Return where a file is, None for one that the repository need not have and has not."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    revision = REVISIONS[flavour]
    try:
        return Path(hf_hub_download(REPOSITORY, name, revision=revision))
    except Exception as error:  # of huggingface_hub, or of the HTTP library that it uses
        local = isinstance(error, LocalEntryNotFoundError)  # then the cache may know
        known = try_to_load_from_cache(REPOSITORY, name, revision=revision)
        absent = known is _CACHED_NO_EXIST or (isinstance(error, EntryNotFoundError) and not local)
        if name in _PERHAPS and absent:
            return None
        raise OSError(f"{name} of {REPOSITORY} {revision} could not be fetched: {error}") from error


def _check_blob(path: Path) -> None:
    """Check a large file against its sha256, which the Hub's cache has for its name."""
    blob = path.resolve().name
    if len(blob) != 64:
        return
    if sha256(path) != blob:
        path.resolve().unlink()
        raise BundleError(f"{path.name} was damaged on its way and is removed: download it again")


def read(flavour: str) -> Bundle:
    """Return one of them as a bundle, from the cache alone.

    Raises:
        MissingPartError: It has not been downloaded; a FileNotFoundError.
        BundleError: What is there cannot be used.
    """
    paths = {name: _cached(flavour, name) for name in _PARTS}
    folder = paths["tokenizer_config.json"].parent
    try:
        languages = json.loads(paths[_THRESHOLDS].read_text("utf-8"))
        thresholds = {name: float(said["threshold"]) for name, said in languages.items()}
        template, variables = chat_template(folder), special_tokens(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{REPOSITORY} {REVISIONS[flavour]} in {folder}: {error!r}") from error
    return Bundle(
        model=paths[_MODEL],
        tokenizer=paths["tokenizer.json"],
        name=f"livekit-{flavour}",
        version=REVISIONS[flavour],
        licence="LicenseRef-LiveKit-Model",
        template=template,
        end=_END,
        vocabulary=None,
        max_tokens=128,
        threshold=thresholds.get("en", max(thresholds.values(), default=0.5)),
        thresholds=thresholds,
        variables=variables,
        normalisation="plain" if flavour == "multilingual" else "none",
        max_messages=6,
        truncation="tokens",
    )


def _cached(flavour: str, name: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    revision = REVISIONS[flavour]
    found = try_to_load_from_cache(REPOSITORY, name, revision=revision)
    if not isinstance(found, str):
        raise MissingPartError(
            f"{name} of {REPOSITORY} {revision} is not in the cache of huggingface_hub: run "
            "`nearvoice download-files --livekit`, which shows its licence first"
        )
    return Path(found)
