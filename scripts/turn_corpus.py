"""Dialogues in, token ids with a label each out: what a turn detector is trained on.

Every boundary between words is an example: the turn goes on there, or it has ended. Where a
sentence ends inside a turn nobody can know, so nothing is asked there.
"""

from __future__ import annotations

import json
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from nearvoice.turn_prompt import Template
from nearvoice.turn_text import Chat, Turn, plain

IGNORED, GOES_ON, ENDED = 0, 1, 2
"""Labels of a token: what is asked of the network when it has read it."""

SPECIAL = ("<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|im_end|>")
TEMPLATE = (
    "<|bos|>{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|im_end|>"
    "{% endfor %}"
)
"""The prompt of a network that is trained from the beginning."""

_WITHOUT_SPACES = {"ja", "zh", "th"}
"""Languages in which words have no spaces between them: any token may be the last."""
_SENTENCE_END = re.compile(r"[.?!\u2026](?=\s)|[\u3002\uff1f\uff01\u0964]")
"""In scripts with spaces between sentences, and in Chinese, Japanese and Hindi, without."""
_BATCH = 2_000
"""Dialogues that are encoded at once."""


class Dialogue(NamedTuple):
    """A conversation, or a single turn."""

    lang: str
    src: str
    turns: list[tuple[str, str]]
    """Role and raw text."""


def read(path: Path) -> Iterator[Dialogue]:
    """Read a file of dialogues: JSON lines with ``lang``, ``src`` and ``turns``, perhaps .xz."""
    for record in _records(path):
        turns = [(role, text) for role, text in record["turns"]]
        yield Dialogue(record["lang"], record.get("src", ""), turns)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def train_tokenizer(dialogues: Iterable[Dialogue], size: int, characters: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer of ``size`` tokens, from so many characters a language."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=24,
    )
    tokenizer.train_from_iterator(_texts(dialogues, characters), trainer)
    return tokenizer


def _texts(dialogues: Iterable[Dialogue], characters: int) -> Iterator[str]:
    taken: Counter[str] = Counter()
    for dialogue in dialogues:
        if taken[dialogue.lang] < characters:
            for _, raw in dialogue.turns:
                text = plain(raw)
                taken[dialogue.lang] += len(text)
                yield text


def balanced(
    dialogues: list[Dialogue], seed: int, least: float = 0.6, most: float = 4.0
) -> list[Dialogue]:
    """Return the dialogues in random order, those of rare languages and sources several times.

    A language's share becomes as its square root, and in a language that of a source as its own;
    English, by far the largest, is left at a half. None comes more than ``most`` times, or less
    than ``least``.
    """
    random_ = random.Random(seed)
    size, of_source = Counter[str](), Counter[tuple[str, str]]()
    for dialogue in dialogues:
        length = sum(len(text.encode()) for _, text in dialogue.turns)
        size[dialogue.lang] += length
        of_source[dialogue.lang, dialogue.src] += length
    largest = max(size.values())
    roots = Counter[str]()
    for (lang, _), n in of_source.items():
        roots[lang] += n**0.5
    times = {
        (lang, src): min(most, max(least, 0.5 * (largest * size[lang] / n) ** 0.5 / roots[lang]))
        for (lang, src), n in of_source.items()
    }
    chosen = []
    for dialogue in dialogues:
        wanted = times[dialogue.lang, dialogue.src]
        chosen += [dialogue] * (int(wanted) + (random_.random() < wanted % 1))
    random_.shuffle(chosen)
    return chosen


def first(dialogues: Iterable[Dialogue], most: int) -> list[Dialogue]:
    """Return the first dialogues of each language, until they have so many bytes of text."""
    taken: Counter[str] = Counter()
    found = []
    for dialogue in dialogues:
        if taken[dialogue.lang] < most:
            taken[dialogue.lang] += sum(len(text.encode()) for _, text in dialogue.turns)
            found.append(dialogue)
    return found


class Stream(NamedTuple):
    """Dialogues, one after another."""

    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.uint8]


def encode(dialogues: list[Dialogue], tokenizer: Tokenizer, template: Template) -> Stream:
    """Return the prompts of the dialogues as one stream of tokens, labelled."""
    ids: list[npt.NDArray[np.int32]] = []
    labels: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(dialogues), _BATCH):
        rendered = [_render(d, template) for d in dialogues[start : start + _BATCH]]
        rendered = [r for r in rendered if r.spans]
        encodings = tokenizer.encode_batch([r.text for r in rendered], add_special_tokens=False)
        for prompt, encoding in zip(rendered, encodings, strict=True):
            ids.append(np.array(encoding.ids, np.int32))
            ends = np.array([end for _, end in encoding.offsets], np.int64)
            labels.append(_labels(prompt, ends))
    return Stream(np.concatenate(ids), np.concatenate(labels))


class _Prompt(NamedTuple):
    text: str
    spans: list[tuple[int, int]]
    """Where each turn's content is."""
    masked: set[int]
    """Where a sentence ends inside a turn, or one of its messages."""
    spaced: bool
    """Whether words have spaces between them."""


def _render(dialogue: Dialogue, template: Template) -> _Prompt:
    turns: list[Turn] = []
    sentences: list[set[int]] = []
    for role, raw in dialogue.turns:
        if not (content := plain(raw)):
            continue
        ends = {len(plain(raw[: m.end()])) for m in _SENTENCE_END.finditer(raw)} | {len(content)}
        if turns and turns[-1].role == role:  # one turn, as in a call
            before = f"{turns[-1].content} "
            turns[-1] = Turn(role, f"{before}{content}")
            sentences[-1] |= {len(before) + end for end in (0, *ends)}
        else:
            turns.append(Turn(role, content))
            sentences.append(ends)
    text = template.render(turns)
    spans: list[tuple[int, int]] = []
    masked: set[int] = set()
    at = 0
    for turn, ends in zip(turns, sentences, strict=True):
        at = text.index(f"{turn.content}{template.end}", at)
        spans.append((at, at + len(turn.content)))
        masked.update(at + end for end in ends if end < len(turn.content))
        at = spans[-1][1]
    return _Prompt(text, spans, masked, dialogue.lang not in _WITHOUT_SPACES)


def _labels(prompt: _Prompt, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the label of each token, from where it ends."""
    asked = np.zeros(len(prompt.text) + 1, np.uint8)
    for start, end in prompt.spans:
        if prompt.spaced:
            spaces = (m.start() for m in re.finditer(" ", prompt.text[start:end]))
            asked[[start + at for at in spaces]] = GOES_ON
        else:
            asked[start + 1 : end] = GOES_ON
        asked[end] = ENDED
    asked[list(prompt.masked)] = IGNORED
    labels = asked[ends]
    labels[:-1][ends[:-1] == ends[1:]] = IGNORED  # a character in several tokens: the last counts
    return labels


def pairs(path: Path, each: int, languages: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Return complete turns, each with a cut of it and the turns before: the first of a language.

    Args:
        path: JSON lines with ``lang``, ``ctx``, ``text`` and ``cut``, perhaps .xz.
        each: How many of a language, at most.
        languages: These only; None for all.
    """
    taken: Counter[str] = Counter()
    found = []
    for record in _records(path):
        language = record["lang"]
        if (languages is None or language in languages) and taken[language] < each:
            taken[language] += 1
            found.append(record)
    return found


def conversation(pair: dict[str, Any], which: str) -> Chat:
    """Return the messages of one of :func:`pairs`; ``which`` is its last: ``text`` or ``cut``."""
    return [{"role": role, "content": text} for role, text in [*pair["ctx"], ("user", pair[which])]]
