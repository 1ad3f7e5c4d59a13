"""Jobs: build(image), smoke(deployment), bench(deployment, workload). A job's key says whether a record is still its
own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vep_dagger.compat.rules import LineRule
from vep_dagger.dsl import Image, key_of, short
from vep_dagger.dsl.key import Canonical
from vep_dagger.matrix.schema import MatrixFile, Smoke, Workload
from vep_dagger.plan.deployment import Deployment
from vep_dagger.plan.document import JobDoc, JobKind


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work and the jobs that must pass before it."""

    id: str
    kind: JobKind
    key: str
    needs: tuple[str, ...]
    image: Image
    deployment: Deployment | None = None
    workload: Workload | None = None

    def document(self) -> JobDoc:
        """The job as plain data."""
        return JobDoc(
            id=self.id,
            kind=self.kind,
            key=self.key,
            needs=list(self.needs),
            image=self.image.key,
            deployment=self.deployment.key if self.deployment else None,
            workload=self.workload.name if self.workload else None,
        )


def jobs_of(images: Iterable[Image], deployments: Iterable[Deployment], file: MatrixFile) -> tuple[Job, ...]:
    """The jobs of a plan: builds, then for each deployment its smoke job and its bench jobs."""
    jobs = [Job(build_id(image), "build", image.key, (), image) for image in images]
    for deployment in deployments:
        smoke = Job(
            id=f"smoke:{deployment.slug}",
            kind="smoke",
            key=_smoke_key(deployment, file.smoke),
            needs=(build_id(deployment.image),),
            image=deployment.image,
            deployment=deployment,
        )
        jobs.append(smoke)
        jobs += [
            Job(
                id=f"bench:{deployment.slug}:{load.name}",
                kind="bench",
                key=_bench_key(deployment, load),
                needs=(smoke.id,),
                image=deployment.image,
                deployment=deployment,
                workload=load,
            )
            for load in file.bench
        ]
    return tuple(jobs)


def build_id(image: Image) -> str:
    """The id of the job that builds ``image``."""
    return f"build:{short(image.key)}"


def _smoke_key(deployment: Deployment, smoke: Smoke) -> str:
    # Deadlines are not in it: patience does not decide what a server is.
    return key_of(
        "smoke",
        {
            "deployment": deployment.key,
            "rules": _rules(deployment),
            "prompts": smoke.prompts,
            "max_tokens": smoke.max_tokens,
        },
    )


def _bench_key(deployment: Deployment, load: Workload) -> str:
    # The rules are in it, since figures count only for a server that was proven by them.
    options = load.model_dump(exclude={"timeout"})
    return key_of(
        "bench",
        {
            "deployment": deployment.key,
            "rules": _rules(deployment),
            "workload": {name: _stable(value) for name, value in options.items()},
        },
    )


def _rules(deployment: Deployment) -> Canonical:
    def form(rules: tuple[LineRule, ...]) -> Canonical:
        return [[rule.name, rule.pattern, rule.violation] for rule in rules]

    return {"demanded": form(deployment.selection.demanded), "forbidden": form(deployment.selection.forbidden)}


def _stable(value: object) -> Canonical:
    """A float has no single spelling across writers of TOML (``1`` and ``1.0``), so its shortest text stands for it."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {str(name): _stable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stable(item) for item in value]
    assert value is None or isinstance(value, (bool, int, str))
    return value
