"""What is known of what goes into an image (:mod:`vep_dagger.compat`, file ``pins.toml``): of releases, commits and
wheels.

A tree of git names its submodules and does not hold them. Pins take them along from here, so that each is pinned,
cached and mirrored by itself.
"""

from __future__ import annotations

from typing import Any, Literal

from vep_dagger.compat import Compat, DefaultPins, KnownCommit, NvshmemWheel

Component = Literal["deepgemm", "deepep"]

SUBMODULES = ("cutlass", "fmt")


def pins_of(vllm: str) -> DefaultPins:
    """What an image of a vLLM release is made of where nobody pins anything else. Raises CompatError for a release that
    is not known.
    """
    return Compat.shipped().pins(vllm)


def wheel_of(version: str, cuda: str, platform: str) -> NvshmemWheel | None:
    """NVIDIA's wheel of an NVSHMEM release for a CUDA such as ``12.8.1``; None for one that is not known."""
    return Compat.shipped().nvshmem_wheel(version, cuda.partition(".")[0], platform)


def commit_of(component: Component, commit: str) -> KnownCommit | None:
    """What is known of a commit; None for one that nobody has looked into."""
    return Compat.shipped().commit(component, commit)


def with_submodules(component: Component, written: Any, default: str) -> Any:
    """A table of pins with the submodules of its commit (of ``default``, where it has none); those that are written
    win. What is no table, and a commit that is not known, stay as they are.
    """
    table = {"commit": written} if isinstance(written, str) else written
    if not isinstance(table, dict) or (found := commit_of(component, str(table.get("commit", default)))) is None:
        return written
    return {name: commit for name in SUBMODULES if (commit := getattr(found, name))} | table
