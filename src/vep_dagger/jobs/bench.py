"""The bench job: one workload measured on a proven server, ``repeats`` times after a warm-up; all of it counts, or
nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import anyio

from vep_dagger.compat.rules import BenchFlags
from vep_dagger.evidence import RunDirectory, Witness
from vep_dagger.evidence.record import Repeat
from vep_dagger.evidence.rundir import writing
from vep_dagger.jobs.bench_command import WARMUP_SEED, bench_command
from vep_dagger.jobs.failure import JobFailed
from vep_dagger.jobs.groups import unwrapped
from vep_dagger.jobs.logwatch import LogWatch
from vep_dagger.jobs.probe import finished_requests
from vep_dagger.jobs.readiness import POLL_S, cause_witness, check_alive, check_forbidden
from vep_dagger.launchers.base import Server
from vep_dagger.matrix.schema import Workload

SPARE_S = 120
"""Seconds that the client may take beyond its workloads' own timeouts: importing vLLM, writing results."""


@dataclass(frozen=True)
class Item:
    """One run of the client: a warm-up or a repeat."""

    name: str
    command: list[str]
    result: Path
    log: Path
    num_prompts: int


@dataclass
class Measurement:
    """What a bench job has got so far; it is kept in the record also when the job fails."""

    command: list[str]
    warmup: Repeat | None = None
    repeats: list[Repeat] = field(default_factory=list)
    server_requests: dict[str, float] = field(default_factory=dict)


