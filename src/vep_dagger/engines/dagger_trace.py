"""What a Dagger session tells of its work while it goes on: which steps really ran, for how long, and what they print.

The session streams its spans and logs as server-sent events of OTLP's JSON (``GET /v1/traces`` and ``/v1/logs``;
engine/server/telemetry.go of Dagger v0.21.8). A query belongs to whom its ``traceparent`` names: a :class:`Watch` is
such a name. Lazy work has a span ``resume <call>`` for as long as it takes, and none at all when it is cached.
"""

from __future__ import annotations

import base64
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

_QUERY = "POST /query"
_WORK = "resume withExec"
_ERROR = "STATUS_CODE_ERROR"
_RETRY_S = 1.0
_TAIL = 200
_ENDS = 2
"""Of the two streams of a command."""


@dataclass
class Watch:
    """The work of one part of a build. ``on_line`` hears each line that its commands print."""

    name: str
    on_line: Callable[[str], None] = field(default=lambda _: None)
    span: str = ""
    ran: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    """Of each command that really ran: begin and end, seconds since the epoch (None while it runs)."""
    tails: dict[str, deque[str]] = field(default_factory=dict)
    """The last lines of each command, by its call."""
    last: str = ""
    """The last line that came."""
    failed: str | None = None
    """The call that failed."""
    calls: set[str] = field(default_factory=set)
    ended: dict[str, int] = field(default_factory=dict)
    half: dict[tuple[str, str], str] = field(default_factory=dict)

    def said_last(self) -> list[str]:
        """The last lines of the command that failed; none if it is not known, or nothing was heard of it."""
        return list(self.tails.get(self.failed or "", ()))

    @property
    def seconds(self) -> float:
        """From the beginning of the first command to the end of the last one."""
        if not self.ran:
            return 0.0
        ends = [end for _, end in self.ran.values() if end is not None]
        return max(0.0, max(ends, default=0.0) - min(begin for begin, _ in self.ran.values()))


