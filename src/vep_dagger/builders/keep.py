"""Where finished layers are put aside, and taken back from: ``--keep DIR|REPOSITORY``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vep_dagger.errors import UsageError

_REPOSITORY = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
"""The name of a repository, without its registry (OCI distribution specification, "Pull")."""


def layer_tag(key: str) -> str:
    """The name under which the layer with this key is kept: a tag of a registry, or a file's name."""
    return f"layer-{key}"


@dataclass(frozen=True, slots=True)
class KeepDirectory:
    """A directory of this machine that holds one archive a layer."""

    path: Path

    def layer(self, key: str) -> Path:
        """The archive of the layer with this key, there or not."""
        return self.path / f"{layer_tag(key)}.tar"


@dataclass(frozen=True, slots=True)
class KeepRepository:
    """A repository of a registry that holds one image a layer."""

    repository: str

    def layer(self, key: str) -> str:
        """The reference of the layer with this key, there or not."""
        return f"{self.repository}:{layer_tag(key)}"


Keep: TypeAlias = KeepDirectory | KeepRepository


def parse_keep(text: str) -> Keep:
    """What a person wrote behind ``--keep``: a repository if it begins with a registry (``ghcr.io/me/layers``,
    ``localhost:5000/layers``), else a directory. ``./ghcr.io/me`` is a directory too. Raises UsageError.
    """
    if not text.strip():
        raise UsageError("it names nothing", where="--keep", hint="give a directory, or a repository of a registry")
    registry, slash, name = text.partition("/")
    begins_with_registry = bool(re.fullmatch(r"[\w-]+(\.[\w-]+)*(:\d+)?", registry)) and (
        "." in registry or ":" in registry or registry == "localhost"
    )
    if not (slash and begins_with_registry) or Path(text).is_dir():
        return KeepDirectory(Path(text).expanduser().absolute())
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(
            f"{text!r} is no repository of a registry: after {registry}/ it has {name!r}",
            where="--keep",
            hint="a repository has lower-case letters, digits and . _ - /, and no tag; "
            f"if a directory is meant, write ./{text}",
        )
    return KeepRepository(text)
