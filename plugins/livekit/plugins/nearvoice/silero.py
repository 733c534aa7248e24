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

from nearvoice.audio import PCM, Framer, Resampler, SampleQueue, downmix, resample, to_float32
from nearvoice.silero import SileroVAD
from nearvoice.speech import Boundary, SpeechDetector, SpeechOptions, Step

__all__ = ["VAD", "VADStream"]

logger = logging.getLogger(__name__)

_SLOW = 0.2
"""Seconds for one window after which inference is reported as slow, as upstream."""
_WINDOWS_BETWEEN_YIELDS = 8
"""How often a burst of audio gives the event loop back: 8 windows take half a millisecond."""
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
        """Load the model; blocks for a few milliseconds, so call it in ``prewarm``.

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
        self._options = options
        self._rate = 0
        self._rate_change_reported = False
        self._since_yield = 0
        self._reset()
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
        before = self._options
        self._options = self._detector.options = dataclasses.replace(before, **changes)
        self._speech.truncate(self._capacity)
        if self._options.max_buffered_speech > before.max_buffered_speech:
            self._full_reported = False

    @log_exceptions(logger=logger)
    async def _main_task(self) -> None:
        async for item in self._input_ch:
            if isinstance(item, self._FlushSentinel):
                self._reset()
                continue
            for window in self._windows(item):
                self._hear(window)
                self._since_yield += 1
                if self._since_yield >= _WINDOWS_BETWEEN_YIELDS:
                    self._since_yield = 0
                    await asyncio.sleep(0)

    def _reset(self) -> None:
        """Forget everything heard, as if the stream were new; the input rate stays known."""
        model = self._model
        self._detector = SpeechDetector(model.window / model.sample_rate, self._options)
        self._state = model.initial_state()
        self._framer = Framer(model.window)
        self._resampler = Resampler(self._rate or model.sample_rate, model.sample_rate)
        self._pending = SampleQueue()
        """Input that no window has accounted for yet, at the input rate."""
        self._speech = SampleQueue()
        """Prefix padding and speech, at the input rate: what START and END carry."""
        self._full_reported = False
        self._fraction = 0.0
        """Input samples owed to the next window when the rates do not divide evenly."""
        self._behind = 0.0
        """Seconds by which inference has fallen behind real time."""

    @property
    def _prefix(self) -> int:
        return int(self._options.prefix_padding_duration * self._rate)

    @property
    def _capacity(self) -> int:
        return int(self._options.max_buffered_speech * self._rate) + self._prefix

    def _windows(self, frame: rtc.AudioFrame) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        if frame.sample_rate != self._rate:
            self._set_rate(frame.sample_rate)
        count = frame.samples_per_channel * frame.num_channels
        pcm = downmix(np.frombuffer(frame.data, np.int16, count), frame.num_channels)
        self._pending.append(pcm)
        return self._framer.push(self._resampler.push(to_float32(pcm)))

    def _set_rate(self, rate: int) -> None:
        """Take ``rate`` as the input rate; what is buffered at another rate is resampled once."""
        if self._rate:
            if not self._rate_change_reported:
                logger.warning(
                    "the sample rate of the input changed from %d to %d Hz: the resampler restarts",
                    self._rate,
                    rate,
                )
                self._rate_change_reported = True
            for queue in (self._pending, self._speech):
                kept = resample(queue.peek(len(queue)), self._rate, rate)
                queue.clear()
                queue.append(kept)
            self._fraction = 0.0
        self._rate = rate
        self._resampler = Resampler(rate, self._model.sample_rate)

    def _hear(self, window: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
        started = time.perf_counter()
        probability, self._state = self._model.step(window, self._state)
        step = self._detector.step(probability)
        heard = self._take_input()
        self._keep(heard)
        elapsed = time.perf_counter() - started
        self._report_slowness(elapsed)
        self._emit_inference(step, heard, elapsed)
        if step.change is not None:
            self._emit_change(step)
        if self._detector.idle:
            self._trim()

    def _take_input(self) -> PCM:
        """Return the input samples of one window, on average exactly its duration."""
        due = self._model.window * (self._rate / self._model.sample_rate) + self._fraction
        heard = self._pending.peek(int(due))
        self._pending.drop(len(heard))
        self._fraction = due - len(heard)
        return heard

    def _keep(self, heard: PCM) -> None:
        room = self._capacity - len(self._speech)
        if room > 0:
            self._speech.append(heard[:room])
        elif not self._full_reported:
            self._full_reported = True
            logger.warning(
                "max_buffered_speech reached, ignoring further data for the current speech input"
            )

    def _trim(self) -> None:
        excess = len(self._speech) - self._prefix
        if excess > 0:
            self._speech.drop(excess)
            self._full_reported = False

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

    def _emit_change(self, step: Step) -> None:
        assert step.change is not None
        self._event_ch.send_nowait(
            VADEvent(
                type=_EVENT_TYPES[step.change.boundary],
                samples_index=self._detector.windows * self._model.window,
                timestamp=self._detector.timestamp,
                speech_duration=step.change.speech_duration,
                silence_duration=step.change.silence_duration,
                frames=[self._frame(self._speech.peek(len(self._speech)))],
                speaking=step.change.boundary is Boundary.START,
            )
        )

    def _frame(self, pcm: PCM) -> rtc.AudioFrame:
        return rtc.AudioFrame(pcm.tobytes(), self._rate, 1, len(pcm))


def _given(**options: NotGivenOr[float]) -> dict[str, float]:
    return {name: value for name, value in options.items() if is_given(value)}
