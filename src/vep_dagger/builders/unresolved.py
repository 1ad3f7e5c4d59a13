"""Images that no container engine may build yet, since nobody knows what they would hold."""

from __future__ import annotations

from vep_dagger.builders.sources.fetch import refuse_unresolved
from vep_dagger.builders.stages import Lowered, Tree
from vep_dagger.dsl import ImageSource, Source
from vep_dagger.errors import BuildError


def refuse_unresolved_of(lowered: Lowered) -> None:
    """Raise BuildError for a base or a source without a digest, commit or sha256, with the layer that has it."""
    for stage in lowered.stages:
        sources: list[Source] = [operation.source for operation in stage.operations if isinstance(operation, Tree)]
        for source in [*([stage.base] if isinstance(stage.base, ImageSource) else []), *sources]:
            if source.resolved:
                continue
            name = stage.layer.name if stage.layer else None
            place = f"layer {name!r}" if name else lowered.image.tag
            if isinstance(source, ImageSource):
                raise BuildError(
                    f"{place}: the image {source.ref} has no digest, and may be another one tomorrow",
                    where=lowered.image.tag,
                    hint="`vep lock` finds it; or write it into the matrix file: "
                    f"`docker buildx imagetools inspect {source.ref}` says it",
                    layer=name,
                )
            try:
                refuse_unresolved(source)
            except BuildError as error:
                raise BuildError(
                    f"{place}: {error.what}", where=lowered.image.tag, hint=error.hint, layer=name
                ) from None
