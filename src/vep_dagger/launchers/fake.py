"""A launcher without servers, for tests: of this project, and of pipelines that people write with it.

It gives on demand what a real server gives once in a month: death at the nth request, a wrong version, a silent
fallback in the log, a health check that never comes, a refusal to stop. ``FakeLauncher(Script(die_at_request=3))`` is a
:class:`.base.Launcher` whose servers answer HTTP on a loopback port as vLLM does (``/health``, ``/version``,
``/v1/models``, ``/v1/completions``, ``/metrics``), and whose clients write a result as ``vllm bench serve
--save-result`` does. Nothing of it belongs into production.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from vep_dagger.builders.base import BuiltImage
from vep_dagger.launchers import fake_http, ports
from vep_dagger.launchers.base import ServerSpec, Stopped, refuse_nodes
from vep_dagger.launchers.fake_http import Answer

LOOK_S = 0.005
RESULT: dict[str, Any] = {
    "backend": "vllm",
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": None,
    "duration": 2.0,
    "request_throughput": 10.0,
    "output_throughput": 160.0,
    "total_token_throughput": 320.0,
    **{
        f"{kind}_{metric}_ms": value
        for metric, value in {"ttft": 40.0, "tpot": 9.0, "itl": 9.5, "e2el": 200.0}.items()
        for kind in ("mean", "median", "p99")
    },
    **{f"std_{metric}_ms": 1.0 for metric in ("ttft", "tpot", "itl", "e2el")},
}
"""Figures of a client's result, unless the script has others."""


@dataclass(frozen=True)
class Script:
    """How a server, and the clients beside it, behave. Times are in seconds from the server's start."""

    lines: Sequence[str | tuple[float, str]] = ()
    """What the log shows: lines at once, or after so many seconds."""
    healthy_after_s: float | None = 0.0
    """When /health turns 200; None for never."""
    version: str = "0.32.0"
    model: str = "tiny"
    answer: str = " Paris."
    """The text of every completion."""
    die_after_s: float | None = None
    die_at_request: int | None = None
    """The completion (from 1) that is not answered any more, since the server dies of it. Those of clients count."""
    exit_code: int = 1
    """Of a death."""
    last_lines: Sequence[str] = ()
    """What the log shows at a death."""
    refuses_to_stop: bool = False
    stop_leaves: int = 0
    """How many processes outlive a stop that was asked for, and are reported as killed."""
    bench: Mapping[str, Any] = field(default_factory=dict)
    """Keys of a client's result that differ from :data:`RESULT` and from what was asked for (``completed``, for
    instance)."""
    bench_seconds: float = 0.0
    bench_exit_code: int = 0
    bench_lines: Sequence[str] = ("============ Serving Benchmark Result ============",)
    warm: bool | None = None
    """Whether the start finds what an earlier one has compiled; by default as with a launcher that keeps nothing."""


