"""The other end of ``python -m livekit.agents console --connect-addr``: what LiveKit's ``lk`` does.

The agent connects to a TCP socket of ours; each message is a 4-byte big-endian length and an
``AgentSessionMessage``. We send the caller's audio and get the session's events and the agent's::

    async with Console() as console, agent_process("my_agent.py", console.address) as process:
        await console.wait_for("agent_state_changed", new_state="listening")
        await console.speak(samples)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from livekit.protocol.agent_pb.agent_session import AgentSessionMessage

from tests.offline.session import Samples

RATE = 48_000
"""Sample rate of the audio on the wire."""
ROOT = Path(__file__).parents[2]

_ConsoleIO = AgentSessionMessage.ConsoleIO
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Event:
    """Something that the session told the console."""

    kind: str
    """The event's field name, such as ``user_state_changed``."""
    at: float
    """Real seconds since the console began."""
    fields: dict[str, Any]
    """Its fields; states are the protocol's, such as ``US_SPEAKING``."""


class Console:
    """A loopback TCP server for one agent, on a port that the system chooses."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.heard = 0.0
        """Seconds of the agent's voice that have arrived."""
        self._began = time.monotonic()
        self._news = asyncio.Condition()
        self._unplayed = 0.0
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Console:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._writer is not None:
            self._writer.close()

    @property
    def address(self) -> str:
        """``host:port`` for ``--connect-addr``."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def speak(self, samples: Samples) -> None:
        """Send 48 kHz int16 mono samples in frames of 20 ms, in real time."""
        size = RATE // 50
        began = time.monotonic()
        for start in range(0, len(samples) - size + 1, size):
            data = samples[start : start + size].tobytes()
            frame = _ConsoleIO.AudioFrame(
                data=data, sample_rate=RATE, num_channels=1, samples_per_channel=size
            )
            await self._send(AgentSessionMessage(audio_input=frame))
            await asyncio.sleep(max(0.0, began + (start + size) / RATE - time.monotonic()))

    def said(self, role: str) -> list[str]:
        """Return what the conversation holds of ``USER`` or ``ASSISTANT``, in order."""
        items = [event.fields["item"] for event in self.events if "item" in event.fields]
        messages = [item["message"] for item in items if "message" in item]
        return [
            " ".join(part["text"] for part in message["content"])
            for message in messages
            if message["role"] == role
        ]

    async def wait_for(
        self, kind: str, *, after: Event | None = None, timeout: float = 30.0, **fields: Any
    ) -> Event:
        """Return the first event of this kind with these fields, waiting if it is yet to come.

        Args:
            kind: The event's field name.
            after: An earlier event to look behind.
            timeout: Real seconds to wait.
            fields: Values that fields of the event must have.

        Raises:
            TimeoutError: It did not come; the message lists what did.
        """

        def found() -> Event | None:
            return next(
                (
                    event
                    for event in self.events
                    if event.kind == kind
                    and (after is None or event.at > after.at)
                    and all(event.fields.get(name) == value for name, value in fields.items())
                ),
                None,
            )

        async with self._news:
            try:
                event = await asyncio.wait_for(self._news.wait_for(found), timeout)
            except asyncio.TimeoutError:
                came = [f"{event.at:.2f} {event.kind} {event.fields}" for event in self.events]
                lines = "\n".join(came) or "nothing"
                raise TimeoutError(f"no {kind} with {fields}; what came:\n{lines}") from None
        assert isinstance(event, Event)
        return event

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                message = AgentSessionMessage()
                message.ParseFromString(await reader.readexactly(length))
                await self._received(message)

    async def _received(self, message: AgentSessionMessage) -> None:
        which = message.WhichOneof("message")
        if which == "audio_output":
            samples = message.audio_output.samples_per_channel
            self.heard += samples / message.audio_output.sample_rate
            self._unplayed += samples / message.audio_output.sample_rate
        elif which == "audio_playback_clear":
            self._unplayed = 0.0
        elif which == "audio_playback_flush":
            task = asyncio.create_task(self._play_to_the_end(self._unplayed))
            self._unplayed = 0.0
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif which == "event":
            await self._event(message.event)

    async def _event(self, event: Any) -> None:
        kind = event.WhichOneof("event")
        fields = _fields(getattr(event, kind))
        async with self._news:
            self.events.append(Event(kind, time.monotonic() - self._began, fields))
            self._news.notify_all()

    async def _play_to_the_end(self, seconds: float) -> None:
        """Tell the agent that its voice has been heard, after as long as that takes."""
        await asyncio.sleep(seconds)
        finished = _ConsoleIO.AudioPlaybackFinished()
        await self._send(AgentSessionMessage(audio_playback_finished=finished))

    async def _send(self, message: AgentSessionMessage) -> None:
        if self._writer is None:
            raise ConnectionError("no agent has connected yet")
        data = message.SerializeToString()
        self._writer.write(_LENGTH.pack(len(data)) + data)
        await self._writer.drain()


def _fields(message: Any) -> dict[str, Any]:
    """Return every field of a message, also those at their default, which JSON would leave out."""
    fields: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.enum_type is not None:
            value = field.enum_type.values_by_number[value].name
        elif field.message_type is not None:
            value = MessageToDict(value, preserving_proto_field_name=True)
        fields[field.name] = value
    return fields


@contextlib.asynccontextmanager
async def agent_process(
    agent: Path, address: str, log: Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an agent file as LiveKit's CLI does, in a session of its own; it is gone afterwards.

    Args:
        agent: The agent file.
        address: Where it finds the console.
        log: File for what it prints.
        environment: Variables to add to ours.
    """
    command = ["-m", "livekit.agents", "console", str(agent), "--connect-addr", address]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def stop(process: asyncio.subprocess.Process, timeout: float = 15.0) -> int:
    """Interrupt an agent as Ctrl-C does and return its exit status.

    Raises:
        asyncio.TimeoutError: It did not end in time.
    """
    process.send_signal(signal.SIGINT)
    return await asyncio.wait_for(process.wait(), timeout)
