"""One server of one deployment: started, proven, measured, stopped. What is measured is the very process that was
proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vep_dagger.builders.base import BuiltImage
from vep_dagger.compat import Compat
from vep_dagger.errors import LaunchError
from vep_dagger.evidence import BenchRecord, RunDirectory, SmokeRecord, Witness
from vep_dagger.evidence.record import Answer, ServerFacts, StopFacts
from vep_dagger.jobs.bench import Bench
from vep_dagger.jobs.clock import Stopwatch
from vep_dagger.jobs.events import Emit, Event, EventKind
from vep_dagger.jobs.failure import JobFailed
from vep_dagger.jobs.probe import Probe
from vep_dagger.jobs.readiness import Start, await_ready
from vep_dagger.jobs.smoke import ask_completions, check_lines, check_version, lines_seen
from vep_dagger.jobs.start import log_watch, model_path, server_spec
from vep_dagger.launchers.base import Launcher, Server, ServerSpec, Stopped
from vep_dagger.matrix import Matrix
from vep_dagger.matrix.schema import Smoke
from vep_dagger.plan import Deployment, Job

OF_MODELS = ("HF_", "TRANSFORMERS_")
"""How the variables begin that say where models and tokenizers come from: a client finds them as its server does, and
gets nothing else of the server's."""


@dataclass(frozen=True)
class Surroundings:
    """What every job of a run shares."""

    matrix: Matrix
    run: RunDirectory
    launcher: Launcher
    compat: Compat
    emit: Emit


