"""What a person may decide of where and how images are built, and what never decides what is in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLAIN_BASE = "docker.io/library/python:3.12-bookworm"
"""What stands for :data:`vep_dagger.dsl.PLAIN` in containers unless people say otherwise: Debian with a Python, a C and
C++ compiler, make and git (https://hub.docker.com/_/python)."""

PLAIN_BASE_VARIABLE = "VEP_PLAIN_BASE"


@dataclass(frozen=True)
class BuildSettings:
    """How the builders for containers build. The same image comes out whatever stands here, but for ``plain_base``,
    which is in the key of whatever is built on it.
    """

    plain_base: str = PLAIN_BASE
    """The image for :data:`vep_dagger.dsl.PLAIN`: a reference, best with ``@sha256:…`` (a tag is resolved at each
    build, and the build says to what), or ``oci-archive:PATH``."""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """URL prefixes and what to use instead."""
    directory: Path = Path()
    """What ``oci-archive:`` paths of recipes are relative to: the matrix file's directory."""
    network: str | None = None
    """Docker: the network of build steps and of servers (``host``, for instance); None for Docker's default."""
    keep: str | None = None
    """Where finished layers are put aside and taken back from: a directory, or a repository of a registry
    (``ghcr.io/me/vep-layers``)."""
    publish: str | None = None
    """The repository that images are pushed to, tagged with their tags."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tag of each image of the matrix, by its key (:func:`.names.publish_tags`): for those that publish and export
    a part of it. An image that is not among them has its own."""
    published: str | None = None
    """The builder ``registry``: the repository that images were published to."""
    export: Path | None = None
    """The directory that images are exported to, as ``<tag>.tar``, OCI archives that ``docker load`` takes too."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    """The surroundings: secrets of recipes, proxies, certificates, package indexes."""
