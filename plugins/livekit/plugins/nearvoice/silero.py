"""Silero voice activity detection for an AgentSession: rtc.AudioFrames in, VADEvents out.

A drop-in for ``livekit.plugins.silero`` 1.8.9: the same options, defaults and events. What differs,
and how to turn it off, is listed in docs/vad.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from livekit import agents, rtc
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given, log_exceptions
from livekit.agents.vad import VADEvent, VADEventType

from nearvoice.audio import PCM, Framer, Samples, downmix, resample, to_float32, to_int16
from nearvoice.drift import DriftGuard
from nearvoice.resample import Resampler
from nearvoice.segment import SegmentBuffer
from nearvoice.silero import SileroVAD
from nearvoice.speech import Boundary, Change, SpeechDetector, SpeechOptions, Step

from .counters import DRIFT_RESETS, FORCED_ENDS

__all__ = ["VAD", "VADStream"]

logger = logging.getLogger(__name__)

_RATES: tuple[Literal[8000, 16000], ...] = (16000, 8000)
_SLOW = 0.2
"""Seconds for one window after which inference is reported as slow, as upstream."""
_FRAME_WORK, _WINDOW_WORK, _WORK_BETWEEN_YIELDS = 1, 5, 20
"""How often a burst of audio gives the event loop back: 4 windows take half a millisecond, and a
frame that completes none a fifth of a window's time."""
_LOGGED = {Boundary.START: "began", Boundary.END: "ended"}
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
        activation_threshold: float | Literal["auto"] = 0.5,
        sample_rate: NotGivenOr[Literal[8000, 16000]] = NOT_GIVEN,
        force_cpu: bool = True,
        onnx_file_path: NotGivenOr[Path | str] = NOT_GIVEN,
        deactivation_threshold: NotGivenOr[float] = NOT_GIVEN,
        smoothing: float = 0.35,
        drift_reset: bool = True,
        max_speech_duration: float | None = None,
        kernel: Literal["auto", "numba", "numpy", "onnxruntime"] = "auto",
        padding_duration: NotGivenOr[float] = NOT_GIVEN,
    ) -> VAD:
        """Load the model; blocks for some 20 milliseconds, so call it in ``prewarm``.

        Args:
            min_speech_duration: Seconds of unbroken speech that start a speech segment.
            min_silence_duration: Seconds of unbroken silence that end it.
            prefix_padding_duration: Seconds of audio from before the start that belong to it.
            max_buffered_speech: Seconds of audio of one segment that its events can carry.
            activation_threshold: Probability from which silence becomes speech; "auto" learns it
                from the stream, for quiet and far callers, see docs/vad-threshold.md.
            sample_rate: Of the network, in Hz; audio of any rate is resampled to it. By default
                16000, and for audio that comes at 8000 Hz the network of that rate; with
                ``onnx_file_path`` 16000 alone, as a file may have no other.
            force_cpu: With ``kernel="onnxruntime"``, whether to ignore other execution providers.
            onnx_file_path: Another Silero VAD ONNX file than the downloaded one.
            deactivation_threshold: Probability down to which speech stays speech. By default
                ``max(activation_threshold - 0.15, 0.01)``, also after the latter is updated, and
                0.7 times one that is learnt.
            smoothing: Weight of the past in the exponential average of probabilities; 0 for none.
            drift_reset: Whether the network's memory fades while nobody speaks, so that speech
                after long noise or music is heard at once, see docs/vad-drift.md.
            max_speech_duration: Seconds of speech after which its end is forced, with a warning;
                None for never.
            kernel: What runs the network: "numba", "numpy", "onnxruntime", or "auto" to choose,
                see :class:`nearvoice.SileroVAD`.
            padding_duration: Deprecated upstream: use ``prefix_padding_duration``.

        Raises:
            ValueError: An option is out of its range, or the sample rate is not 8000 or 16000.
            FileNotFoundError: ``onnx_file_path`` is not a file, or the model was not downloaded.
            nearvoice.kernels.image.ImageError: ``kernel="numba"`` cannot run on this machine.
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
            max_speech_duration=max_speech_duration,
        )
        onnx_file = (onnx_file_path or None) if is_given(onnx_file_path) else None
        rates = (
            (sample_rate,)
            if is_given(sample_rate)
            else (_RATES if onnx_file is None else _RATES[:1])
        )
        models = [SileroVAD(r, kernel, onnx_file=onnx_file, force_cpu=force_cpu) for r in rates]
        return cls(models, options, drift_reset=drift_reset)

    def __init__(
        self, models: Sequence[SileroVAD], options: SpeechOptions, *, drift_reset: bool = True
    ) -> None:
        """Make a VAD of loaded networks.

        Args:
            models: The first hears audio of any rate, but that of the sample rate of another.
            options: When to believe them.
            drift_reset: Whether their memory fades while nobody speaks.
        """
        window = models[0].window / models[0].sample_rate
        super().__init__(capabilities=agents.vad.VADCapabilities(update_interval=window))
        self._models = {model.sample_rate: model for model in models}
        self._any = models[0]
        self._options = options
        self._drift_reset = drift_reset
        self._streams = weakref.WeakSet[VADStream]()
        self.forced_ends = 0
        """Ends of speech that ``max_speech_duration`` forced, in all streams so far."""

    @property
    def kernel(self) -> str:
        """What runs the network now: "numba", "numpy" or "onnxruntime"."""
        return self._any.kernel

    @property
    def drift_reset(self) -> bool:
        """Whether the network's memory fades while nobody speaks."""
        return self._drift_reset

    def model_for(self, rate: int) -> SileroVAD:
        """Return the network that hears audio of ``rate`` Hz."""
        return self._models.get(rate, self._any)

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
        stream = VADStream(self, self._options)
        self._streams.add(stream)
        return stream

    def update_options(
        self,
        *,
        min_speech_duration: NotGivenOr[float] = NOT_GIVEN,
        min_silence_duration: NotGivenOr[float] = NOT_GIVEN,
        prefix_padding_duration: NotGivenOr[float] = NOT_GIVEN,
        max_buffered_speech: NotGivenOr[float] = NOT_GIVEN,
        activation_threshold: NotGivenOr[float | Literal["auto"]] = NOT_GIVEN,
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

    def __init__(self, vad: VAD, options: SpeechOptions) -> None:
        # before super(), which starts the task that uses them
        self._owner = vad
        self._rate_change_reported = False
        self._forced_end_reported = False
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
        activation_threshold: NotGivenOr[float | Literal["auto"]] = NOT_GIVEN,
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
                learnt = self._detector.adaptive  # of the caller, who is still the same
                self._reset(self._buffer.rate, self._detector.options)
                self._detector.adaptive = learnt
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
        model = self._model = self._owner.model_for(rate)
        self._state = model.initial_state()
        self._detector = SpeechDetector(model.window / model.sample_rate, options)
        self._guard = DriftGuard(self._detector.window_duration)
        self._fades = 0
        """Of the guard, that were counted."""
        self._buffer = SegmentBuffer(rate, self._detector.window_duration, options)
        self._resampler = self._new_resampler(rate or model.sample_rate)
        self._framer = Framer(model.window)
        self._behind = 0.0
        """Seconds by which inference has fallen behind real time."""

    def _new_resampler(self, rate: int) -> Resampler:
        # "auto", not "numba": where the image has gone since, numpy does
        kernel: Literal["auto", "numpy"] = "auto" if self._model.kernel == "numba" else "numpy"
        return Resampler(rate, self._model.sample_rate, kernel)

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
        model = self._owner.model_for(rate)
        if model is not self._model:
            waiting = to_int16(self._framer.waiting)
            pcm = resample(waiting, self._model.sample_rate, model.sample_rate)
            self._model, self._state = model, model.initial_state()
            self._framer = Framer(model.window)
            self._framer.push(to_float32(pcm))
        self._buffer.set_rate(rate, waiting=len(self._framer.waiting) / model.sample_rate)
        self._resampler = self._new_resampler(rate)

    def _hear(self, window: Samples) -> None:
        started = time.perf_counter()
        probability, self._state = self._model.step(window, self._state)
        if self._owner.drift_reset:
            self._state = self._guard.step(probability, self._state)
            if self._guard.fades != self._fades:
                self._fades = self._guard.fades
                DRIFT_RESETS.inc()
        step = self._detector.step(probability)
        heard = self._take_input()
        elapsed = time.perf_counter() - started
        self._report_slowness(elapsed)
        self._emit_inference(step, heard, elapsed)
        if step.change is not None:
            self._emit_change(step.change)
            self._log(step.change, probability)
            if step.change.forced:
                self._report_forced_end()
        if self._detector.idle:
            self._buffer.trim()

    def _log(self, change: Change, probability: float) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            decided = {
                "probability": probability,
                "threshold": self._detector.activation,
                "timestamp": self._detector.timestamp,
                "model": f"silero {self._model.kernel}",
                **change._asdict(),
                "boundary": change.boundary.value,
            }
            logger.debug("speech %s", _LOGGED[change.boundary], extra=decided)

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

    def _report_forced_end(self) -> None:
        self._buffer.forget()
        self._owner.forced_ends += 1
        FORCED_ENDS.inc()
        if not self._forced_end_reported:
            self._forced_end_reported = True
            logger.warning(
                "speech did not end within max_speech_duration (%g s): its end is forced, now and "
                "whenever that happens again in this stream; hold music or noise may be the cause",
                self._detector.options.max_speech_duration,
            )

    def _emit_inference(self, step: Step, heard: PCM, elapsed: float) -> None:
        self._event_ch.send_nowait(
            VADEvent(
                type=VADEventType.INFERENCE_DONE,
                samples_index=self._detector.windows * self._model.window,
                timestamp=self._detector.timestamp,
                speech_duration=step.speech_duration,
                silence_duration=step.silence_duration,
                frames=[self._frame(heard.tobytes())],
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

    def _frame(self, pcm: bytes | memoryview) -> rtc.AudioFrame:
        return rtc.AudioFrame(pcm, self._buffer.rate, 1, len(pcm) // 2)


def _given(**options: NotGivenOr[Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if is_given(value)}
