"""Commits of kernels that are known (``compat/pins.toml``), and the submodules that their trees name: a layer's pins
take those along, so that each submodule is pinned, cached and mirrored by itself.
"""

from __future__ import annotations

from typing import Any, Literal

from vep_dagger.compat import Compat, KnownCommit

Component = Literal["deepgemm", "deepep"]

SUBMODULES = ("cutlass", "fmt")


def known(component: Component, commit: str) -> KnownCommit | None:
    """What is known of the commit; None for one that nobody has looked into."""
    return Compat.load().commit(component, commit)


def with_submodules(component: Component, written: Any, default: str) -> Any:
    """A table of pins with the submodules of its commit (of ``default``, where it has none); those that are written
    win. What is no table, and a commit that is not known, stay as they are.
    """
    table = {"commit": written} if isinstance(written, str) else written
    if not isinstance(table, dict) or (found := known(component, str(table.get("commit", default)))) is None:
        return written
    return {name: commit for name in SUBMODULES if (commit := getattr(found, name))} | table
