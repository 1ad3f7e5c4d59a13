"""Connections and the tasks that serve them: what :mod:`.bridge` is made of."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead, OSError)
"""How a connection says that it is no more."""


@dataclass
class Channel:
    """A connection of the agent's for one purpose, and what came with its first line."""

    stream: SocketStream
    reader: BufferedByteReceiveStream


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """A group of tasks that go on while the context is there, and raise nothing: what comes out is the context's."""
    try:
        async with anyio.create_task_group() as group:
            try:
                yield group
            finally:
                group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def reset(stream: SocketStream) -> None:
    """End a connection as a refused one ends: at once, and not as if all had been said."""
    with suppress(OSError):
        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 (no Django)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)


async def splice(one: SocketStream, channel: Channel, first: bytes) -> None:
    """Carry bytes both ways until both are at their end, ``first`` before the others; if one breaks, break the
    other."""

    async def carry(source: SocketStream | BufferedByteReceiveStream, target: SocketStream, before: bytes) -> None:
        try:
            await target.send(before)
            with suppress(anyio.EndOfStream):
                while True:
                    await target.send(await source.receive())
            await target.send_eof()
        except BROKEN:
            await reset(one)
            await reset(channel.stream)

    async with anyio.create_task_group() as group:
        group.start_soon(carry, one, channel.stream, first)
        group.start_soon(carry, channel.reader, one, b"")
