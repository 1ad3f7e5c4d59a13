"""The plan as a document: what ``vep plan --json`` prints and ``plan.json`` of a run holds. ``docs/plan.md`` explains
each field.

The same matrix gives the same bytes on every machine: no times, no absolute paths, lists in the order of the matrix
file.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
"""Raised when a reader of an older document could misunderstand a newer one."""

JobKind: TypeAlias = Literal["build", "smoke", "bench"]


class Document(BaseModel):
    """Base of every object of the document: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class LayerDoc(Document):
    """One layer, once, however many images hold it."""

    key: str
    name: str
    prefix: str
    base: str = Field(description="The base layer's key, or an image reference.")
    needs: list[str] = Field(description="Keys of the layers whose prefixes its build sees.")
    images: int = Field(description="How many of the plan's images hold it.")
    unresolved: list[str] = Field(
        description="Sources whose hash nobody has seen yet; they must be locked before a build."
    )


class ImageDoc(Document):
    """One image."""

    key: str
    recipe: str
    tag: str
    release: str = Field(description="The vLLM release.")
    device: str
    base: str | None = Field(default=None, description="The base layer's key, or an image reference.")
    layers: list[str] = Field(description="Keys of its layers, in the order of merging.")
    env: dict[str, str] = Field(description="The variables that the image gives to whoever runs it.")
    unresolved: list[str] = Field(description="Sources of its own chain whose hash nobody has seen yet.")


class RuleDoc(Document):
    """A line that the log must show or must not show; see :class:`vep_dagger.compat.rules.LineRule`."""

    name: str
    pattern: str
    violation: Literal["failed", "fell-back"]


class NodeContainerDoc(Document):
    """What the container of a node needs of its machine."""

    gpus: int
    devices: list[str] = Field(description="Device files; a star stands for every one of that name.")
    ulimits: dict[str, int] = Field(description="-1 is no limit.")
    ipc: str
    host_network: bool


class NodeCommandDoc(Document):
    """What one node of a server runs; see :class:`vep_dagger.plan.nodes.NodeCommand`."""

    rank: int = Field(description="The node's number; 0 is the head.")
    start_rank: int = Field(description="The first of its data-parallel ranks.")
    local: int = Field(description="How many of them it has.")
    headless: bool
    argv: list[str] = Field(description="The command; ``{head}``, ``{host}`` and ``{port}`` are left to fill in.")
    env: dict[str, str]
    container: NodeContainerDoc


class DeploymentDoc(Document):
    """One server: image, model, arguments, environment, nodes."""

    key: str
    slug: str = Field(
        description="The cell under whose name its evidence is kept: the first of the matrix that it serves."
    )
    cells: list[str] = Field(description="The slugs of the cells that it serves.")
    image: str
    release: str
    device: str
    model: str = Field(description="A name on the hub, or a directory relative to the matrix file.")
    model_digest: str | None = Field(description="sha256 over the directory's files; None for a model of the hub.")
    served_model_name: str
    nodes: int
    node_commands: list[NodeCommandDoc] = Field(default=[], description="What each node runs, the head first.")
    args: list[str] = Field(description="What follows ``vllm serve MODEL``, but for host and port.")
    env: dict[str, str] = Field(description="Variables of the server on top of the image's.")
    unset: list[str] = Field(description="Variables that must not reach the server.")
    demanded: list[RuleDoc]
    forbidden: list[RuleDoc]


class CellDoc(Document):
    """One combination of choices."""

    slug: str
    choices: dict[str, str] = Field(description="Axis and label of the choice; an included cell may lack axes.")
    image: str | None = Field(description="None when impossible.")
    deployment: str | None = Field(description="None when impossible, or when the matrix serves nothing.")
    impossible: str | None = Field(description="Why the cell cannot be, known before anything is built.")
    warnings: list[str]


class WorkloadDoc(Document):
    """One ``[[bench]]`` of the matrix file, with its options as they are given to ``vllm bench serve``."""

    name: str
    num_prompts: int
    repeats: int
    options: dict[str, Any]


class JobDoc(Document):
    """One piece of work."""

    id: str = Field(description="``build:<image>``, ``smoke:<slug>`` or ``bench:<slug>:<workload>``.")
    kind: JobKind
    key: str = Field(
        description="sha256 over all that decides the result; a record with another key is of another job."
    )
    needs: list[str] = Field(description="Ids of the jobs that must pass first.")
    image: str
    deployment: str | None = None
    workload: str | None = None


class PickDoc(Document):
    """What makes a cell the best."""

    metric: str
    better: Literal["higher", "lower"]
    workload: str | None
    baseline: dict[str, str] = Field(description="Axis and label of the choices that mark the baseline's cells.")


class PlanDoc(Document):
    """The whole plan."""

    format: int = FORMAT
    matrix: str = Field(description="The matrix file's name.")
    recipe: str
    only: str | None = Field(description="The expression that chose the cells, if any.")
    axes: dict[str, list[str]] = Field(description="Each axis with the labels of its choices, in the file's order.")
    cells: list[CellDoc]
    layers: list[LayerDoc]
    images: list[ImageDoc]
    deployments: list[DeploymentDoc]
    workloads: list[WorkloadDoc]
    jobs: list[JobDoc]
    gates: dict[str, float] = Field(
        description="Limits that a pick must hold: latencies at most, throughputs at least."
    )
    pick: PickDoc
    warnings: list[str]
    lock: str | None = Field(
        default=None, description="sha256 over all that the lock resolves pins to; None where the matrix has no lock."
    )