class Trace:
    """The streams of one session."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._watches: dict[str, Watch] = {}
        self._parents: dict[str, str] = {}
        self._finished: set[str] = set()
        """Spans under which a query has ended."""
        self._waiting: list[dict[str, Any]] = []
        """Lines of spans that are not known yet."""
        self._heard = anyio.Event()
        self.following = False
        """Whether the session tells: an engine may not."""

    async def follow(self) -> None:
        """Read both streams for as long as the session lasts."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._read, "/v1/traces", self._take_spans)
            group.start_soon(self._read, "/v1/logs", self._take_logs)

    @contextmanager
    def watch(self, name: str, on_line: Callable[[str], None]) -> Iterator[Watch]:
        """What is asked for inside, by this task, is the watch's. Under ``dagger run`` it is a span of that name."""
        from dagger import telemetry
        from opentelemetry import context, trace

        watch = Watch(name, on_line)
        with telemetry.get_tracer().start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as span:
            here = span.get_span_context()
            token = None
            if here.span_id in (0, trace.INVALID_SPAN_ID) or format(here.span_id, "016x") in self._watches:
                here = _new_context()
                token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(here)))
            watch.span = format(here.span_id, "016x")
            self._watches[watch.span] = watch
            try:
                yield watch
            finally:
                if token is not None:
                    context.detach(token)

    async def settled(self, watch: Watch, ask: Callable[[], Awaitable[object]], patience_s: float = 3.0) -> bool:
        """Wait until all is heard of what has ended for a watch; False if the session does not tell in time.

        ``ask`` is any small question: what is told comes in the order in which it happened, so that nothing of before
        can come after its answer.
        """
        from opentelemetry import context, trace

        mark = _new_context()
        name = format(mark.span_id, "016x")
        token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(mark)))
        try:
            await ask()
        finally:
            context.detach(token)
        with anyio.move_on_after(patience_s):
            while not (name in self._finished and self._heard_out(watch)):
                await self._heard.wait()
        self._finished.discard(name)
        return self.following

    def _heard_out(self, watch: Watch) -> bool:
        return all(watch.ended.get(call, 0) >= _ENDS for call in watch.calls)

    async def _read(self, path: str, take: Callable[[dict[str, Any]], None]) -> None:
        import httpx

        last = ""
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                async with (
                    httpx.AsyncClient(
                        auth=(self._token, ""), timeout=httpx.Timeout(None, connect=10.0), trust_env=False
                    ) as client,
                    client.stream("GET", f"{self._url}{path}", headers=headers) as answer,
                ):
                    answer.raise_for_status()
                    async for line in answer.aiter_lines():
                        self.following = True
                        if line.startswith("id:"):
                            last = line[3:].strip()
                        elif line.startswith("data:") and line[5:].strip():
                            take(json.loads(line[5:]))
                            self._heard.set()
                            self._heard = anyio.Event()
            except (httpx.HTTPError, ValueError):
                # A build goes on without: it says less.
                self.following = False
            await anyio.sleep(_RETRY_S)

    def _take_spans(self, message: dict[str, Any]) -> None:
        for span in _records(message, "resourceSpans", "scopeSpans", "spans"):
            name, parent = _hex(span["spanId"]), _hex(span.get("parentSpanId", ""))
            self._parents[name] = parent
            begin, end = int(span["startTimeUnixNano"]), int(span.get("endTimeUnixNano") or 0)
            if span["name"] == _QUERY and end >= begin:
                self._finished.add(parent)
            if span["name"] == _WORK:
                watch = self._owner(name)
                if watch is not None:
                    watch.ran[name] = (begin / 1e9, end / 1e9 if end >= begin else None)
                    calls = {_hex(link["spanId"]) for link in span.get("links", ())}
                    watch.calls |= calls
                    if span.get("status", {}).get("code") == _ERROR:
                        watch.failed = next(iter(calls), None)
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            self._take_record(record)

    def _take_logs(self, message: dict[str, Any]) -> None:
        for record in _records(message, "resourceLogs", "scopeLogs", "logRecords"):
            self._take_record(record)

    def _take_record(self, record: dict[str, Any]) -> None:
        span = _hex(record.get("spanId", ""))
        if span not in self._parents:
            self._waiting = [*self._waiting[-1000:], record]
            return
        watch = self._owner(span)
        attributes = {each["key"]: each["value"] for each in record.get("attributes", ())}
        if watch is None or "dagger.io/logs.verbose" in attributes:
            return
        key = (span, str(attributes.get("stdio.stream", {}).get("intValue", "")))
        *lines, rest = (watch.half.pop(key, "") + str(record.get("body", {}).get("stringValue", ""))).split("\n")
        if "stdio.eof" in attributes:
            watch.ended[span] = watch.ended.get(span, 0) + 1
            lines += [rest] if rest else []
        elif rest:
            watch.half[key] = rest
        for line in lines:
            watch.tails.setdefault(span, deque(maxlen=_TAIL)).append(line)
            watch.last = line
            watch.on_line(line)

    def _owner(self, span: str) -> Watch | None:
        seen = 0
        while span and seen < 1000:
            if span in self._watches:
                return self._watches[span]
            span, seen = self._parents.get(span, ""), seen + 1
        return None


def _new_context() -> Any:
    """A place for spans that nobody records but the engine, in the trace that is going on, if there is one."""
    from opentelemetry import trace

    here = trace.get_current_span().get_span_context()
    known = here.trace_id if here.is_valid else random.getrandbits(128)
    return trace.SpanContext(known, random.getrandbits(64) or 1, False, trace.TraceFlags(1))


def _records(message: dict[str, Any], outer: str, inner: str, last: str) -> Iterator[dict[str, Any]]:
    for resource in message.get(outer, ()):
        for scope in resource.get(inner, ()):
            yield from scope.get(last, ())


def _hex(text: str) -> str:
    """protojson has bytes in base64."""
    return base64.b64decode(text).hex() if text else ""
