"""Silero voice activity detection for an AgentSession: rtc.AudioFrames in, VADEvents out.

A drop-in for ``livekit.plugins.silero`` 1.8.9: the same options, defaults and events, equal to the
bit at 16 kHz. What it does better is listed in docs/vad.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
import weakref
from pathlib import Path
from typing import Literal

import numpy as np
from livekit import agents, rtc
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given, log_exceptions
from livekit.agents.vad import VADEvent, VADEventType

from nearvoice.audio import PCM, Framer, Samples, downmix, to_float32
from nearvoice.resample import Resampler
from nearvoice.segment import SegmentBuffer
from nearvoice.silero import SileroVAD
from nearvoice.speech import Boundary, Change, SpeechDetector, SpeechOptions, Step

__all__ = ["VAD", "VADStream"]

logger = logging.getLogger(__name__)

_SLOW = 0.2
"""Seconds for one window after which inference is reported as slow, as upstream."""
_FRAME_WORK, _WINDOW_WORK, _WORK_BETWEEN_YIELDS = 1, 5, 20
"""How often a burst of audio gives the event loop back: 4 windows take half a millisecond, and a
frame that completes none a fifth of a window's time."""
_EVENT_TYPES = {
    Boundary.START: VADEventType.START_OF_SPEECH,
    Boundary.END: VADEventType.END_OF_SPEECH,
}


