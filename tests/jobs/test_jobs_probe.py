"""Asking a server that answers badly."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

import vep_dagger.jobs.probe as probing
from vep_dagger.jobs.probe import Probe, ProbeError


async def trickle(stream: SocketStream) -> None:
    """Promise a long answer, and send a byte of it now and then."""
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            await anyio.sleep(0.05)
            await stream.send(b"x")


def seconds_of(ask: Callable[[Probe], Awaitable[object]]) -> float:
    """How long asking such a server takes, with half a second of patience."""

    async def main() -> float:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, trickle)
            began = time.monotonic()
            async with Probe(f"http://127.0.0.1:{port}", 0.5) as probe:
                await ask(probe)
            group.cancel_scope.cancel()
        return time.monotonic() - began

    return anyio.run(main)


def test_a_server_that_answers_byte_by_byte_is_not_waited_for() -> None:
    async def ask(probe: Probe) -> None:
        with pytest.raises(ProbeError, match=r"/version did not answer within 0\.5 s"):
            await probe.version()

    assert seconds_of(ask) < 2


def test_a_health_check_that_comes_byte_by_byte_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(probe: Probe) -> None:
        assert not await probe.healthy()

    monkeypatch.setattr(probing, "HEALTH_S", 0.5)
    assert seconds_of(ask) < 2
