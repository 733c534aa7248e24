"""What a run of the benchmarks is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nearvoice import files

from . import data


@dataclass(frozen=True)
class Settings:
    """Options of the command line, the same for every task."""

    rounds: int = 5
    """Times that each system has its turn where time is measured."""
    quick: bool = False
    """Whether a small part of each set will do, and few rounds."""
    jobs: int = 1
    """Processes that predict, where time is not measured."""
    streams: int = 1000
    """Of vad-memory."""
    folder: Path | None = None
    """With the data; None for what the environment names, see :mod:`benchmarks.data`."""
    sound: Path | None = None
    """16-bit WAV to hear where any will do; None for the sample call."""
    eot: Path | None = None
    """eot-bench's data set."""
    recogniser: str = "benchmarks.noise_words:whisper"
    """``MODULE:FUNCTION`` of noise-words."""

    @property
    def data(self) -> Path:
        """The data folder.

        Raises:
            MissingDataError: There is none.
        """
        return data.data_folder(self.folder)

    @property
    def audio(self) -> Path:
        """What to hear where any sound will do."""
        return self.sound or files.path("sample.wav")
