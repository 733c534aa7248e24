"""A stream of labelled tokens in, batches of rows of it out, on the device that trains on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scripts.turn_corpus import ENDED, GOES_ON, IGNORED, Stream
from scripts.turn_network import TurnQwen2

Logits = npt.NDArray[np.float16]
Layers = Sequence[Callable[..., Any]]


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
        begin: Token that each conversation begins with; None where they have none.
        device: Where the batches are to be.
        uniform: Whether each boundary weighs 1; else those of a turn weigh as much together as its
            end: a long turn is cut no more often than a short one.
        teacher: float16[n], logits of a teacher.
    """

    def __init__(
        self,
        stream: Stream,
        begin: int | None,
        device: str,
        *,
        uniform: bool = False,
        teacher: Logits | None = None,
    ) -> None:
        self.count = len(stream.ids)
        self._ids = torch.from_numpy(stream.ids.astype(np.int32)).to(device)
        begins = np.zeros(self.count, np.int32) if begin is None else stream.ids == begin
        self._conversations = torch.from_numpy(np.cumsum(begins, dtype=np.int32)).to(device)
        self._ended = torch.from_numpy((stream.labels == ENDED).astype(np.float32)).to(device)
        weight = np.where(stream.labels == IGNORED, 0, 1 / (1 if uniform else among(stream.labels)))
        self._weight = torch.from_numpy(weight.astype(np.float32)).to(device)
        self._teacher = None if teacher is None else torch.from_numpy(teacher).to(device)

    def batches(self, seed: tuple[int, int], rows: int, length: int) -> Iterator[Batch]:
        """Yield batches without end: all of the stream in random order, again and again."""
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

        Args:
            network: In torch.
            layers: Its own, compiled perhaps.
            length: Of a row.
            rows: At once.
        """
        out = np.zeros(self.count, np.float16)
        device, before = self._ids.device, length // 4
        starts = torch.arange(0, self.count - length + 1, length - before, device=device)
        for some in starts.split(rows):
            places = some[:, None] + torch.arange(length, device=device)
            with torch.autocast(device.type, torch.bfloat16):
                ids, conversations = self._ids[places].long(), self._conversations[places]
                hidden = network.model.rows(ids, conversations, layers)
            found = network.eou(hidden.float())[..., 0].half().cpu().numpy()
            at = places.cpu().numpy()
            if int(some[0]) == 0:
                out[at[0, :before]] = found[0, :before]
            out[at[:, before:]] = found[:, before:]
        return out


def among(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return how many labels of a turn say that it goes on, for each that does; 1 for others."""
    going_on = labels == GOES_ON
    turn = np.cumsum(labels == ENDED)
    counts = np.bincount(turn, going_on, minlength=int(turn[-1]) + 1)
    return np.where(going_on, counts[turn], 1).astype(np.float32)