class VAD(agents.vad.VAD):
    """Silero VAD; one instance serves every session of a process. Make it with :meth:`load`."""

    @classmethod
    def load(
        cls,
        *,
        min_speech_duration: float = 0.05,
        min_silence_duration: float = 0.55,
        prefix_padding_duration: float = 0.5,
        max_buffered_speech: float = 60.0,
        activation_threshold: float = 0.5,
        sample_rate: Literal[8000, 16000] = 16000,
        force_cpu: bool = True,
        onnx_file_path: NotGivenOr[Path | str] = NOT_GIVEN,
        deactivation_threshold: NotGivenOr[float] = NOT_GIVEN,
        smoothing: float = 0.35,
        kernel: Literal["auto", "numpy", "onnxruntime"] = "auto",
        padding_duration: NotGivenOr[float] = NOT_GIVEN,
    ) -> VAD:
        """Load the model; blocks for some 20 milliseconds, so call it in ``prewarm``.

        Args:
            min_speech_duration: Seconds of unbroken speech that start a speech segment.
            min_silence_duration: Seconds of unbroken silence that end it.
            prefix_padding_duration: Seconds of audio from before the start that belong to it.
            max_buffered_speech: Seconds of audio of one segment that its events can carry.
            activation_threshold: Probability from which silence becomes speech.
            sample_rate: Of the network, in Hz; audio of any rate is resampled to it.
            force_cpu: With ``kernel="onnxruntime"``, whether to ignore other execution providers.
            onnx_file_path: Another Silero VAD ONNX file than the downloaded one.
            deactivation_threshold: Probability down to which speech stays speech. By default
                ``max(activation_threshold - 0.15, 0.01)``, also after the latter is updated.
            smoothing: Weight of the past in the exponential average of probabilities; 0 for none.
            kernel: What runs the network: "numpy", "onnxruntime", or "auto" to choose.
            padding_duration: Deprecated upstream: use ``prefix_padding_duration``.

        Raises:
            ValueError: An option is out of its range, or the sample rate is not 8000 or 16000.
            FileNotFoundError: ``onnx_file_path`` is not a file, or the model was not downloaded.
        """
        if is_given(padding_duration):
            logger.warning("padding_duration is deprecated, use prefix_padding_duration instead")
            prefix_padding_duration = padding_duration
        options = SpeechOptions(
            min_speech_duration=min_speech_duration,
            min_silence_duration=min_silence_duration,
            prefix_padding_duration=prefix_padding_duration,
            max_buffered_speech=max_buffered_speech,
            activation_threshold=activation_threshold,
            deactivation_threshold=(
                deactivation_threshold if is_given(deactivation_threshold) else None
            ),
            smoothing=smoothing,
        )
        onnx_file = onnx_file_path if is_given(onnx_file_path) else None
        model = SileroVAD(sample_rate, kernel, onnx_file=onnx_file or None, force_cpu=force_cpu)
        return cls(model, options)

    def __init__(self, model: SileroVAD, options: SpeechOptions) -> None:
        super().__init__(
            capabilities=agents.vad.VADCapabilities(
                update_interval=model.window / model.sample_rate
            )
        )
        self._model = model
        self._options = options
        self._streams = weakref.WeakSet[VADStream]()

    @property
    def model(self) -> str:
        """Name of the model in metrics: "silero"."""
        return "silero"

    @property
    def provider(self) -> str:
        """Provider in metrics: "ONNX", as upstream, whichever kernel runs the weights."""
        return "ONNX"

    @property
    def min_silence_duration(self) -> float | None:
        """Seconds of silence that end speech; AgentSession checks it against its turn detector."""
        return self._options.min_silence_duration

    def stream(self) -> VADStream:
        """Open a stream with a copy of the options as they are now; needs a running event loop."""
        stream = VADStream(self, self._model, self._options)
        self._streams.add(stream)
        return stream

    def update_options(
        self,
        *,
        min_speech_duration: NotGivenOr[float] = NOT_GIVEN,
        min_silence_duration: NotGivenOr[float] = NOT_GIVEN,
        prefix_padding_duration: NotGivenOr[float] = NOT_GIVEN,
        max_buffered_speech: NotGivenOr[float] = NOT_GIVEN,
        activation_threshold: NotGivenOr[float] = NOT_GIVEN,
        deactivation_threshold: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Change options here and in every open stream, from its next window on.

        Raises:
            ValueError: An option is out of its range; nothing is changed then.
        """
        changes = _given(
            min_speech_duration=min_speech_duration,
            min_silence_duration=min_silence_duration,
            prefix_padding_duration=prefix_padding_duration,
            max_buffered_speech=max_buffered_speech,
            activation_threshold=activation_threshold,
            deactivation_threshold=deactivation_threshold,
        )
        self._options = dataclasses.replace(self._options, **changes)
        for stream in self._streams:
            stream.update_options(**changes)


class VADStream(agents.vad.VADStream):
    """One stream of audio. Inference runs on the event loop: it takes tens of microseconds."""

    def __init__(self, vad: VAD, model: SileroVAD, options: SpeechOptions) -> None:
        # before super(), which starts the task that uses them
        self._model = model
        self._rate_change_reported = False
        self._work = 0
        self._reset(0, options)
        super().__init__(vad)

    def update_options(
        self,
        *,
        min_speech_duration: NotGivenOr[float] = NOT_GIVEN,
        min_silence_duration: NotGivenOr[float] = NOT_GIVEN,
        prefix_padding_duration: NotGivenOr[float] = NOT_GIVEN,
        max_buffered_speech: NotGivenOr[float] = NOT_GIVEN,
        activation_threshold: NotGivenOr[float] = NOT_GIVEN,
        deactivation_threshold: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Change options of this stream only, from its next window on.

        Raises:
            ValueError: An option is out of its range; nothing is changed then.
        """
        changes = _given(
            min_speech_duration=min_speech_duration,
            min_silence_duration=min_silence_duration,
            prefix_padding_duration=prefix_padding_duration,
            max_buffered_speech=max_buffered_speech,
            activation_threshold=activation_threshold,
            deactivation_threshold=deactivation_threshold,
        )
        options = dataclasses.replace(self._detector.options, **changes)
        self._detector.options = options
        self._buffer.update(options)

    @log_exceptions(logger=logger)
    async def _main_task(self) -> None:
        async for item in self._input_ch:
            if isinstance(item, self._FlushSentinel):
                self._reset(self._buffer.rate, self._detector.options)
                continue
            await self._give_way(_FRAME_WORK)
            for window in self._windows(item):
                self._hear(window)
                await self._give_way(_WINDOW_WORK)

    async def _give_way(self, work: int) -> None:
        """Let other tasks run now and then, however much audio came at once."""
        self._work += work
        if self._work >= _WORK_BETWEEN_YIELDS:
            self._work = 0
            await asyncio.sleep(0)

    def _reset(self, rate: int, options: SpeechOptions) -> None:
        """Forget everything heard, as if the stream were new."""
        model = self._model
        self._detector = SpeechDetector(model.window / model.sample_rate, options)
        self._buffer = SegmentBuffer(rate, self._detector.window_duration, options)
        self._resampler = Resampler(rate or model.sample_rate, model.sample_rate)
        self._framer = Framer(model.window)
        self._state = model.initial_state()
        self._behind = 0.0
        """Seconds by which inference has fallen behind real time."""

    def _windows(self, frame: rtc.AudioFrame) -> list[Samples]:
        """Return the windows that a frame, of any rate, size and channels, completes."""
        if frame.sample_rate != self._buffer.rate:
            self._set_rate(frame.sample_rate)
        count = frame.samples_per_channel * frame.num_channels
        pcm = downmix(np.frombuffer(frame.data, np.int16, count), frame.num_channels)
        self._buffer.push(pcm)
        return self._framer.push(self._resampler.push(to_float32(pcm)))

    def _set_rate(self, rate: int) -> None:
        if self._buffer.rate and not self._rate_change_reported:
            self._rate_change_reported = True
            logger.warning(
                "the sample rate of the input changed from %d to %d Hz: the resampler restarts",
                self._buffer.rate,
                rate,
            )
        self._buffer.set_rate(rate, waiting=self._framer.filled / self._model.sample_rate)
        self._resampler = Resampler(rate, self._model.sample_rate)

    def _hear(self, window: Samples) -> None:
        started = time.perf_counter()
        probability, self._state = self._model.step(window, self._state)
        step = self._detector.step(probability)
        heard = self._take_input()
        elapsed = time.perf_counter() - started
        self._report_slowness(elapsed)
        self._emit_inference(step, heard, elapsed)
        if step.change is not None:
            self._emit_change(step.change)
        if self._detector.idle:
            self._buffer.trim()

    def _take_input(self) -> PCM:
        was_full = self._buffer.full
        heard = self._buffer.advance()
        if self._buffer.full and not was_full:
            logger.warning(
                "max_buffered_speech reached, ignoring further data for the current speech input"
            )
        return heard

    def _report_slowness(self, elapsed: float) -> None:
        self._behind = max(0.0, self._behind + elapsed - self._detector.window_duration)
        if elapsed > _SLOW:
            logger.warning("VAD inference is slower than realtime", extra={"delay": self._behind})

    def _emit_inference(self, step: Step, heard: PCM, elapsed: float) -> None:
        self._event_ch.send_nowait(
            VADEvent(
                type=VADEventType.INFERENCE_DONE,
                samples_index=self._detector.windows * self._model.window,
                timestamp=self._detector.timestamp,
                speech_duration=step.speech_duration,
                silence_duration=step.silence_duration,
                frames=[self._frame(heard)],
                probability=step.probability,
                inference_duration=elapsed,
                speaking=step.speaking,
                raw_accumulated_silence=step.raw_silence,
                raw_accumulated_speech=step.raw_speech,
            )
        )

    def _emit_change(self, change: Change) -> None:
        self._event_ch.send_nowait(
            VADEvent(
                type=_EVENT_TYPES[change.boundary],
                samples_index=self._detector.windows * self._model.window,
                timestamp=self._detector.timestamp,
                speech_duration=change.speech_duration,
                silence_duration=change.silence_duration,
                frames=[self._frame(self._buffer.segment())],
                speaking=change.boundary is Boundary.START,
            )
        )

    def _frame(self, pcm: PCM) -> rtc.AudioFrame:
        return rtc.AudioFrame(pcm.tobytes(), self._buffer.rate, 1, len(pcm))


def _given(**options: NotGivenOr[float]) -> dict[str, float]:
    return {name: value for name, value in options.items() if is_given(value)}
