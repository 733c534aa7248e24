"""The sound of a speech segment: input samples in; out, window by window, what belongs to it.

The network hears resampled windows, but events carry the sound as it came in. This keeps account
of which input samples each window stands for, and of the prefix padding and speech before it.
"""

from __future__ import annotations

import numpy as np

from .audio import PCM, SampleQueue, resample
from .speech import SpeechOptions


class SegmentBuffer:
    """int16 mono samples of one stream at its input rate.

    Args:
        rate: Of the input, in Hz; 0 while it is not known.
        window_duration: Seconds of audio behind each window of the network.
        options: How much is kept: ``prefix_padding_duration`` and ``max_buffered_speech``.
    """

    def __init__(self, rate: int, window_duration: float, options: SpeechOptions) -> None:
        self.rate = rate
        self.full = False
        """Whether a window found no room, since the segment was last trimmed."""
        self._window_duration = window_duration
        self._options = options
        self._pending = SampleQueue()
        self._segment = SampleQueue()
        self._fraction = 0.0
        """Part of a sample owed to the next window when the rates do not divide evenly."""
        self._set_limits()

    @property
    def nbytes(self) -> int:
        """Memory of the samples, in bytes."""
        return self._pending.nbytes + self._segment.nbytes

    def _set_limits(self) -> None:
        self._prefix = int(self._options.prefix_padding_duration * self.rate)
        self._capacity = int(self._options.max_buffered_speech * self.rate) + self._prefix

    def push(self, pcm: PCM) -> None:
        """Take int16[n] of input."""
        self._pending.append(pcm)

    def advance(self) -> PCM:
        """Return the input samples of the next window; they join the segment if there is room.

        On average they last exactly as long as the window.
        """
        due = self._window_duration * self.rate + self._fraction
        heard = self._pending.peek(int(due))
        self._pending.drop(len(heard))
        self._fraction = due - len(heard)
        room = self._capacity - len(self._segment)
        self._segment.append(heard[: max(0, room)])
        self.full |= room <= 0
        return heard

    def segment(self) -> memoryview:
        """Return the int16 samples of the prefix padding and all of the speech so far, as bytes."""
        return self._segment.snapshot()

    def trim(self) -> None:
        """Keep only what would be the prefix padding of speech that starts now."""
        excess = len(self._segment) - self._prefix
        if excess > 0:
            self._segment.drop(excess)
            self.full = False

    def forget(self) -> None:
        """Drop prefix padding and speech: what was handed out once is not handed out again."""
        self._segment.clear()
        self.full = False

    def update(self, options: SpeechOptions) -> None:
        """Take new options; a smaller capacity cuts the segment, a larger one takes on again."""
        if options.max_buffered_speech > self._options.max_buffered_speech:
            self.full = False
        self._options = options
        self._set_limits()
        self._segment.truncate(self._capacity)

    def set_rate(self, rate: int, waiting: float = 0.0) -> None:
        """Go on at another input rate: what is kept is resampled, some ms per 10 s of it.

        Args:
            rate: The new one, in Hz.
            waiting: Seconds of input that the next window has already; what is older never came
                out of the resampler that ends here, and is dropped.
        """
        old = self.rate or rate
        self._pending.drop(len(self._pending) - round(waiting * old))
        counts = round(waiting * rate), round(len(self._segment) / old * rate)
        for queue, count in zip((self._pending, self._segment), counts, strict=True):
            kept = resample(queue.peek(len(queue)), old, rate)[:count]
            queue.clear()
            queue.append(kept)
            last = kept[-1] if len(kept) else 0
            queue.append(np.full(count - len(kept), last, np.int16))  # rounded away, one at most
        self.rate = rate
        self._fraction = 0.0
        self._set_limits()
