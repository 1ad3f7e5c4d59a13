"""What a failed query to Dagger is turned into: an error that says what happened, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vep_dagger.builders.failures import base_missing, last_lines, out_of_space, push_refused
from vep_dagger.builders.stages import Lowered, Stage
from vep_dagger.errors import BuildError, MachineError, VepError

if TYPE_CHECKING:
    from dagger import QueryError

_TRACE = re.compile(r"\s*\[traceparent:[^\]]*\]")
_UNRESOLVED = re.compile(r'failed to resolve image "([^"]+)"')
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)

SHELL_HINT = (
    "for a shell where it failed, run the same under `dagger run -i …`: it opens a terminal in the container of the "
    "command that failed"
)


def said_by(error: QueryError) -> str:
    """What the engine says, without the name of its trace."""
    return _TRACE.sub("", str(error)).strip()


def is_missing(error: QueryError) -> bool:
    """Whether it only says that a registry has no image of that name."""
    return bool(_UNRESOLVED.search(str(error))) and "not found" in str(error)


def no_space(where: str, lines: Sequence[str] = ()) -> MachineError:
    """The engine's disk is full."""
    return MachineError(
        f"no space left on the disk of the Dagger engine:{last_lines(lines)}" if lines else
        "no space left on the disk of the Dagger engine",
        where=where,
        hint="free some where the engine keeps its state (by default /var/lib/dagger, or the Docker volume of its "
        "container): `dagger core engine local-cache prune` drops what no session uses; or give it a larger disk",
    )  # fmt: skip


def query_failed(
    lowered: Lowered, stage: Stage, error: QueryError, log: Path, redact: Callable[[str], str]
) -> VepError:
    """A query that failed, and was no command of the recipe's. ``redact`` takes secrets out of what the engine said."""
    text = redact(said_by(error))
    if _FULL.search(text):
        return no_space(str(log), text.splitlines())
    if found := _UNRESOLVED.search(text):
        return base_missing(found[1], text, where=str(log))
    place = f"layer {stage.name!r}" if stage.layer is not None else f"stage {stage.name!r}"
    name = stage.layer.name if stage.layer else None
    if stage.prefix != "/" and f"stat {stage.prefix}: no such file" in text:
        return BuildError(
            f"{lowered.image.tag}, {place}: its steps left nothing at {stage.prefix}, which is what is kept of it",
            where=str(log),
            hint="look at what the steps install, and where: the layer's prefix says where it must be",
            layer=name,
        )
    return BuildError(f"{lowered.image.tag}, {place}: the Dagger engine says: {text}", where=str(log), layer=name)


def is_full(lines: Sequence[str]) -> bool:
    """Whether a command failed for want of space on the engine's disk."""
    return out_of_space(lines)


def unpackable(ref: str, error: QueryError, path: Path) -> VepError:
    """An archive that the engine does not take."""
    if _FULL.search(str(error)):
        return no_space(str(path))
    return base_missing(ref, said_by(error), where=str(path))


def refused(ref: str, error: QueryError, log: Path) -> VepError:
    """A registry that does not take an image."""
    if _FULL.search(str(error)):
        return no_space(str(log), [said_by(error)])
    said = said_by(error)
    return push_refused(ref, said, said.splitlines(), log=log, known_from="Dagger reads docker's credentials")
