"""Sound on its way through a room without a server: microphone, track, the audio input of a room.

Tracks, streams and the input are LiveKit's own; only who publishes what is made up::

    async with audio_input(BVC()) as (audio, caller):
        audio._on_track_available(*caller.publish())
        await caller.microphones[0].speak(samples)
        frame = await anext(audio)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

from livekit import rtc
from livekit.agents.voice.room_io._input import _ParticipantAudioInputStream

from tests.offline.session import LINE_RATE, Samples

RATE = 48_000
"""Of the sound that a microphone takes, in Hz."""


def frames(samples: Samples, rate: int, size: int, channels: int = 1) -> Iterable[rtc.AudioFrame]:
    """Cut interleaved int16 samples into frames of ``size`` samples a channel, the last shorter."""
    step = size * channels
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        yield rtc.AudioFrame(part.tobytes(), rate, channels, len(part) // channels)


class Microphone:
    """A local track of 48 kHz mono."""

    def __init__(self) -> None:
        self.source = rtc.AudioSource(RATE, 1, queue_size_ms=3_000)
        self.track = rtc.LocalAudioTrack.create_audio_track("mic", self.source)

    async def speak(self, samples: Samples) -> None:
        """Send int16 samples of 48 kHz, in real time but for 3 s that are queued."""
        for frame in frames(samples, RATE, RATE // 100):
            await self.source.capture_frame(frame)

    async def aclose(self) -> None:
        await self.source.aclose()


class Room:
    """What the audio input of a room asks of the room."""

    name = "room"
    _token = "token"
    _server_url = "wss://somewhere"
    _local_participant = None

    def __init__(self) -> None:
        self.listeners: dict[str, list[Any]] = defaultdict(list)
        self.remote_participants: dict[str, Any] = {}

    def on(self, event: str, listener: Any) -> None:
        self.listeners[event].append(listener)

    def off(self, event: str, listener: Any) -> None:
        self.listeners[event].remove(listener)


class Caller:
    """A participant with one microphone after another.

    Args:
        room: Where.
        kind: As rooms tell callers by telephone from others.
    """

    def __init__(
        self, room: Room, kind: int = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD
    ) -> None:
        self.identity = "caller"
        self.kind = kind
        self.track_publications: dict[str, Any] = {}
        self.microphones: list[Microphone] = []
        self._room = room
        room.remote_participants[self.identity] = self

    def publish(self, features: Iterable[Any] = ()) -> tuple[Any, Any, Any]:
        """Return what a room tells of a new track: track, publication, participant."""
        microphone = Microphone()
        self.microphones.append(microphone)
        sid = f"TR_{len(self.microphones)}"
        microphone.track._info.sid = sid
        publication = SimpleNamespace(
            sid=sid,
            source=rtc.TrackSource.SOURCE_MICROPHONE,
            track=microphone.track,
            audio_features=list(features),
        )
        self.track_publications = {sid: publication}
        microphone.track._set_room(self._room)  # type: ignore[arg-type]
        return microphone.track, publication, self


class BeforeConnection:
    """Hands out what the client recorded before it was connected, once :attr:`ready` is set."""

    def __init__(self, samples: Samples, rate: int) -> None:
        self.frames = list(frames(samples, rate, rate // 10))
        self.ready = asyncio.Event()

    async def wait_for_data(self, track_id: str) -> list[rtc.AudioFrame]:
        await self.ready.wait()
        return self.frames


@contextlib.asynccontextmanager
async def audio_input(
    noise_cancellation: Any, before: BeforeConnection | None = None
) -> AsyncIterator[tuple[_ParticipantAudioInputStream, Caller]]:
    """Open a room's audio input that waits for the caller's track; close it after.

    Args:
        noise_cancellation: As in ``room_io.AudioInputOptions``.
        before: What the client recorded before it was connected.
    """
    room = Room()
    caller = Caller(room)
    audio = _ParticipantAudioInputStream(
        room,  # type: ignore[arg-type]
        sample_rate=LINE_RATE,
        num_channels=1,
        noise_cancellation=noise_cancellation,
        auto_gain_control=False,
        pre_connect_audio_handler=before,  # type: ignore[arg-type]
    )
    audio.set_participant(caller.identity)
    try:
        yield audio, caller
    finally:
        await audio.aclose()
        for microphone in caller.microphones:
            await microphone.aclose()
