"""Sound before any network: PCM to float32, chunks of any size to exact windows.

Everything here gives the same samples however the input is cut, bit for bit.
"""

from __future__ import annotations

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
    """First in, first out, for int16 samples: a ring as large as what it holds, give or take half.

    Nothing that is stored moves when samples come or go, except when the ring is made anew: larger
    when it is full, smaller when it is three quarters empty.
    """

    _SMALLEST = 4096

    def __init__(self) -> None:
        self._ring = np.empty(0, np.int16)
        self._first = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """Memory of the ring, in bytes."""
        return self._ring.nbytes

    def append(self, pcm: PCM) -> None:
        """Take int16[n] in at the back."""
        count = len(pcm)
        if self._length + count > len(self._ring):
            self._resize(self._length + count)
        size = len(self._ring)
        start = self._first + self._length
        if start >= size:
            start -= size
        self._length += count
        if start + count <= size:
            self._ring[start : start + count] = pcm
            return
        head = size - start
        self._ring[start:] = pcm[:head]
        self._ring[: count - head] = pcm[head:]

    def peek(self, count: int) -> PCM:
        """Return a copy of the first ``count`` samples, or of all when there are fewer."""
        count = min(count, self._length)
        end = self._first + count
        if end <= len(self._ring):
            return self._ring[self._first : end].copy()
        return np.concatenate((self._ring[self._first :], self._ring[: end - len(self._ring)]))

    def drop(self, count: int) -> None:
        """Remove the first ``count`` samples, none below 1, all when there are fewer."""
        count = max(0, min(count, self._length))
        self._first += count
        if self._first >= len(self._ring):
            self._first -= len(self._ring)
        self._truncate(self._length - count)

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` samples only."""
        self._truncate(min(count, self._length))

    def clear(self) -> None:
        """Remove every sample and give the memory back."""
        self._truncate(0)

    def _truncate(self, length: int) -> None:
        self._length = length
        if len(self._ring) > max(4 * length, self._SMALLEST):
            self._resize(length)

    def _resize(self, length: int) -> None:
        ring = np.empty(max(length + length // 2, self._SMALLEST), np.int16)
        ring[: self._length] = self.peek(self._length)
        self._ring = ring
        self._first = 0
