"""The bridge to an agent (:mod:`.agent`): this machine's side of the one connection to a place where servers run.

A listener on loopback, which the agent connects to and nobody else can, since only it has the token. Over it commands
are started, files are shared (:mod:`.sharing`), and ports of the other side are reached from here.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from vep_dagger.errors import LaunchError
from vep_dagger.launchers.dagger.sharing import Sharing
from vep_dagger.launchers.dagger.streams import BROKEN, Channel, background, reset, splice

LINE = 1 << 20
"""Bytes of the longest line."""
GREETING_S = 10.0
"""For a connection to say what it is for."""
DIAL_S = 60.0
"""For the agent to answer a request with a connection."""
SEND_S = 60.0
"""For one message, of a quarter of a megabyte at most, to be taken by the agent."""
PING_S = 10.0
SILENCE_S = 120.0
"""Without a word from the agent for so long, it is gone."""
FLUSH_S = 600.0
"""For all files to come: results are small, but a server may leave a trace of gigabytes."""


class RefusedError(Exception):
    """The agent could not do what it was asked: the system's words, and its number for them."""

    def __init__(self, why: str, code: int | None) -> None:
        super().__init__(why)
        self.why = why
        self.code = code


@dataclass(frozen=True, slots=True)
class Hello:
    """What the agent says of the place: its environment, its Python, and whether the marker of an earlier start is
    there."""

    env: Mapping[str, str]
    python: str
    warm: bool | None


@dataclass
class _Answer:
    """What is waited for of the agent."""

    here: anyio.Event = field(default_factory=anyio.Event)
    channel: Channel | None = None
    refused: RefusedError | None = None


