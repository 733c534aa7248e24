"""A WAV file in, the same without its noise out; an hour-long one needs no more memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .audio import PCM, Samples, to_float32, to_int16
from .spectrogram import Spectrogram
from .wav import Format, Reader, Writer

_BLOCKS = 100
"""How many a second there are whose levels are compared."""
_SILENCE = 0.25
"""Power of half a step of int16: what is quieter is no longer there."""


class PathError(ValueError):
    """A file would be written where it must not; the message says where."""


class Stream(Protocol):
    """What :class:`nearvoice.Denoiser` does for one channel."""

    def push(self, samples: Samples, /) -> Samples:
        """Take float32[n]; return what is ready, float32[m], in time with the input."""

    def flush(self) -> Samples:
        """Return what is left: then as much came out as went in."""


@dataclass(frozen=True)
class Denoised:
    """What became of a file."""

    seconds: float
    attenuation: float | None
    """By how many dB the level of 10 ms fell, in the mean; None if all of it was silence."""
    before: Spectrogram | None = None
    """Spectrogram of what was heard, if wanted."""
    after: Spectrogram | None = None
    """That of what was written."""


def check_paths(source: Path, target: Path, png: Path | None = None) -> None:
    """Find out before any work is done whether ``target`` and ``png`` may be written.

    Raises:
        PathError: One is the same file as another, something else than a file, or in no folder.
    """
    written = [target] if png is None else [target, png]
    for path in written:
        if path.exists() and not path.is_file():
            raise PathError(f"{path} is not a file: name another one to write")
        if not path.parent.is_dir():
            raise PathError(f"{path.parent} is no folder: make it, or name another file to write")
        if _is_same(path, source):
            raise PathError(f"{path} is the file to read: name another one to write")
    if png is not None and _is_same(png, target):
        raise PathError(f"{png} cannot be both the sound and the picture: name another one")


def _is_same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def denoise_file(
    source: Path,
    target: Path,
    streams: Callable[[int, int], Sequence[Stream]],
    *,
    begin: Callable[[int], None] = lambda frames: None,
    advance: Callable[[int], None] = lambda frames: None,
    spectrograms: bool = False,
) -> Denoised:
    """Write ``source``, a WAV file of 16-bit PCM, to ``target`` without its noise.

    As long as ``source`` and in time with it. ``target`` gets its name when all of it is there.

    Args:
        source: Of any rate, with any number of channels.
        target: See :func:`check_paths`.
        streams: (sample rate in Hz, channels) -> a new stream for each channel.
        begin: Told how many samples a channel has, when all is ready and the work begins.
        advance: Told how many more of them are done.
        spectrograms: Whether to compute them.

    Raises:
        OSError: A file cannot be read or written.
        WavError: ``source`` is not a WAV file of 16-bit PCM.
    """
    with Reader(source) as reader:
        rate, channels = reader.format
        file = _Channels(streams(rate, channels))
        before, after = (_Sound(rate, reader.frames, spectrograms) for _ in range(2))
        begin(reader.frames)
        with _writer(target, reader.format) as writer:
            for heard in reader.chunks(rate):
                before.push(heard)
                after.push(writer.write(file.push(heard)))
                advance(len(heard))
            after.push(writer.write(file.flush()))
    return Denoised(
        reader.frames / rate,
        _attenuation(before.powers, after.powers),
        before.spectrogram,
        after.spectrogram,
    )


@contextmanager
def partial(target: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes ``target`` if all goes well, else nothing."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise OSError(f"{target} was not written: {error}") from error
    finally:
        with suppress(OSError):  # which would hide why nothing was written
            temporary.unlink(missing_ok=True)


@contextmanager
def _writer(target: Path, format: Format) -> Iterator[Writer]:
    with partial(target) as temporary, temporary.open("xb") as file, Writer(file, format) as writer:
        yield writer


class _Channels:
    """A stream for each channel: int16[n, channels] in, what is ready of the same kind out."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams

    def push(self, pcm: PCM) -> PCM:
        sound = np.ascontiguousarray(to_float32(pcm).T)
        return _joined([s.push(channel) for s, channel in zip(self._streams, sound, strict=True)])

    def flush(self) -> PCM:
        return _joined([stream.flush() for stream in self._streams])


def _joined(channels: Sequence[Samples]) -> PCM:
    return to_int16(np.stack(channels, axis=1))


class _Sound:
    """What is learnt of a sound while it passes: int16[n, channels] in."""

    def __init__(self, rate: int, samples: int, drawn: bool) -> None:
        self._block = max(1, rate // _BLOCKS)
        self._rest: PCM | None = None
        self._powers: list[npt.NDArray[np.float64]] = []
        self.spectrogram = Spectrogram(rate, samples) if drawn else None

    def push(self, pcm: PCM) -> None:
        if self.spectrogram is not None:
            self.spectrogram.push(to_float32(pcm))
        if self._rest is not None:
            pcm = np.concatenate((self._rest, pcm))
        whole = len(pcm) // self._block * self._block
        self._rest = pcm[whole:]
        squares = np.square(pcm[:whole], dtype=np.float64).mean(axis=1)
        self._powers.append(squares.reshape(-1, self._block).mean(axis=1))

    @property
    def powers(self) -> npt.NDArray[np.float64]:
        """Mean square of the steps of int16 in each block; what is left at the end is none."""
        return np.concatenate(self._powers)


def _attenuation(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float | None:
    """Return the mean of the decibels by which the blocks that are no digital silence fell."""
    heard = before > 0
    if not heard.any():
        return None
    ratio = np.maximum(before[heard], _SILENCE) / np.maximum(after[heard], _SILENCE)
    return float(10 * np.log10(ratio).mean())
