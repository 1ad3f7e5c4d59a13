"""A run: the jobs of a plan that are left, scheduled on a builder and a launcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from vep_dagger.builders.base import Builder, BuiltImage
from vep_dagger.dsl import Image
from vep_dagger.errors import BuildError, LaunchError, UsageError
from vep_dagger.evidence import AnyRecord, BuildRecord
from vep_dagger.jobs.build import run_build
from vep_dagger.jobs.events import Event
from vep_dagger.jobs.scheduler import Task, run_tasks
from vep_dagger.jobs.serving import Serving, Surroundings
from vep_dagger.launchers.base import Launcher
from vep_dagger.plan import Job, Plan
from vep_dagger.plan.job import build_id

Stage: TypeAlias = Literal["build", "smoke", "bench"]

LANES: Mapping[str, int] = {"build": 1, "gpu": 1, "machine": 1}
"""How many tasks a lane holds. Servers without a GPU share the lane ``machine`` with builds, since both want the same
cores; on GPUs builds go on beside a measurement."""


@dataclass
class Run:
    """What is left of a plan up to a stage, and how to carry it out."""

    plan: Plan
    stage: Stage
    builder: Builder
    around: Surroundings
    kept: Mapping[str, AnyRecord]
    """Records of an earlier run that still belong to the plan."""
    _built: dict[str, BuiltImage] = field(default_factory=dict)

    @staticmethod
    def refuse(plan: Plan, stage: Stage, builder: Builder, launcher: Launcher) -> None:
        """Raise UsageError for what the builder or the launcher cannot do, before anything is touched."""
        for image in plan.images:
            try:
                builder.refuse(image)
            except BuildError as error:
                raise UsageError(error.what, where=error.where, hint=error.hint) from None
        serve = plan.matrix.file.serve
        if stage == "build" or serve is None:
            return
        for deployment in plan.deployments:
            try:
                launcher.refuse(deployment.nodes, serve.host, serve.port)
            except (LaunchError, UsageError) as error:
                raise UsageError(error.what, where=error.where or f"cell {deployment.slug}", hint=error.hint) from None

    @staticmethod
    def _builds_alone(plan: Plan, stage: Stage) -> bool:
        """Whether images are all that is asked for: of the stage, or since nothing is served."""
        return stage == "build" or not plan.deployments

    @classmethod
    def left(cls, plan: Plan, stage: Stage, kept: Mapping[str, AnyRecord]) -> bool:
        """Whether anything of the plan is left to do, up to a stage."""
        for job in plan.jobs:
            if job.kind == "build" and cls._builds_alone(plan, stage) and job.id not in kept:
                return True
            if job.kind == "smoke" and stage != "build":
                benches = cls._benches(plan, stage, job)
                if cls._is_left(job, benches, kept):
                    return True
        return False

    async def carry_out(self) -> None:
        """Run the jobs that are left. A MachineError ends the run; what was finished stays."""
        builds = {job.id: job for job in self.plan.jobs if job.kind == "build"}
        serving = [task for task in map(self._serving_task, self._smokes()) if task] if self.stage != "build" else []
        needed = {need for task in serving for need in task.needs}
        alone = self._builds_alone(self.plan, self.stage)
        building = [
            self._build_task(job) for name, job in builds.items() if name in needed or (alone and name not in self.kept)
        ]
        for name in builds:
            if name not in needed:
                self._tell_kept(name)
        self._tell_planned({task.id for task in (*building, *serving)})
        await run_tasks([*building, *serving], LANES)

    def _smokes(self) -> list[Job]:
        return [job for job in self.plan.jobs if job.kind == "smoke"]

    def _build_task(self, job: Job) -> Task:
        earlier = self.kept.get(job.id)

        async def build() -> bool:
            kept = earlier if isinstance(earlier, BuildRecord) else None
            image = await run_build(job, self.builder, self.around.run, kept, self.around.emit)
            if image is not None:
                self._built[job.image.key] = image
            return image is not None

        return Task(job.id, self._lane("build", job.image), build, self._skipper(job))

    def _serving_task(self, smoke: Job) -> Task | None:
        """The task of a deployment, or None when nothing of it is left."""
        benches = self._benches(self.plan, self.stage, smoke)
        left = [job for job in benches if job.id not in self.kept]
        for job in (smoke, *benches):
            self._tell_kept(job.id)
        if not self._is_left(smoke, benches, self.kept):
            return None

        async def serve() -> bool:
            return await Serving(self.around, self._built[smoke.image.key], smoke, left).run()

        return Task(
            smoke.id, self._lane("gpu", smoke.image), serve, self._skipper(smoke, *left), needs=(build_id(smoke.image),)
        )

    @staticmethod
    def _benches(plan: Plan, stage: Stage, smoke: Job) -> list[Job]:
        if stage != "bench":
            return []
        return [job for job in plan.jobs_of_deployment(smoke) if job.kind == "bench"]

    @staticmethod
    def _is_left(smoke: Job, benches: Sequence[Job], kept: Mapping[str, AnyRecord]) -> bool:
        """Whether the server has to be started: to be proven, or, proven before, for a workload that is left."""
        earlier = kept.get(smoke.id)
        return earlier is None or (earlier.verdict == "passed" and any(job.id not in kept for job in benches))

    def _lane(self, lane: str, image: Image) -> str:
        return "machine" if image.device == "cpu" else lane

    def _skipper(self, *jobs: Job) -> Callable[[str], None]:
        def skipped(need: str) -> None:
            for job in jobs:
                self.around.emit(Event("job-skipped", f"{need} did not pass", job.id, "not-run"))

        return skipped

    def _tell_planned(self, tasks: set[str]) -> None:
        """Name all that is going to be done, in the plan's order, before anything of it begins."""
        for job in self.plan.jobs:
            measured = self.stage == "bench" and job.kind == "bench" and job.id not in self.kept
            if job.id in tasks or (measured and tasks.intersection(job.needs)):
                about = job.deployment.slug if job.deployment else job.image.tag
                self.around.emit(Event("job-planned", about, job.id))

    def _tell_kept(self, job: str) -> None:
        if record := self.kept.get(job):
            self.around.emit(Event("job-kept", record.reason or "done in an earlier run", job, record.verdict))