class Bridge:
    """See the module. Made by :func:`open_bridge`; whatever waits here ends when the agent is :attr:`lost`."""

    def __init__(self, group: TaskGroup, port: int, farewell_s: float) -> None:
        self.port = port
        self.farewell_s = farewell_s
        self.token = secrets.token_urlsafe(32)
        self.hello: Hello | None = None
        self.lost: str | None = None
        """Why there is no agent any more."""
        self.gone = anyio.Event()
        """Set when it is lost."""
        self.memory: dict[int, int] = {}
        """Bytes that each command holds, by its channel."""
        self.sharing = Sharing()
        self._group = group
        self._greeted = anyio.Event()
        self._answers: dict[int, _Answer] = {}
        self._number = 0
        self._control: Channel | None = None
        self._open: set[SocketStream] = set()
        self._sending = anyio.Lock()
        self._heard_at = 0.0

    def __repr__(self) -> str:
        return f"<Bridge port={self.port} lost={self.lost!r}>"

    async def greeted(self) -> Hello | None:
        """Wait for the agent; None if it is lost before."""
        await self._greeted.wait()
        return self.hello

    def lose(self, why: str) -> None:
        """There is no agent any more: end every wait, every command and every tunnel."""
        if self.lost is not None:
            return
        self.lost = why
        self.gone.set()
        self._greeted.set()
        for answer in self._answers.values():
            answer.here.set()
        # The agent notices, if it is there, and kills what it started.
        for stream in list(self._open):
            self._group.start_soon(reset, stream)

    async def say(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send one message; into the void if the agent is lost."""
        if self._control is None or self.lost is not None:
            return
        line = json.dumps({**header, "size": len(payload)} if payload else header).encode() + b"\n"
        try:
            # Half a message would be the last one that the agent understands.
            with anyio.CancelScope(shield=True), anyio.fail_after(SEND_S):
                async with self._sending:
                    await self._control.stream.send(line + payload)
        except (TimeoutError, *BROKEN):
            self.lose("the connection to it broke")

    async def dial(self, header: Mapping[str, Any]) -> tuple[int, Channel]:
        """A channel for what ``header`` asks, and its number. Raises RefusedError, and LaunchError without an
        agent."""
        self._number += 1
        number, answer = self._number, _Answer()
        self._answers[number] = answer
        try:
            await self.say({**header, "channel": number})
            with anyio.move_on_after(DIAL_S):
                if self.lost is None:
                    await answer.here.wait()
        except BaseException:
            if answer.channel is not None:
                await reset(answer.channel.stream)
            raise
        finally:
            del self._answers[number]
        if answer.refused is not None:
            raise answer.refused
        if answer.channel is None:
            raise LaunchError(f"the place of the server is lost: {self.lost or f'no answer within {DIAL_S:g} s'}")
        self._open.add(answer.channel.stream)
        return number, answer.channel

    async def watch(self, roots: Sequence[Path], skip: Sequence[Path] = ()) -> None:
        """Share these directories: what is written in them there comes here."""
        fresh = self.sharing.add(roots)
        if fresh:
            await self.say({"do": "watch", "roots": [str(root) for root in fresh], "skip": [str(p) for p in skip]})

    async def push(self, root: Path) -> None:
        """Send the files below a directory, or one file, as far as they are not there. Raises LaunchError."""
        for file in self.sharing.unsent(root):
            for header, payload in self.sharing.frames(file):
                await self.say(header, payload)

    async def flush(self) -> None:
        """Wait until every file is here as far as it was written there before; at once if the agent is lost. Raises
        LaunchError when one could not be written here."""
        self._number += 1
        number, answer = self._number, _Answer()
        self._answers[number] = answer
        try:
            await self.say({"do": "flush", "number": number})
            with anyio.move_on_after(FLUSH_S) as scope:
                if self.lost is None:
                    await answer.here.wait()
        finally:
            del self._answers[number]
        if scope.cancelled_caught:
            self.lose(f"its files did not come within {FLUSH_S:g} s")
        self.sharing.check()

    async def _in_step(self) -> None:
        """Before an answer of the server's is passed on: whoever has it may look for what was logged before."""
        with suppress(LaunchError):
            await self.flush()

    async def tunnel(self, host: str, port: int, to_host: str, to_port: int, until: anyio.Event) -> None:
        """Listen here, and lead each connection to a port of the other side as soon as something is said on it, until
        the event. Raises OSError for a port that cannot be had."""
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=1024)

        async def accept() -> None:
            async with listener:
                await listener.serve(lead)

        async def lead(stream: SocketStream) -> None:
            async with stream:
                try:
                    # Who asks only whether somebody listens costs nothing: in HTTP the client speaks first.
                    first = await stream.receive()
                except BROKEN:
                    return
                try:
                    _, channel = await self.dial({"do": "connect", "host": to_host, "port": to_port})
                except (RefusedError, LaunchError):
                    await reset(stream)
                    return
                async with channel.stream:
                    await splice(stream, channel, first, self._in_step)
                self._open.discard(channel.stream)

        async def serve() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(accept)
                await until.wait()
                group.cancel_scope.cancel()

        self._group.start_soon(serve)

    async def greet(self, stream: SocketStream) -> None:
        """Take a connection in: the agent's, or whoever tried."""
        channel = Channel(stream, BufferedByteReceiveStream(stream))
        try:
            number = await self._number_of(channel.reader)
        except BaseException:
            await reset(stream)
            raise
        if number == 0 and self._control is None and self.lost is None:
            self._control = channel
            self._open.add(stream)
            async with stream:
                await self._listen(channel.reader)
        elif number in self._answers:
            self._answers[number].channel = channel
            self._answers[number].here.set()
        else:
            await reset(stream)

    async def _number_of(self, reader: BufferedByteReceiveStream) -> int | None:
        """What a new connection says it is for; None if it is not the agent's."""
        nonsense = (ValueError, KeyError, TypeError, anyio.DelimiterNotFound)
        with anyio.move_on_after(GREETING_S), suppress(*BROKEN, *nonsense):
            first = json.loads(await reader.receive_until(b"\n", 4096))
            if hmac.compare_digest(str(first["token"]).encode(), self.token.encode()):
                return int(first["channel"])
        return None

    async def _listen(self, reader: BufferedByteReceiveStream) -> None:
        self._heard_at = anyio.current_time()
        self._group.start_soon(self._ping)
        try:
            while True:
                header = json.loads(await reader.receive_until(b"\n", LINE))
                payload = await reader.receive_exactly(header["size"]) if header.get("size") else b""
                self._heard_at = anyio.current_time()
                self._hear(header, payload)
        except BROKEN:
            # Whoever runs the agent knows more, and says so first.
            await anyio.sleep(self.farewell_s)
            self.lose("the connection to it broke")

    def _hear(self, header: dict[str, Any], payload: bytes) -> None:
        match header["event"]:
            case "hello":
                self.hello = Hello(header["env"], header["python"], header["warm"])
                self._greeted.set()
            case "data":
                self.sharing.take(header, payload)
            case "gone":
                self.sharing.remove(header["path"])
            case "memory":
                self.memory[header["channel"]] = header["bytes"]
            case "failed" if answer := self._answers.get(header["channel"]):
                answer.refused = RefusedError(header["why"], header["errno"])
                answer.here.set()
            case "flushed" if answer := self._answers.get(header["number"]):
                answer.here.set()

    async def _ping(self) -> None:
        while self.lost is None:
            await self.say({"do": "ping"})
            await anyio.sleep(PING_S)
            if anyio.current_time() - self._heard_at > SILENCE_S:
                self.lose(f"it has been silent for {SILENCE_S:g} s")


@asynccontextmanager
async def open_bridge(farewell_s: float = 1.0) -> AsyncIterator[Bridge]:
    """A bridge that an agent can come to; leaving it ends everything that goes over it.

    ``farewell_s`` is for whoever runs the agent to say why it ended (:meth:`Bridge.lose`), when its connection has
    broken.
    """
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, background() as group:
        bridge = Bridge(group, listener.extra(SocketAttribute.local_port), farewell_s)  # noqa: S610
        group.start_soon(listener.serve, bridge.greet)
        try:
            yield bridge
        finally:
            bridge.lose("it is over")
            bridge.sharing.close()
