"""The plan: what a matrix comes to. Cells, the unique layers, images and deployments that they need, and the jobs in
their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from vep_dagger.compat.rules import LineRule
from vep_dagger.dsl import Image, ImageSource, Layer
from vep_dagger.matrix import Cell, Matrix, select
from vep_dagger.matrix.cell import label_of
from vep_dagger.matrix.lock import Lock
from vep_dagger.plan.deployment import Deployment
from vep_dagger.plan.document import (
    CellDoc,
    DeploymentDoc,
    ImageDoc,
    LayerDoc,
    NodeCommandDoc,
    NodeContainerDoc,
    PickDoc,
    PlanDoc,
    RuleDoc,
    WorkloadDoc,
)
from vep_dagger.plan.job import Job, jobs_of
from vep_dagger.plan.nodes import NodeCommand, node_commands


class PlannedCell(NamedTuple):
    """A cell with the image and the server that it needs, or with the reason why it cannot be. Without a server where
    the matrix serves nothing.
    """

    cell: Cell
    image: Image | None
    deployment: Deployment | None = None
    impossible: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that a matrix comes to: a pure function of the files, the same on every machine."""

    matrix: Matrix
    only: str | None
    cells: tuple[PlannedCell, ...]
    warnings: Mapping[str, str] = field(default_factory=dict)
    """What people should know, by the vLLM release that it is about."""
    lock: Lock | None = None
    """The lock beside the matrix file, which the images are made with; None where there is none."""
    recipes_own: Mapping[str, Sequence[Image]] = field(default_factory=dict)
    """The images as the recipe made them, before the lock, by the keys that they have with it. Several can come to one:
    a tag, and the commit that it is."""

    def choose(self, only: str | None, place: str = "-k") -> Plan:
        """The plan of those cells that the expression chooses, which was given as ``place``; of all, without one.
        Raises UsageError."""
        if only is None:
            return self
        chosen = {cell.slug for cell in select(tuple(item.cell for item in self.cells), only, place)}
        return replace(self, only=only, cells=tuple(item for item in self.cells if item.cell.slug in chosen))

    @cached_property
    def deployments(self) -> tuple[Deployment, ...]:
        """The different servers, in the order of their first cells."""
        return tuple({id(cell.deployment): cell.deployment for cell in self.cells if cell.deployment}.values())

    @cached_property
    def images(self) -> tuple[Image, ...]:
        """The different images, in the order of their first cells."""
        images = {id(cell.image): cell.image for cell in self.cells if cell.image}.values()
        return tuple({image.key: image for image in images}.values())

    @property
    def recipe_images(self) -> tuple[Image, ...]:
        """The images as the recipe made them, before the lock: what a lock is made of."""
        return tuple(own for image in self.images for own in self.recipes_own.get(image.key, (image,)))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The different layers, each after what it needs."""
        found: dict[str, Layer] = {}
        for image in self.images:
            for layer in with_needs(image):
                found.setdefault(layer.key, layer)
        return tuple(found.values())

    @cached_property
    def layer_builds_alone(self) -> int:
        """How many layer builds there would be if each cell were built by itself; ``len(layers)`` is what the plan
        needs."""
        cells = Counter(cell.image.key for cell in self.cells if cell.image)
        return sum(cells[image.key] * sum(1 for _ in with_needs(image)) for image in self.images)

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Every job, builds first, each after what it needs."""
        return jobs_of(self.images, self.deployments, self.matrix.file)

    @cached_property
    def _jobs_by_deployment(self) -> dict[str, list[Job]]:
        found: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.deployment:
                found.setdefault(job.deployment.slug, []).append(job)
        return found

    def jobs_of_deployment(self, job: Job) -> list[Job]:
        """The smoke and bench jobs of the server that ``job`` is of."""
        return self._jobs_by_deployment[job.deployment.slug] if job.deployment else []

    @property
    def possible(self) -> int:
        """How many cells are not impossible."""
        return sum(1 for cell in self.cells if cell.image)

    def document(self) -> PlanDoc:
        """The plan as plain data, for ``--json`` and for the run directory."""
        file = self.matrix.file
        served: dict[int, list[str]] = {}
        for planned in self.cells:
            if planned.deployment:
                served.setdefault(id(planned.deployment), []).append(planned.cell.slug)
        return PlanDoc(
            matrix=self.matrix.path.name,
            recipe=file.recipe,
            only=self.only,
            axes={name: [label_of(choice) for choice in choices] for name, choices in file.axes.items()},
            cells=[self._cell(planned) for planned in self.cells],
            layers=self.document_layers(),
            images=[_image(image) for image in self.images],
            deployments=[_deployment(item, served[id(item)]) for item in self.deployments],
            workloads=[
                WorkloadDoc(
                    name=load.name,
                    num_prompts=load.num_prompts,
                    repeats=load.repeats,
                    options=load.model_dump(exclude={"name", "num_prompts", "repeats"}),
                )
                for load in file.bench
            ],
            jobs=[job.document() for job in self.jobs],
            gates={str(metric): float(limit) for metric, limit in file.gates.items()},
            pick=self._pick(),
            warnings=self.all_warnings,
            lock=self.lock.digest if self.lock else None,
        )

    def document_layers(self) -> list[LayerDoc]:
        """The layers as plain data."""
        images = Counter(layer.key for image in self.images for layer in with_needs(image))
        return [
            LayerDoc(
                key=layer.key,
                name=layer.name,
                prefix=layer.prefix,
                base=layer.base.key if isinstance(layer.base, Layer) else layer.base.ref,
                needs=[need.key for need in layer.needs],
                images=images[layer.key],
                unresolved=_unresolved(layer),
            )
            for layer in self.layers
        ]

    @cached_property
    def all_warnings(self) -> list[str]:
        """What people should know of any cell, once."""
        # A matrix can have a hundred thousand cells, and few different images and servers.
        different = {(id(planned.image), id(planned.deployment)): planned for planned in self.cells}.values()
        return list(dict.fromkeys(text for planned in different for text in self._warnings_of(planned)))

    def _warnings_of(self, planned: PlannedCell) -> list[str]:
        if planned.image is None:
            return []
        of_release = self.warnings.get(planned.image.release)
        of_server = planned.deployment.selection.notes if planned.deployment else ()
        return [*([of_release] if of_release else []), *planned.image.notes, *of_server]

    def _cell(self, planned: PlannedCell) -> CellDoc:
        image, deployment = planned.image, planned.deployment
        return CellDoc(
            slug=planned.cell.slug,
            choices=dict(planned.cell.choices),
            image=image.key if image else None,
            deployment=deployment.key if deployment else None,
            impossible=planned.impossible,
            warnings=self._warnings_of(planned),
        )

    def _pick(self) -> PickDoc:
        pick = self.matrix.file.pick
        metric, better = pick.goal
        return PickDoc(
            metric=metric,
            better=better,
            workload=pick.workload or (self.matrix.file.bench[0].name if self.matrix.file.bench else None),
            baseline={axis: label_of(value) for axis, value in pick.baseline.items()},
        )


