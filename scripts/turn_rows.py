"""A stream of labelled tokens in, batches of rows of it out, on the device that trains on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from scripts.turn_corpus import ENDED, GOES_ON, IGNORED, SPECIAL, Stream
from scripts.turn_network import TurnQwen2

Logits = npt.NDArray[np.float16]
Layers = Sequence[Callable[..., Any]]


ASSISTANT = 0.5
"""Weight of a turn of the assistant, whose end nobody waits for, but which is language too."""


class Marks(NamedTuple):
    """Tokens of a template; -1 where it has none such."""

    begin: int
    """Of a conversation."""
    user: int
    """Of a turn of the user."""
    assistant: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        """Find those of our template."""
        found = [tokenizer.token_to_id(token) for token in SPECIAL[1:4]]
        return cls(*(-1 if token is None else token for token in found))


class Batch(NamedTuple):
    """Rows of a stream."""

    ids: Tensor
    """int64[rows, length + 1]: the last of a row is asked for, not read."""
    conversations: Tensor
    """int64[rows, length], a number for each."""
    ended: Tensor
    """float32[rows, length]: 1 where a turn has ended."""
    weight: Tensor
    """float32[rows, length] of each label; 0 where nothing is asked."""
    teacher: Tensor | None
    """float32[rows, length], a teacher's logits."""


class Rows:
    """What batches are taken from.

    Args:
        stream: Of :func:`scripts.turn_corpus.encode`.
        marks: Tokens of the template.
        device: Where the batches are to be.
        uniform: Whether each boundary weighs 1; else those of a turn weigh as much together as its
            end: a long turn is cut no more often than a short one.
        teacher: float16[n], logits of a teacher.
    """

    def __init__(
        self,
        stream: Stream,
        marks: Marks,
        device: str,
        *,
        uniform: bool = False,
        teacher: Logits | None = None,
    ) -> None:
        self.count = len(stream.ids)
        self._ids = torch.from_numpy(stream.ids.astype(np.int32)).to(device)
        begins = stream.ids == marks.begin
        self._conversations = torch.from_numpy(np.cumsum(begins, dtype=np.int32)).to(device)
        self._ended = torch.from_numpy((stream.labels == ENDED).astype(np.float32)).to(device)
        weight = np.where(stream.labels == IGNORED, 0, 1 / (1 if uniform else among(stream.labels)))
        weight *= np.where(spoken_by(stream.ids, marks) == marks.assistant, ASSISTANT, 1)
        self._weight = torch.from_numpy(weight.astype(np.float32)).to(device)
        self._teacher = None if teacher is None else torch.from_numpy(teacher).to(device)

    def batches(self, seed: tuple[int, int], rows: int, length: int) -> Iterator[Batch]:
        """Yield batches without end: all of the stream in random order, again and again.

        Raises:
            ValueError: The stream is too short for one batch.
        """
        if len(range(0, self.count - length - 1, length)) < rows:
            raise ValueError(
                f"{self.count} tokens are too few for a batch of {rows} rows of {length}"
            )
        random = np.random.default_rng(seed)
        device = self._ids.device
        within = torch.arange(length + 1, device=device)
        while True:
            offset = random.integers(0, length)
            starts = np.arange(offset, self.count - length - 1, length)
            random.shuffle(starts)
            shuffled = torch.from_numpy(starts).to(device)
            for i in range(0, len(starts) - rows + 1, rows):
                yield self._batch(shuffled[i : i + rows, None] + within)

    def _batch(self, places: Tensor) -> Batch:
        read = places[:, :-1]
        return Batch(
            self._ids[places].long(),
            self._conversations[read].long(),
            self._ended[read],
            self._weight[read],
            None if self._teacher is None else self._teacher[read].float(),
        )

    @torch.no_grad()
    def logits(
        self, network: TurnQwen2, layers: Layers, length: int = 256, rows: int = 256
    ) -> Logits:
        """Return a network's logit after each token, each having read a quarter of a row before.

        Those of the last row have read more: it ends where the stream does.

        Args:
            network: In torch.
            layers: Its own, compiled perhaps.
            length: Of a row; of a shorter stream, all of it.
            rows: At once.
        """
        out = np.zeros(self.count, np.float16)
        device, length = self._ids.device, min(length, self.count)
        step, last = length - length // 4, self.count - length
        starts = torch.arange(0, last + step, step, device=device).clamp(max=last)
        known = torch.cat((starts[:1], starts[:-1] + length))
        for some, until in zip(starts.split(rows), known.split(rows), strict=True):
            places = some[:, None] + torch.arange(length, device=device)
            with torch.autocast(device.type, torch.bfloat16):
                ids, conversations = self._ids[places].long(), self._conversations[places]
                hidden = network.model.rows(ids, conversations, layers)
            found = network.eou(hidden.float())[..., 0].half().cpu().numpy()
            new = places >= until[:, None]
            out[places[new].cpu().numpy()] = found[new.cpu().numpy()]
        return out


def among(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return how many labels of a turn say that it goes on, for each that does; 1 for others."""
    going_on = labels == GOES_ON
    turn = np.cumsum(labels == ENDED)
    counts = np.bincount(turn, going_on, minlength=int(turn[-1]) + 1)
    return np.where(going_on, counts[turn], 1).astype(np.float32)


def spoken_by(ids: npt.NDArray[np.int32], marks: Marks) -> npt.NDArray[np.int32]:
    """Return which mark began the turn that each token is in; something else before the first."""
    marked = (ids == marks.user) | (ids == marks.assistant)
    return ids[np.maximum.accumulate(np.where(marked, np.arange(len(ids)), 0))]
