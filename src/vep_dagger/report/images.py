"""The images of a run and their layers, from the records of its builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vep_dagger.evidence.record import AnyRecord, BuildRecord, FailedStep
from vep_dagger.report.model import ImageSummary, LayerSummary, Summary
from vep_dagger.report.text import clean

if TYPE_CHECKING:
    from vep_dagger.plan.document import ImageDoc, PlanDoc

WORK = ("failed", "built", "taken", "cached")
"""The states of a layer, the one that says most of what was done first."""


def images(plan: PlanDoc, records: Mapping[str, AnyRecord]) -> tuple[ImageSummary, ...]:
    """Each image of the plan, with how its build went if there was one."""
    builds = {job.image: records.get(job.id) for job in plan.jobs if job.kind == "build"}
    holders: dict[str, list[str]] = {}
    for doc in plan.images:
        record = builds.get(doc.key)
        for key in dict.fromkeys(layer.key for layer in record.layers) if isinstance(record, BuildRecord) else ():
            holders.setdefault(key, []).append(clean(doc.tag))
    return tuple(_image(doc, builds.get(doc.key), plan, holders) for doc in plan.images)


def different_layers(summary: Summary) -> list[tuple[LayerSummary, tuple[str, ...]]]:
    """Each different layer once, as the image had it that did the most for it, and the tags of all that hold it."""
    most: dict[str, LayerSummary] = {}
    for image in summary.images:
        for layer in image.layers:
            known = most.get(layer.key)
            if known is None or WORK.index(layer.state) < WORK.index(known.state):
                most[layer.key] = layer
    holders = {
        key: tuple(image.tag for image in summary.images if any(layer.key == key for layer in image.layers))
        for key in most
    }
    return [(layer, holders[key]) for key, layer in most.items()]


def cleaned_step(step: FailedStep | None) -> FailedStep | None:
    """The step with text that can be shown anywhere."""
    if step is None:
        return None
    return FailedStep(
        layer=clean(step.layer) if step.layer else None,
        command=clean(step.command) if step.command else None,
        code=step.code,
        output=[clean(line) for line in step.output],
    )


def told(step: FailedStep) -> list[str]:
    """A step that failed as lines: its layer, its command, its exit code, the end of its output."""
    lines = [f"layer {step.layer}"] if step.layer else []
    lines += [f"$ {step.command}"] if step.command else []
    lines += [f"exit code {step.code}"] if step.code is not None else []
    return [*lines, *step.output]


def _image(
    doc: ImageDoc, record: AnyRecord | None, plan: PlanDoc, holders: Mapping[str, list[str]]
) -> ImageSummary:  # fmt: skip
    cells = sum(cell.image == doc.key for cell in plan.cells)
    if not isinstance(record, BuildRecord):
        return ImageSummary(doc.key, doc.tag, doc.recipe, doc.release, doc.device, cells, "not-run")
    return ImageSummary(
        key=doc.key,
        tag=doc.tag,
        recipe=doc.recipe,
        release=doc.release,
        device=doc.device,
        cells=cells,
        state="failed" if record.verdict != "passed" else "cached" if record.cached else "built",
        reason=clean(record.reason) if record.reason else None,
        seconds=record.seconds,
        location=record.location,
        size_bytes=record.size_bytes,
        digest=record.digest,
        published=record.published,
        exported=record.exported,
        layers=tuple(
            LayerSummary(
                clean(layer.name), layer.key, layer.state, layer.seconds, layer.size_bytes,
                tuple(tag for tag in holders[layer.key] if tag != clean(doc.tag)),
                {clean(name): size for name, size in layer.parts.items()},
            )
            for layer in record.layers
        ),
        failed_step=cleaned_step(record.failed_step),
        hint=clean(record.witness.text) if record.witness and record.witness.text != record.reason else None,
        notes=tuple(clean(note) for note in record.notes),
        log=record.log,
    )  # fmt: skip