class Bench:
    """Measures one workload on one server."""

    def __init__(
        self,
        run: RunDirectory,
        slug: str,
        load: Workload,
        release: BenchFlags,
        *,
        url: str,
        model: str,
        served_model_name: str,
        env: Mapping[str, str],
    ) -> None:
        self._run = run
        self._env = env
        self._load = load
        self._directory = run.fresh_bench_directory(slug, load.name)
        self._metrics = f"{url}/metrics"
        seeds = {"warmup": load.seed + WARMUP_SEED} | {
            f"repeat-{number}": load.seed + number for number in range(1, load.repeats + 1)
        }
        self._items = [
            Item(
                name,
                bench_command(
                    load,
                    release,
                    url=url,
                    model=model,
                    served_model_name=served_model_name,
                    result=self._directory / f"{name}.json",
                    seed=seed,
                    num_prompts=prompts,
                ),
                self._directory / f"{name}.json",
                self._directory / f"{name}.log",
                prompts,
            )
            for name, seed in seeds.items()
            for prompts in [load.warmup_prompts or load.num_prompts if name == "warmup" else load.num_prompts]
        ]
        self.measured = Measurement(self._items[1].command)

    async def measure(self, server: Server, watch: LogWatch, log: str, say: Callable[[str], None]) -> None:
        """Fill :attr:`measured`. Raises JobFailed when the result is void: a request that was not completed, a client
        that failed, a server that died."""
        report = self._directory / "client.jsonl"
        client_log = self._directory / "client.log"
        argv = self._client(report)
        timeout_s = SPARE_S + self._load.timeout * len(self._items)
        exit_code: list[int] = []
        done = 0

        async def run_client() -> None:
            exit_code.append(await server.run(argv, client_log, self._env))

        try:
            with anyio.fail_after(timeout_s), unwrapped():
                async with anyio.create_task_group() as group:
                    group.start_soon(run_client)
                    say(self._progress(done))
                    while done < len(self._items):
                        over = bool(exit_code)
                        check_alive(server, watch, log, f"during {self._items[done].name}")
                        lines = _complete_lines(report)
                        for line in lines[done:]:
                            self._take(self._items[done], json.loads(line), watch, log)
                            done += 1
                            say(self._progress(done))
                        if done < len(self._items):
                            if over:
                                raise self._client_failed(exit_code[0], client_log)
                            await anyio.sleep(POLL_S)
        except TimeoutError:
            raise JobFailed(f"the client did not end within {timeout_s:g} s", self._tail(client_log)) from None
        watch.read()
        check_alive(server, watch, log, "after the last repeat")
        # A backend can give way under load, long after the smoke test.
        check_forbidden(watch, log)

    def _client(self, report: Path) -> list[str]:
        spec = self._directory / "client.json"
        items = [{"argv": item.command, "log": str(item.log), "timeout_s": self._load.timeout} for item in self._items]
        source = resources.files("vep_dagger.jobs").joinpath("bench_client.py").read_text(encoding="utf-8")
        script = self._directory / "client.py"
        with writing(self._directory):
            spec.write_text(json.dumps({"metrics": self._metrics, "items": items}, indent=1), encoding="utf-8")
            script.write_text(source, encoding="utf-8")
        return ["python", str(script), str(spec), str(report)]

    def _take(self, item: Item, line: Mapping[str, object], watch: LogWatch, log: str) -> None:
        """Take one finished item in. Raises JobFailed if it makes the result void."""
        code = line["exit_code"]
        if code is None:
            raise JobFailed(f"{item.name} did not end within {self._load.timeout:g} s", self._tail(item.log))
        if code != 0:
            raise JobFailed(f"vllm bench serve exited with code {code} in {item.name}", self._tail(item.log))
        repeat = self._read(item)
        watch.read()
        if repeat.completed != item.num_prompts:
            raise JobFailed(
                f"void: {repeat.completed} of {item.num_prompts} requests completed in {item.name}",
                cause_witness(watch, log) if repeat.completed == 0 else self._tail(item.log),
            )
        self._count(item, str(line["before"]), str(line["after"]), repeat)
        if item.name == "warmup":
            self.measured.warmup = repeat
        else:
            self.measured.repeats.append(repeat)

    def _count(self, item: Item, before: str, after: str, repeat: Repeat) -> None:
        """Hold the client's count against the server's own."""
        was, now = finished_requests(before), finished_requests(after)
        if not now:
            return
        grown = {reason: count - was.get(reason, 0.0) for reason, count in now.items()}
        good = sum(count for reason, count in grown.items() if reason in ("length", "stop"))
        if good < repeat.completed:
            raise JobFailed(
                f"void: the client counts {repeat.completed} completed requests in {item.name}, "
                f"the server only {good:g}",
                Witness(file=self._run.relative(item.result), text=f"/metrics grew by {grown}"),
            )
        if item.name != "warmup":
            counts = self.measured.server_requests
            for reason, count in grown.items():
                if count:
                    counts[reason] = counts.get(reason, 0.0) + count

    def _read(self, item: Item) -> Repeat:
        try:
            result = json.loads(item.result.read_text(encoding="utf-8"))
            figures = {
                name: float(value)
                for name, value in result.items()
                if isinstance(value, (int, float))
                and not isinstance(value, bool)
                and (name.endswith(("_ms", "_throughput")) or name in ("total_input_tokens", "total_output_tokens"))
            }
            return Repeat(
                file=self._run.relative(item.result),
                completed=int(result["completed"]),
                num_prompts=item.num_prompts,
                duration_s=float(result["duration"]),
                metrics=figures,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobFailed(
                f"{item.name} left no usable result: {type(error).__name__}: {error}", self._tail(item.log)
            ) from None

    def _client_failed(self, code: int, client_log: Path) -> JobFailed:
        return JobFailed(f"the client exited with code {code} before its list was done", self._tail(client_log))

    def _tail(self, file: Path) -> Witness | None:
        """The last line of a client's log that says something."""
        watch = LogWatch(file)
        watch.read(last=True)
        return cause_witness(watch, self._run.relative(file))

    def _progress(self, done: int) -> str:
        """What goes on now: the first item includes the client's own start."""
        if done == len(self._items):
            return "measured"
        name = self._items[done].name
        return "warm-up" if name == "warmup" else f"repeat {done}/{len(self._items) - 1}"


def _complete_lines(report: Path) -> list[str]:
    try:
        text = report.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()
