"""Sound in, in chunks of any size, a spectrogram as wide as a picture out; two of them, drawn.

An hour needs no more memory than a second: neighbouring spectra are averaged into columns.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

F32 = npt.NDArray[np.float32]

COLUMNS = 1400
"""At most so many; the panel of a picture has about as many pixels."""
WINDOW = 0.032
"""Seconds of sound in a spectrum: 31 Hz are told apart, the harmonics of any voice."""
RANGE = 70.0
"""Decibels between the darkest and the brightest colour."""
COLOURS = "magma"
"""Grows evenly in lightness, so it is read without telling red from green, and in print."""
_SHORTEST_HOP = 0.001
_SILENCE = 1e-12
"""Power that is drawn as nothing, -120 dB."""


class MissingMatplotlibError(ImportError):
    """Pictures cannot be drawn here; the message says what to install."""


class Spectrogram:
    """The power of a sound over time and frequency, averaged over its channels.

    Args:
        sample_rate: In Hz.
        samples: How many will come, of each channel.
    """

    def __init__(self, sample_rate: int, samples: int) -> None:
        self.seconds = samples / sample_rate
        self.highest = sample_rate / 2
        """Frequency of the last bin, in Hz."""
        self._size = 2 * max(1, round(WINDOW * sample_rate / 2))
        shortest = max(1, round(_SHORTEST_HOP * sample_rate))
        self._hop = min(max(samples // COLUMNS, shortest), self._size // 2)
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        self._frames = samples // self._hop + 1
        columns = min(self._frames, COLUMNS)
        self._power = np.zeros((columns, self._size // 2 + 1))
        self._count = np.zeros(columns)
        self._rest: F32 | None = None
        """What the next window begins with, float32[n, channels]."""
        self._next = 0
        """Index of the next window; its middle is at ``_next * _hop`` samples."""

    def push(self, sound: F32) -> None:
        """Take float32[n, channels] in, full scale at 1.0."""
        if self._rest is None:  # so that the first window has the first sample in its middle
            self._rest = np.zeros((self._size // 2, sound.shape[1]), np.float32)
        sound = np.concatenate((self._rest, sound))
        windows = max(0, (len(sound) - self._size) // self._hop + 1)
        windows = min(windows, self._frames - self._next)
        if windows:
            self._add(sound, windows)
        self._rest = sound[windows * self._hop :]

    def _add(self, sound: F32, windows: int) -> None:
        used = sound[: (windows - 1) * self._hop + self._size]
        index = (self._next + np.arange(windows)) * len(self._power) // self._frames
        for channel in used.T:
            cut = np.lib.stride_tricks.sliding_window_view(channel, self._size)[:: self._hop]
            power = np.abs(np.fft.rfft(cut * self._window)) ** 2
            np.add.at(self._power, index, power / used.shape[1])
        np.add.at(self._count, index, 1)
        self._next += windows

    def decibels(self) -> F32:
        """Return float32[columns, bins] of all that was pushed; nothing may be pushed after.

        A sine at full scale has 0 dB, and nothing is below -120 dB. Bins are evenly spaced from
        0 Hz to :attr:`highest`.
        """
        if self._rest is not None:
            end = np.zeros((self._size // 2, self._rest.shape[1]), np.float32)
            self.push(end)
        sine = (self._window.sum() / 2) ** 2
        power = self._power / np.maximum(self._count, 1)[:, None] / sine
        decibels: F32 = (10 * np.log10(np.maximum(power, _SILENCE))).astype(np.float32)
        return decibels


def require_matplotlib() -> None:
    """Find out before any work is done whether :func:`draw` can.

    Raises:
        MissingMatplotlibError: It cannot.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingMatplotlibError(
            f"a picture needs matplotlib ({error}): run `pip install matplotlib`, "
            "or install livekit-plugins-nearvoice with its extra [bench]"
        ) from error


def draw(before: Spectrogram, after: Spectrogram, path: Path, title: str) -> None:
    """Save two spectrograms of the same length and rate, one above the other, as PNG.

    The picture is 1600 pixels wide. Both have the same colours, brightest at the loudest of
    ``before``.

    Raises:
        OSError: ``path`` cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a file name in any script
        _figure(before, after, title).savefig(path, format="png", dpi=100)


def _figure(before: Spectrogram, after: Spectrogram, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 9), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    sounds = {"before": before.decibels(), "after": after.decibels()}
    loudest = 10.0 * np.ceil(np.percentile(sounds["before"], 99.9) / 10)
    for panel, (name, decibels) in zip(panels, sounds.items(), strict=True):
        image = _panel(panel, name, decibels, before, loudest)
    panels[1].set_xlabel("time in s", fontsize=18)
    colours = figure.colorbar(image, ax=panels, pad=0.01, aspect=30)
    colours.set_label("power in dB of full scale", fontsize=18)
    colours.ax.tick_params(labelsize=16)
    figure.suptitle(title, fontsize=22)
    return figure


def _panel(panel: Axes, name: str, decibels: F32, of: Spectrogram, loudest: float) -> Any:  # noqa: ANN401
    image = panel.imshow(
        decibels.T,
        origin="lower",
        aspect="auto",
        extent=(0, of.seconds, 0, of.highest / 1000),
        cmap=COLOURS,
        vmin=loudest - RANGE,
        vmax=loudest,
    )
    panel.set_title(name, fontsize=20, loc="left")
    panel.set_ylabel("frequency in kHz", fontsize=18)
    panel.tick_params(labelsize=16)
    return image
