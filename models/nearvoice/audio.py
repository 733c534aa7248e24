"""Sound before any network: PCM to float32, chunks of any size to exact windows.

Everything here gives the same samples however the input is cut, bit for bit.
"""

from __future__ import annotations

import mmap
from collections import deque

import numpy as np
import numpy.typing as npt
import soxr

PCM = npt.NDArray[np.int16]
Samples = npt.NDArray[np.float32]

FULL_SCALE = 32767
"""The int16 value that is 1.0. LiveKit's Silero plugin divides by it, so its thresholds mean the
same here; -32768 becomes -1.00003 and comes back as -32768."""


def to_float32(pcm: PCM) -> Samples:
    """Return int16 samples as float32, full scale at 1.0."""
    return np.divide(pcm, FULL_SCALE, dtype=np.float32)


def to_int16(samples: Samples) -> PCM:
    """Return float32 samples as int16: rounded, and clipped at full scale.

    The inverse of :func:`to_float32` for every int16 value. Samples must be finite.
    """
    return np.clip(np.rint(samples * FULL_SCALE), -32768, 32767).astype(np.int16)


def downmix(pcm: PCM, channels: int) -> PCM:
    """Return the mean of the channels of interleaved int16 samples; mono comes back as it is.

    Raises:
        ValueError: ``channels`` is below 1, or does not divide the number of samples.
    """
    if channels == 1:
        return pcm
    if channels < 1 or len(pcm) % channels:
        raise ValueError(f"{len(pcm)} samples cannot be interleaved in {channels} channels")
    mean: Samples = pcm.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return np.rint(mean).astype(np.int16)


def resample(pcm: PCM, source: int, target: int) -> PCM:
    """Return a whole int16 recording at another rate: float32 arithmetic, libsoxr's "HQ" recipe."""
    if source == target or not len(pcm):
        return pcm
    resampled: Samples = soxr.resample(to_float32(pcm), source, target, quality="HQ")
    return to_int16(resampled)


class Framer:
    """Cuts a stream of float32 chunks into windows of exactly ``size`` samples."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._window = np.empty(size, np.float32)
        self._filled = 0

    @property
    def waiting(self) -> Samples:
        """The samples that wait for the rest of their window, float32[n]; a view."""
        return self._window[: self._filled]

    def push(self, samples: Samples) -> list[Samples]:
        """Take float32[n]; return the windows it completes, each a float32[size] of its own."""
        windows = []
        while len(samples):
            taken = min(self._size - self._filled, len(samples))
            self._window[self._filled : self._filled + taken] = samples[:taken]
            self._filled += taken
            samples = samples[taken:]
            if self._filled == self._size:
                windows.append(self._window)
                self._window = np.empty(self._size, np.float32)
                self._filled = 0
        return windows


class SampleQueue:
    """First in, first out, for int16 samples, in blocks of one size.

    Nothing that is stored is moved or copied when samples come or go, and a long stretch of sound
    needs no large piece of memory, which an allocator would keep when it is given back.
    """

    _BLOCK = 8192
    """Samples of a block."""

    def __init__(self) -> None:
        self._blocks: deque[PCM] = deque()
        self._first = 0
        """Index of the first sample in the first block."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """Memory of the blocks, in bytes."""
        return sum(block.nbytes for block in self._blocks)

    def append(self, pcm: PCM) -> None:
        """Take int16[n] in at the back."""
        while len(pcm):
            block, start = divmod(self._first + self._length, self._BLOCK)
            if block == len(self._blocks):
                self._blocks.append(np.empty(self._BLOCK, np.int16))
            taken = min(len(pcm), self._BLOCK - start)
            self._blocks[block][start : start + taken] = pcm[:taken]
            self._length += taken
            pcm = pcm[taken:]

    def peek(self, count: int) -> PCM:
        """Return a copy of the first ``count`` samples, or of all when there are fewer."""
        count = min(count, self._length)
        if 0 < count <= self._BLOCK - self._first:
            return self._blocks[0][self._first : self._first + count].copy()
        return np.concatenate([*self._parts(count), _NOTHING])

    def snapshot(self) -> memoryview:
        """Return a copy of all samples, as bytes, in memory pages of their own.

        The system has them back as soon as nobody holds them; an allocator would keep them.
        """
        if not self._length:
            return memoryview(b"")
        pages = mmap.mmap(-1, self._length * _ITEM, **_PRIVATE)
        copy = np.frombuffer(pages, np.int16)
        np.concatenate(self._parts(self._length), out=copy)
        return memoryview(pages)

    def drop(self, count: int) -> None:
        """Remove the first ``count`` samples, none below 1, all when there are fewer."""
        count = max(0, min(count, self._length))
        self._length -= count
        self._first += count
        while self._first >= self._BLOCK:
            self._blocks.popleft()
            self._first -= self._BLOCK

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` samples only."""
        self._length = min(count, self._length)
        needed = -(-(self._first + self._length) // self._BLOCK)
        while len(self._blocks) > needed:
            self._blocks.pop()

    def clear(self) -> None:
        """Remove every sample and give the memory back."""
        self._blocks.clear()
        self._first = self._length = 0

    def _parts(self, count: int) -> list[PCM]:
        """Return views of the first ``count`` samples, of so many that are there, in order."""
        left, start, parts = count, self._first, []
        for block in self._blocks:
            if left <= 0:
                break
            part = block[start : start + left]
            parts.append(part)
            left -= len(part)
            start = 0
        return parts


_ITEM = np.dtype(np.int16).itemsize
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)}
    if hasattr(mmap, "MAP_PRIVATE")
    else {}
)
"""Windows knows no other memory than its own; Linux gives all pages at once, which is faster."""
_NOTHING: PCM = np.empty(0, np.int16)
