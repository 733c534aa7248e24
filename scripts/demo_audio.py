"""A WAV, FLAC or MP3 file in, int16 mono samples and their rate out."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


class NotAudioError(ValueError):
    """The file cannot be played to the agent; the message names it and says why in one line."""


def read(path: Path) -> tuple[npt.NDArray[np.int16], int]:
    """Return the first audio stream of a file, mixed down to mono at its own rate.

    Raises:
        NotAudioError: There is no such file, it is not audio, or it holds no sound at all.
    """
    if not path.is_file():
        raise NotAudioError(f"{path}: no such file")
    try:
        samples, rate = _decode(path)
    except av.FFmpegError as error:
        raise NotAudioError(f"{path}: not an audio file ({error.strerror})") from error
    if not len(samples):
        raise NotAudioError(f"{path}: holds no audio")
    return samples, rate


def _decode(path: Path) -> tuple[npt.NDArray[np.int16], int]:
    chunks = []
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise NotAudioError(f"{path}: holds no audio")
        stream = container.streams.audio[0]
        to_mono = av.AudioResampler(format="s16", layout="mono", rate=stream.rate)
        for frame in container.decode(stream):
            chunks += to_mono.resample(frame)
        if chunks:
            chunks += to_mono.resample(None)
        rate = stream.rate
    samples = [chunk.to_ndarray().reshape(-1) for chunk in chunks]
    return np.concatenate([np.empty(0, np.int16), *samples]).astype(np.int16), rate
