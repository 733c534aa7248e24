"""WAV files of 16-bit PCM, in chunks: any rate, any number of channels.

Reading is done here, as Python's :mod:`wave` before 3.12 refuses WAVE_FORMAT_EXTENSIBLE, the header
that ffmpeg writes above 48 kHz and above two channels. Written are plain PCM headers.
"""

from __future__ import annotations

import os
import shlex
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from .audio import PCM

_PCM, _EXTENSIBLE = 1, 0xFFFE
_KINDS = {_PCM: "PCM", 3: "floating point", 6: "A-law", 7: "mu-law", 0x55: "MP3"}
_LONGEST = 0xFFFFFFFF - 36
"""Bytes of sound that the 32-bit sizes of a WAV file can tell."""
_FASTEST = 0xFFFFFFFF
"""Bytes a second that its header can tell."""
_CHANNELS = 64
"""Most that are read: a header that says more is more likely damaged than true."""


class WavError(ValueError):
    """The file is not a WAV file that is read here; the message says what it is, and the remedy."""


class Format(NamedTuple):
    """What the header says."""

    sample_rate: int
    """In Hz."""
    channels: int


class Reader:
    """An open WAV file; a context manager.

    A file that is shorter than its header says, or whose header was written before its length was
    known (to a pipe), has the sound that is there.

    Args:
        path: Of the file.

    Raises:
        OSError: It cannot be opened.
        WavError: It is no WAV file, not of 16-bit PCM, damaged, holds no sound, or has more
            channels or more bytes a second than can be read and written again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        try:
            self.format, size = self._header()
        except BaseException:
            self._file.close()
            raise
        self.frames = size // (2 * self.format.channels)
        """How many samples each channel has."""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def chunks(self, frames: int) -> Iterator[PCM]:
        """Yield the sound that is left, int16[n, channels] with n = ``frames`` but at the end."""
        channels = self.format.channels
        left = self.frames
        while left:
            content = self._file.read(2 * channels * min(frames, left))
            samples = np.frombuffer(content[: len(content) // (2 * channels) * 2 * channels], "<i2")
            if not len(samples):  # cut off while it was read
                return
            yield samples.astype(np.int16).reshape(-1, channels)
            left -= len(samples) // channels

    def _header(self) -> tuple[Format, int]:
        """Return the format and the bytes of sound, and leave the file where the sound begins."""
        riff = self._file.read(12)
        if riff[:4] == b"RF64":
            raise WavError(f"{self._path} is an RF64 file, for more than 4 GiB: {self._remedy()}")
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            raise WavError(f"{self._path} is no WAV file: {self._remedy()}")
        found = None
        while len(chunk := self._file.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data" and found:
                return found, self._sound(found, size)
            start = self._file.tell()
            if name == b"fmt ":
                found = self._format(self._file.read(min(size, 40)))
            self._file.seek(start + size + size % 2)
        raise WavError(f"{self._path} is damaged: it ends before any sound")

    def _format(self, content: bytes) -> Format:
        content = content.ljust(40, b"\0")
        kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", content)
        if kind == _EXTENSIBLE:
            (kind,) = struct.unpack_from("<H", content, 24)
        if kind != _PCM or bits != 16:
            name = _KINDS.get(kind, f"sound of format {kind:#06x}")
            size = f"{bits}-bit " if bits and kind in (_PCM, 3) else ""
            raise WavError(f"{self._path} holds {size}{name}, not 16-bit PCM: {self._remedy()}")
        if not channels or not rate or block != 2 * channels:
            raise WavError(f"{self._path} is damaged: its header contradicts itself")
        if channels > _CHANNELS:
            raise WavError(f"{self._path} has {channels} channels, more than {_CHANNELS}: split it")
        if rate * block > _FASTEST:
            raise WavError(
                f"{self._path} has {channels} x {rate} samples a second: no WAV file can"
            )
        return Format(rate, channels)

    def _sound(self, found: Format, size: int) -> int:
        there = os.fstat(self._file.fileno()).st_size - self._file.tell()
        size = there if size == 0xFFFFFFFF else min(size, there)
        if size < 2 * found.channels:
            raise WavError(f"{self._path} holds no sound")
        if size > _LONGEST:
            raise WavError(f"{self._path} is longer than a WAV file can be: split it")
        return size

    def _remedy(self) -> str:
        made = self._path.with_name(f"{self._path.stem}-16bit.wav")
        source, target = (shlex.quote(str(path)) for path in (self._path, made))
        return f"convert it with `ffmpeg -i {source} -c:a pcm_s16le {target}`"


class Writer:
    """A WAV file that is being written; a context manager.

    Args:
        file: Where to, open for writing; it stays open.
        format: Rate and channels.
    """

    def __init__(self, file: BinaryIO, format: Format) -> None:
        self._wave = wave.Wave_write(file)
        self._wave.setframerate(format.sample_rate)
        self._wave.setnchannels(format.channels)
        self._wave.setsampwidth(2)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._wave.close()

    def write(self, pcm: PCM) -> PCM:
        """Append int16[n, channels]; return the same."""
        self._wave.writeframesraw(pcm.tobytes())
        return pcm