def with_needs(image: Image) -> tuple[Layer, ...]:
    """The layers of an image with all that they need, bases included; each after its needs."""
    ordered: dict[str, Layer] = {}

    def visit(layer: Layer) -> None:
        if layer.key in ordered:
            return
        if isinstance(layer.base, Layer):
            visit(layer.base)
        for need in layer.needs:
            visit(need)
        ordered[layer.key] = layer

    if isinstance(image.base, Layer):
        visit(image.base)
    for layer in image.layers:
        visit(layer)
    return tuple(ordered.values())


def _unresolved(item: Layer | Image) -> list[str]:
    """What a person calls the sources whose hash nobody has seen yet."""
    sources = item.build.sources if isinstance(item.base, Layer) else (item.base, *item.build.sources)
    return [source.ref if isinstance(source, ImageSource) else source.url for source in sources if not source.resolved]


def _image(image: Image) -> ImageDoc:
    return ImageDoc(
        key=image.key,
        recipe=image.recipe,
        tag=image.tag,
        release=image.release,
        device=image.device,
        base=image.base.key if isinstance(image.base, Layer) else image.base.ref,
        layers=[layer.key for layer in image.layers],
        env=image.env,
        unresolved=_unresolved(image),
    )


def _deployment(deployment: Deployment, cells: list[str]) -> DeploymentDoc:
    return DeploymentDoc(
        key=deployment.key,
        slug=deployment.slug,
        cells=cells,
        image=deployment.image.key,
        release=deployment.image.release,
        device=deployment.image.device,
        model=deployment.model.source,
        model_digest=deployment.model.digest,
        served_model_name=deployment.model.served_name,
        nodes=deployment.nodes,
        node_commands=[_node(node) for node in node_commands(deployment)],
        args=list(deployment.args),
        env=dict(deployment.env),
        unset=list(deployment.selection.unset),
        demanded=[_rule(rule) for rule in deployment.selection.demanded],
        forbidden=[_rule(rule) for rule in deployment.selection.forbidden],
    )


def _node(node: NodeCommand) -> NodeCommandDoc:
    return NodeCommandDoc(
        rank=node.rank,
        start_rank=node.start_rank,
        local=node.local,
        headless=node.headless,
        argv=list(node.argv),
        env=dict(node.env),
        container=NodeContainerDoc(
            gpus=node.container.gpus,
            devices=list(node.container.devices),
            ulimits=dict(node.container.ulimits),
            ipc=node.container.ipc,
            host_network=node.container.host_network,
        ),
    )


def _rule(rule: LineRule) -> RuleDoc:
    return RuleDoc(name=rule.name, pattern=rule.pattern, violation=rule.violation)
