"""Records of an image: ``plan.json`` of a run, or the manifest that an image holds. They have keys, and no inputs; a
manifest also has what no key holds, the distribution's packages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vep_dagger.errors import UsageError, did_you_mean
from vep_dagger.plan.document import PlanDoc


@dataclass(frozen=True)
class Recorded:
    """What a record says of one image."""

    what: str
    """In words."""
    cell: str | None
    image: str | None
    """The image's key."""
    tag: str | None
    layers: Mapping[str, str]
    """Keys of the layers by name."""
    env: Mapping[str, str]
    complete: bool
    """Whether every layer that the image needs is among them."""
    impossible: str | None = None
    system: Mapping[str, str] = field(default_factory=dict)
    """Packages of the distribution in it; empty where it says nothing of them."""


def read_record(file: Path, cell: str | None, word: str) -> Recorded:
    """The record in a file. Raises UsageError for a file that is no record, and for a cell that it has not."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", where=word) from None
    if isinstance(data, dict) and "cells" in data:
        return _of_plan(data, file, cell, word)
    if isinstance(data, dict) and isinstance(data.get("image"), str) and "tag" in data:
        return _of_manifest(data, file)
    raise UsageError(f"{file} is neither plan.json of a run nor the manifest of an image", where=word)


def _of_manifest(data: dict[str, Any], file: Path) -> Recorded:
    """A container's has layers; an environment's (``vep-manifest.json``) has the image's key alone."""
    try:
        layers = {str(layer["name"]): str(layer["layer"]) for layer in data.get("layers", [])}
        tag, env, system = str(data["tag"]), _texts(data, "env"), _texts(data, "system_packages")
    except (AttributeError, KeyError, TypeError):
        raise UsageError(f"{file} is a damaged manifest", where=str(file)) from None
    what = f"image {tag} by its manifest {file}"
    return Recorded(what, None, data["image"], tag, layers, env, bool(layers), system=system)


def _texts(data: dict[str, Any], name: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in data.get(name, {}).items()}


def _of_plan(data: dict[str, Any], file: Path, cell: str | None, word: str) -> Recorded:
    try:
        plan = PlanDoc.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{file} is no plan of this version: {place}: {first['msg']}", where=word, hint="plan its matrix file again"
        ) from None
    slugs = [each.slug for each in plan.cells]
    if cell is None and len(slugs) == 1:
        cell = slugs[0]
    if cell is None:
        raise UsageError(f"{file} has {len(slugs)} cells, and none is named", hint=f"name one: {word}:{slugs[0]}")
    found = next((each for each in plan.cells if each.slug == cell), None)
    if found is None:
        raise UsageError(f"{file} has no cell {cell!r}", where=word, hint=did_you_mean(cell, slugs))
    what = f"cell {cell} in {file}"
    image = next((each for each in plan.images if each.key == found.image), None)
    if image is None:
        return Recorded(what, cell, None, None, {}, {}, complete=True, impossible=found.impossible)
    known = {layer.key: layer for layer in plan.layers}
    layers: dict[str, str] = {}
    waiting = [*image.layers, *([image.base] if image.base else [])]
    while waiting:
        layer = known.get(waiting.pop())
        if layer is not None and layers.setdefault(layer.name, layer.key) == layer.key:
            waiting += [key for key in (layer.base, *layer.needs) if key in known and known[key].name not in layers]
    layers = {layer.name: layer.key for layer in plan.layers if layers.get(layer.name) == layer.key}
    return Recorded(what, cell, image.key, image.tag, layers, image.env, image.base is not None)
