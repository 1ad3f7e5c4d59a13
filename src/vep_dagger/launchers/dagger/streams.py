"""Connections and the tasks that serve them: what :mod:`.bridge` is made of."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
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


async def splice(one: SocketStream, channel: Channel, first: bytes, answered: Callable[[], Awaitable[None]]) -> None:
    """Carry bytes both ways until both are at their end, ``first`` before the others; if one breaks, break the other.

    ``answered`` is awaited before the first bytes of each answer are passed on to ``one``.
    """
    asked = True

    async def ask() -> None:
        nonlocal asked
        await channel.stream.send(first)
        with suppress(anyio.EndOfStream):
            while True:
                said = await one.receive()
                asked = True
                await channel.stream.send(said)
        await channel.stream.send_eof()

    async def answer() -> None:
        nonlocal asked
        with suppress(anyio.EndOfStream):
            while True:
                said = await channel.reader.receive()
                if asked:
                    asked = False
                    await answered()
                await one.send(said)
        await one.send_eof()

    async def carry(way: Callable[[], Awaitable[None]]) -> None:
        try:
            await way()
        except BROKEN:
            await reset(one)
            await reset(channel.stream)

    async with anyio.create_task_group() as group:
        group.start_soon(carry, ask)
        group.start_soon(carry, answer)