class FakeServer:
    """A server of a script: threads of this process."""

    def __init__(self, image: BuiltImage, spec: ServerSpec, script: Script, port: int) -> None:
        self.image, self.spec, self.script = image, spec, script
        self.clients: list[tuple[str, ...]] = []
        """The commands of the clients that ran."""
        self.settled_times = 0
        """How often it was said to be healthy."""
        self.requests = 0
        self.tokens = 0
        self._code: int | None = None
        self._stopped: Stopped | None = None
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._dead = threading.Event()
        self._http = ThreadingHTTPServer((spec.host, port), fake_http.handler(self.respond))
        self.url = ports.url(spec.host, port)
        self.command = tuple(
            image.translate(w).replace("{host}", spec.host).replace("{port}", str(port)) for w in spec.argv
        )
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        spec.log.touch()
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(LOOK_S,), daemon=True),
            threading.Thread(target=self._perform, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def healthy(self) -> bool:
        """Whether /health is 200 now."""
        after = self.script.healthy_after_s
        return after is not None and self._code is None and time.monotonic() - self._begin >= after

    def exited(self) -> int | None:
        """The exit code, or None while it lives."""
        return self._code

    async def wait(self) -> int:
        """Wait until it has died or was stopped."""
        await anyio.to_thread.run_sync(self._dead.wait, abandon_on_cancel=True)
        assert self._code is not None
        return self._code

    async def run(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        """Pretend that the client ran: a result where its arguments want it, its lines in its log. As with the real
        one, a server that dies meanwhile makes ``completed`` smaller, not the exit code."""
        self.clients.append(tuple(argv))
        if argv[0] == "python":
            return await self._run_list(Path(argv[-2]), Path(argv[-1]))
        await anyio.sleep(self.script.bench_seconds)
        self._write_result(dict(pairwise(argv)), log)
        return self.script.bench_exit_code

    async def _run_list(self, spec: Path, report: Path) -> int:
        """Carry out a list of commands as :mod:`vep_dagger.jobs.bench_client` does in the image."""
        for item in json.loads(await anyio.Path(spec).read_text())["items"]:
            before = fake_http.metrics(self.script.model, self.requests, self.tokens)[1]
            code = await self.run(item["argv"], Path(item["log"]), {})
            after = fake_http.metrics(self.script.model, self.requests, self.tokens)[1]
            line = {"exit_code": code, "seconds": self.script.bench_seconds, "before": before, "after": after}
            async with await anyio.open_file(report, "a") as file:
                await file.write(json.dumps(line) + "\n")
            if code:
                return 1
        return 0

    def _write_result(self, options: Mapping[str, str], log: Path) -> None:
        asked = int(options.get("--num-prompts", "1000"))
        completed = sum(self.complete(int(options.get("--random-output-len", "128"))) for _ in range(asked))
        counted = {"num_prompts": asked, "completed": completed, "failed": asked - completed}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.writelines(f"{line}\n" for line in self.script.bench_lines)
        if "--result-filename" in options and self.script.bench_exit_code == 0:
            folder = Path(options.get("--result-dir", self.spec.directory))
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(RESULT | counted | dict(self.script.bench))
            (folder / options["--result-filename"]).write_text(text)

    def memory_bytes(self) -> int | None:
        """A gigabyte, while it lives."""
        return None if self._code is not None else 1 << 30

    @property
    def warm(self) -> bool | None:
        """What the script says."""
        return self.script.warm

    async def settled(self) -> None:
        """Count that it was called."""
        self.settled_times += 1

    async def stop(self, grace_s: float) -> Stopped:
        """End it, as the script has it."""
        with anyio.CancelScope(shield=True):
            begin = time.monotonic()
            if self._code is None and self.script.refuses_to_stop:
                await anyio.sleep(grace_s)
            if self._stopped is None:
                forced = self._code is None and self.script.refuses_to_stop
                killed = (1 if forced else 0) + (self.script.stop_leaves if self._code is None else 0)
                self._end(-9 if forced else 0)
                for thread in self._threads:
                    thread.join()
                code = None if forced else self._code
                self._stopped = Stopped(code, killed == 0, time.monotonic() - begin, killed)
        assert self._stopped is not None
        return self._stopped

    def complete(self, tokens: int) -> bool:
        """One completion; False if the server is dead, or dies of it."""
        with self._lock:
            if self._code is not None:
                return False
            self.requests += 1
            if self.requests == self.script.die_at_request:
                self._die()
                return False
            self.tokens += tokens
            return True

    def respond(self, path: str, body: Mapping[str, Any]) -> Answer | None:
        """Status and body of the answer to a request; None to hang up."""
        if self._code is not None:
            return None
        if not self.healthy:
            return 503, ""
        prompt, tokens = str(body.get("prompt", "")), int(body.get("max_tokens", 16))
        if path == "/v1/completions" and not self.complete(tokens):
            return None
        script = self.script
        answers: dict[str, Callable[[], Answer]] = {
            "/health": lambda: (200, ""),
            "/version": lambda: (200, json.dumps({"version": script.version})),
            "/v1/models": lambda: fake_http.models(script.model),
            "/metrics": lambda: fake_http.metrics(script.model, self.requests, self.tokens),
            "/v1/completions": lambda: fake_http.completion(script.model, script.answer, prompt, tokens),
        }
        return answers.get(path, lambda: (404, json.dumps({"detail": "Not Found"})))()

    def _log(self, line: str) -> None:
        with self.spec.log.open("a") as file:
            file.write(f"{line}\n")

    def _perform(self) -> None:
        """Write the lines when they are due, and die when that is."""
        events: list[tuple[float, str | None]] = [
            (0.0, line) if isinstance(line, str) else line for line in self.script.lines
        ]
        if self.script.die_after_s is not None:
            events.append((self.script.die_after_s, None))
        for due, line in sorted(events, key=lambda event: event[0]):
            if self._dead.wait(max(0.0, due - (time.monotonic() - self._begin))):
                return
            if line is None:
                with self._lock:
                    self._die()
            else:
                self._log(line)

    def _die(self) -> None:
        for line in self.script.last_lines:
            self._log(line)
        self._code = self.script.exit_code if self._code is None else self._code
        self._dead.set()
        # Not from this thread: it may be the one that answers requests, which the end of the server waits for.
        threading.Thread(target=self._hang_up, daemon=True).start()

    def _hang_up(self) -> None:
        # Whoever comes second must not go on before the first has really closed the socket.
        with self._closing:
            self._http.shutdown()
            self._http.server_close()

    def _end(self, code: int) -> None:
        with self._lock:
            self._code = code if self._code is None else self._code
        self._dead.set()
        self._hang_up()


@dataclass(frozen=True)
class FakeLauncher:
    """A launcher whose servers follow a script: one for all, or a function from what is to be started to its script."""

    script: Script | Callable[[ServerSpec], Script] = Script()
    servers: list[FakeServer] = field(default_factory=list)
    """Every server that was started, in order."""
    name: str = "fake"

    def refuse(self, nodes: int, host: str, port: int | None) -> None:
        """Raise UsageError for more than one node."""
        refuse_nodes(self.name, nodes)

    @asynccontextmanager
    async def start(self, image: BuiltImage, spec: ServerSpec) -> AsyncIterator[FakeServer]:
        """Start a server of the script; leaving the context stops it."""
        script = self.script if isinstance(self.script, Script) else self.script(spec)
        with ports.reserved(spec.host, spec.port) as port:
            server = FakeServer(image, spec, script, port)
            self.servers.append(server)
            try:
                yield server
            finally:
                await server.stop(1.0)
