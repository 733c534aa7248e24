"""Noise suppression on this machine's CPU: rtc.AudioFrames in, the same frames without noise out.

For where LiveKit's documentation has ``livekit.plugins.noise_cancellation``, which works in its
cloud alone: the same three names. What each removes, and what not, is in docs/noise.md.
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import AsyncIterable, AsyncIterator
from typing import ClassVar, Literal

import numpy as np
from livekit import rtc

from nearvoice.audio import PCM, to_float32, to_int16
from nearvoice.denoise import Denoiser
from nearvoice.networks import Kernel

from .counters import DEGRADED_FRAMES

__all__ = ["BVC", "NC", "BVCTelephony", "NoiseSuppressor", "filter"]

logger = logging.getLogger(__name__)

_ROOM_RATE = 24_000
"""Sample rate, in Hz, of the frames that a room delivers unless told otherwise."""
_STREAMS = 4
"""Kinds of frames, of one rate and number of channels each, that one object remembers."""
_SPARE = 0.1
"""Seconds of the input that are kept beyond the delay, should it grow."""


class NoiseSuppressor(rtc.FrameProcessor[rtc.AudioFrame]):
    """What :class:`NC`, :class:`BVC` and :class:`BVCTelephony` have in common.

    One object is for one participant: frames of two, mixed, would be one sound to it. Frames come
    back with their rate, channels, number of samples and ``userdata``, and the sound in them
    :meth:`delay` later. Each kind of frames (rate, channels) is a stream of its own, as what a
    client recorded before it was connected comes in between at another rate.

    Args:
        strength: How much of what the network would remove is removed, from 0 (nothing) to 1; may
            be changed at any time, see :attr:`strength`.
        attenuation_limit: Decibels by which any frequency is lowered at most; None for no limit.
            By default 24 for :class:`NC`, and none for the others.
        level: Whether quiet callers are brought to the level the network knows, and back.
        bypass: Whether the network sleeps on digital silence and on long clean stretches.
        kernel: What runs the network: "numba", "numpy", "onnxruntime", or "auto" to choose, see
            :class:`nearvoice.Denoiser`.

    Raises:
        ValueError: An option is out of its range.
        nearvoice.files.MissingFileError: The model has not been downloaded; a FileNotFoundError.
        nearvoice.arrays.WeightsError: Its arrays are damaged; ``nearvoice download-files`` makes
            them again.
        nearvoice.kernels.image.ImageError: ``kernel="numba"`` cannot run on this machine.
    """

    _model: ClassVar[Literal["gtcrn", "hush"]]
    _band: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        strength: float = 1.0,
        attenuation_limit: float | Literal["auto"] | None = "auto",
        level: bool = True,
        bypass: bool = True,
        kernel: Kernel = "auto",
    ) -> None:
        self._strength = _checked(strength)
        self._attenuation_limit = attenuation_limit
        self._level = level
        self._bypass = bypass
        self._kernel = kernel
        self._enabled = True
        self._closed = False
        self._publication: str | None = None
        self._streams: dict[tuple[int, int], _Stream] = {}
        """By rate and channels; the one heard last comes last."""
        self._warned = False
        self.degraded = 0
        """Frames that passed with their noise, as the network had failed."""
        self._denoiser(_ROOM_RATE, _chunk(_ROOM_RATE))  # bad options and missing files raise here

    @property
    def model(self) -> str:
        """Name of the network: "gtcrn" or "hush"."""
        return self._model

    @property
    def strength(self) -> float:
        """How much of what the network would remove is removed, from 0 to 1.

        Set it to turn noise suppression down, off (0) and on during a call, from any thread: the
        delay stays, so there is no click. While :attr:`enabled` is False LiveKit passes frames by,
        with no delay.

        Raises:
            ValueError: Set to something out of this range; nothing is changed then.
        """
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = _checked(value)

    @property
    def enabled(self) -> bool:
        """Whether noise is removed; while not, what still comes here comes out delayed as ever."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if value == self._enabled:
            return
        self._enabled = value
        if value:
            # Streams that LiveKit passed by would begin with what they heard before.
            for key, stream in self._streams.copy().items():
                if not stream.heard:
                    self._streams.pop(key, None)
        for stream in list(self._streams.values()):
            stream.heard = False

    def delay(self, sample_rate: int = _ROOM_RATE) -> float:
        """Return the seconds by which sound of ``sample_rate`` Hz comes out later.

        Before such sound has come: as it will be in frames of 10, 20 or 50 ms.

        Raises:
            ValueError: Sound of this rate cannot be processed.
        """
        for (rate, _), stream in self._streams.copy().items():
            if rate == sample_rate:
                return stream.delay / rate
        return self._denoiser(sample_rate, _chunk(sample_rate)).delay

    def reset(self) -> None:
        """Forget everything heard, as if new; a network that failed is tried again."""
        self._streams.clear()

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        if self._closed:
            return frame
        try:
            return self._processed(frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must still be heard
            self._degrade(frame, error)
            return frame

    def _on_stream_info_updated(
        self, *, room_name: str, participant_identity: str, publication_sid: str
    ) -> None:
        # Also opens what was closed: a selector may return one object for one track after another.
        if self._closed or publication_sid != self._publication:
            self.reset()
        self._closed = False
        self._publication = publication_sid

    def _close(self) -> None:
        self._closed = True
        self.reset()

    def _processed(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        count = frame.samples_per_channel * frame.num_channels
        if not count:
            return _frame(_NOTHING, frame)
        # a frame's data may be longer than it says
        pcm = np.frombuffer(frame.data, np.int16, count).reshape(-1, frame.num_channels)
        stream = self._stream(frame)
        out = _frame(stream.process(pcm, self._strength_now), frame)
        if stream.failure is not None:
            self._degrade(frame, stream.failure)
        return out

    def _stream(self, frame: rtc.AudioFrame) -> _Stream:
        key = (frame.sample_rate, frame.num_channels)
        stream = self._streams.pop(key, None)
        if stream is None:
            stream = self._open(frame)
            for oldest in list(self._streams)[: 1 - _STREAMS]:  # another thread may drop some, too
                self._streams.pop(oldest, None)
        self._streams[key] = stream
        return stream

    def _open(self, frame: rtc.AudioFrame) -> _Stream:
        rate = frame.sample_rate
        chunk = _chunk(rate, frame.samples_per_channel)
        try:
            denoisers = [self._denoiser(rate, chunk) for _ in range(frame.num_channels)]
        except Exception as error:  # noqa: BLE001 - as any that comes later
            stream = _Stream([], rate, frame.num_channels, chunk)
            stream.failure = error
            return stream
        return _Stream(denoisers, rate, frame.num_channels, chunk)

    def _denoiser(self, rate: int, chunk: int) -> Denoiser:
        return Denoiser(
            self._model,
            rate,
            kernel=self._kernel,
            strength=self._strength_now,
            attenuation_limit=self._attenuation_limit,
            level=self._level,
            bypass=self._bypass,
            band=self._band,
            chunk=chunk,
        )

    @property
    def _strength_now(self) -> float:
        """Given to a stream with each frame, as another thread may set it at any time."""
        return self._strength if self._enabled else 0.0

    def _tail(self, last: rtc.AudioFrame) -> rtc.AudioFrame | None:
        """Return what frames like ``last`` hold back, None when that is nothing, and forget it."""
        stream = self._streams.pop((last.sample_rate, last.num_channels), None)
        if stream is None or not stream.delay:
            return None
        pcm = stream.flush(self._strength_now)
        return rtc.AudioFrame(
            bytearray(pcm.tobytes()), last.sample_rate, last.num_channels, len(pcm)
        )

    def _degrade(self, frame: rtc.AudioFrame, error: Exception) -> None:
        self.degraded += 1
        DEGRADED_FRAMES.labels(self._model).inc()
        if self._warned:
            return
        self._warned = True
        logger.warning(
            "%s stopped: sound of %d Hz passes with its noise from now on, as %s: %s. `nearvoice "
            "doctor` checks files and kernels; another kernel= may do; reset() tries again",
            type(self).__name__,
            frame.sample_rate,
            type(error).__name__,
            error,
            exc_info=error,
        )


class NC(NoiseSuppressor):
    """Removes noise and keeps every voice: GTCRN, small and fast; its sound is 30 ms late.

    See :class:`NoiseSuppressor` for the options.
    """

    _model = "gtcrn"


class BVC(NoiseSuppressor):
    """Removes noise and voices in the background: Hush, which keeps the near voice; 10 ms late.

    See :class:`NoiseSuppressor` for the options.
    """

    _model = "hush"


class BVCTelephony(BVC):
    """:class:`BVC` for callers by telephone, whatever the rate their sound comes at.

    The network hears up to 4 kHz, the band of a telephone line, and adds nothing above it.
    """

    _band = 4_000


async def filter(  # the name is LiveKit's for what stands in front of a node
    frames: AsyncIterable[rtc.AudioFrame], processor: NoiseSuppressor
) -> AsyncIterator[rtc.AudioFrame]:
    """Remove the noise from a stream of frames, for ``stt_node`` and wherever there is no room.

    Frames come out one for one. When ``frames`` end, or go on at another rate, one more has what
    was held back, so no sound is lost.

    Args:
        frames: Of one participant.
        processor: An object for this stream alone.
    """
    last: rtc.AudioFrame | None = None
    async for frame in frames:
        if last is not None and _kind(frame) != _kind(last):
            tail = processor._tail(last)
            if tail is not None:
                yield tail
        yield processor._process(frame)
        last = frame
    if last is not None and (tail := processor._tail(last)) is not None:
        yield tail


class _Stream:
    """Frames of one rate and number of channels.

    Args:
        denoisers: One for each channel.
        rate: In Hz.
        channels: How many.
        chunk: Samples that come at a time, when always a multiple of it.
    """

    def __init__(self, denoisers: list[Denoiser], rate: int, channels: int, chunk: int) -> None:
        self.denoisers = denoisers
        self.failure: Exception | None = None
        """Why sound passes with its noise, if it does."""
        self.heard = False
        """Whether something came since noise suppression was turned on or off."""
        self._chunk = chunk
        self._past: PCM = np.zeros((self.delay + int(_SPARE * rate), channels), np.int16)
        """The newest of the input, to go on with if a network fails."""

    @property
    def delay(self) -> int:
        """Samples by which the output is late."""
        return max((denoiser.delay_samples for denoiser in self.denoisers), default=0)

    def process(self, pcm: PCM, strength: float) -> PCM:
        """Take int16[n, channels]; return as much, denoised, or when that failed only delayed."""
        self.heard = True
        heard = np.concatenate((self._past, pcm))
        self._past = heard[len(pcm) :]
        if self.failure is None:
            try:
                return self._denoised(pcm, strength)
            except Exception as error:  # noqa: BLE001 - the network's, whatever it is
                self.failure = error
        end = len(heard) - self.delay
        return heard[end - len(pcm) : end]

    def flush(self, strength: float) -> PCM:
        """Return what is held back, int16[delay, channels]; ends the stream."""
        held = self._past[:0]
        while len(held) < self.delay:  # again, where this makes it grow
            missing = -(-(self.delay - len(held)) // self._chunk) * self._chunk
            silence = np.zeros((missing, self._past.shape[1]), np.int16)
            held = np.concatenate((held, self.process(silence, strength)))
        return held[: self.delay]

    def _denoised(self, pcm: PCM, strength: float) -> PCM:
        out = np.empty_like(pcm)
        for channel, denoiser in enumerate(self.denoisers):
            denoiser.strength = strength
            out[:, channel] = to_int16(denoiser.process(to_float32(pcm[:, channel])))
        return out


_NOTHING: PCM = np.empty(0, np.int16)


def _frame(pcm: PCM, like: rtc.AudioFrame) -> rtc.AudioFrame:
    """Return a frame of new samples with everything else as it was."""
    return rtc.AudioFrame(
        bytearray(pcm.tobytes()),  # writable, as what comes next may work in place
        like.sample_rate,
        like.num_channels,
        like.samples_per_channel,
        userdata=like.userdata,
    )


def _kind(frame: rtc.AudioFrame) -> tuple[int, int]:
    return frame.sample_rate, frame.num_channels


def _chunk(rate: int, size: int = 0) -> int:
    """Return the samples that come at a time where frames of ``size`` do: 10 ms, or else 1."""
    whole, rest = divmod(rate, 100)
    return 1 if rest or size % whole else whole


def _checked(strength: float) -> float:
    if not isinstance(strength, numbers.Real) or not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength must be from 0 to 1, got {strength!r}")
    return float(strength)