class Serving:
    """Carries out the smoke job of a deployment, and the bench jobs that are left, on one start of its server."""

    def __init__(self, around: Surroundings, image: BuiltImage, smoke: Job, benches: Sequence[Job]) -> None:
        assert smoke.deployment is not None
        self._around = around
        self._image = image
        self._job = smoke
        self._left = list(benches)
        self._deployment: Deployment = smoke.deployment
        self._model = model_path(around.matrix, self._deployment)
        self._number, self._directory = around.run.new_server_directory(self._deployment.slug)
        self._log_path = self._directory / "server.log"
        self._log = around.run.relative(self._log_path)
        self._watch = log_watch(self._log_path, self._deployment, around.compat)
        self._stopwatch = Stopwatch()
        self._seconds: float | None = None
        self._start: Start | None = None
        self._command: tuple[str, ...] = ()
        self._answers: list[Answer] = []
        self._warm: bool | None = None
        self._version: str | None = None
        self._memory: int | None = None
        self._failure: JobFailed | None = None

    async def run(self) -> bool:
        """Whether everything passed. Every job that was reached has its record afterwards."""
        self._emit("job-started", f"starting {self._deployment.slug}")
        passed = True
        try:
            async with self._around.launcher.start(self._image, self._spec()) as server:
                self._start = Start(self._around.compat.phases(self._deployment.image.release))
                self._command, self._warm = tuple(server.command), server.warm
                try:
                    await self._prove(server)
                except JobFailed as failure:
                    self._failure = failure
                self._finish_smoke()
                if self._failure is None:
                    while self._left:
                        passed = await self._bench(self._left.pop(0), server) and passed
                else:
                    self._skip_benches()
                stopped = await server.stop(self._smoke.deadlines.stop)
        except LaunchError as error:
            # What failed before, and led here, is the reason.
            self._failure = self._failure or JobFailed(
                error.what, Witness(file=self._log, text=error.hint or error.what)
            )
            self._finish_smoke()
            self._skip_benches()
            return False
        self._note_stop(stopped)
        return passed and self._failure is None

    @property
    def _smoke(self) -> Smoke:
        return self._around.matrix.file.smoke

    def _spec(self) -> ServerSpec:
        around = self._around
        return server_spec(around.matrix, self._deployment, self._directory, self._log_path, around.run.path)

    async def _prove(self, server: Server) -> None:
        assert self._start is not None
        deadlines = self._smoke.deadlines
        async with Probe(server.url, deadlines.request) as probe:
            await await_ready(server, probe, self._watch, self._log, self._start, deadlines, self._say)
            self._version = await check_version(probe, self._deployment)
            self._answers = await ask_completions(
                server, probe, self._watch, self._log, self._deployment, self._smoke, self._say
            )
        check_lines(self._watch, self._log)
        self._memory = server.memory_bytes()
        await server.settled()

    def _finish_smoke(self) -> None:
        self._seconds = self._stopwatch.seconds
        record = self._smoke_record(None)
        self._around.run.write(record)
        text = record.reason or f"healthy after {record.server.ready_seconds:.1f} s"
        self._emit("job-finished", text, verdict=record.verdict, seconds=record.seconds, file=self._log)

    def _smoke_record(self, stop: StopFacts | None) -> SmokeRecord:
        demanded, forbidden = lines_seen(self._watch, self._log)
        failure = self._failure
        return SmokeRecord(
            job=self._job.id,
            key=self._job.key,
            verdict=failure.verdict if failure else "passed",
            reason=failure.reason if failure else None,
            witness=failure.witness if failure else None,
            started=self._stopwatch.started,
            seconds=self._seconds or 0.0,
            deployment=self._deployment.key,
            server=ServerFacts(
                number=self._number,
                launcher=self._around.launcher.name,
                log=self._log,
                command=list(self._command),
                phases=self._start.spans() if self._start and self._start.ready_seconds else [],
                ready_seconds=self._start.ready_seconds if self._start else None,
                warm=self._warm,
                version=self._version,
                peak_memory_bytes=self._memory,
                stop=stop,
            ),
            answers=self._answers,
            demanded=demanded,
            forbidden=forbidden,
        )

    def _note_stop(self, stopped: Stopped) -> None:
        """Complete the smoke record: a server that passed must also end when it is asked to."""
        facts = StopFacts(
            exit_code=stopped.exit_code, clean=stopped.clean, seconds=round(stopped.seconds, 3), killed=stopped.killed
        )
        if stopped.exit_code is None and self._failure is None:
            self._failure = JobFailed(
                f"the server did not end within {self._smoke.deadlines.stop:g} s of being asked to",
                Witness(file=self._log, text=f"{stopped.killed} processes had to be killed"),
            )
            self._emit("job-finished", self._failure.reason, verdict="failed", file=self._log)
        elif stopped.killed:
            self._emit(
                "note", f"{self._deployment.slug}: {stopped.killed} processes of the server outlived it and were killed"
            )
        self._around.run.write(self._smoke_record(facts))

    async def _bench(self, job: Job, server: Server) -> bool:
        load = job.workload
        assert load is not None
        stopwatch = Stopwatch()
        self._around.emit(Event("job-started", f"measuring {load.name}", job.id))
        bench = Bench(
            self._around.run,
            self._deployment.slug,
            load,
            self._around.compat.bench(self._deployment.image.release),
            url=server.url,
            model=self._model,
            served_model_name=self._deployment.model.served_name,
            env={name: value for name, value in self._deployment.env if name.startswith(OF_MODELS)},
        )
        failure: JobFailed | None = None
        try:
            await bench.measure(
                server, self._watch, self._log, lambda text: self._around.emit(Event("job-progress", text, job.id))
            )
        except JobFailed as error:
            failure = error
        except LaunchError as error:
            # The client's: the server was proven, and stays so.
            failure = JobFailed(error.what, Witness(file=self._log, text=error.hint or error.what))
        self._memory = max(filter(None, (self._memory, server.memory_bytes())), default=None)
        measured = bench.measured
        record = BenchRecord(
            job=job.id,
            key=job.key,
            verdict=failure.verdict if failure else "passed",
            reason=failure.reason if failure else None,
            witness=failure.witness if failure else None,
            started=stopwatch.started,
            seconds=stopwatch.seconds,
            deployment=self._deployment.key,
            workload=load.name,
            server=self._number,
            command=measured.command,
            warmup=measured.warmup,
            repeats=measured.repeats,
            server_requests=measured.server_requests,
        )
        self._around.run.write(record)
        text = record.reason or f"{len(record.repeats)} repeats"
        self._around.emit(Event("job-finished", text, job.id, record.verdict, record.seconds))
        return failure is None

    def _skip_benches(self) -> None:
        for job in self._left:
            self._around.emit(Event("job-skipped", f"{self._job.id} did not pass", job.id, "not-run"))

    def _say(self, text: str) -> None:
        self._emit("job-progress", text)

    def _emit(
        self,
        kind: EventKind,
        text: str,
        *,
        verdict: str | None = None,
        seconds: float | None = None,
        file: str | None = None,
    ) -> None:
        self._around.emit(Event(kind, text, self._job.id, verdict, seconds, file))
