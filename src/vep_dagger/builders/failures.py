"""What a failed command of a build is turned into: an error that says what happened, where, and what to do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from vep_dagger.builders.cache import VARIABLE
from vep_dagger.errors import BuildError, MachineError, VepError

_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_UNREACHABLE = re.compile(
    r"error sending request|Request failed after|Failed to fetch|Failed to read `--find-links` URL|dns error|timed out"
)
_NO_SOLUTION = re.compile(r"No solution found")
_TAIL_LINES = 12
_REASON_LENGTH = 200


def out_of_space(lines: Sequence[str]) -> bool:
    """Whether a command failed for want of space."""
    return any(_NO_SPACE.search(line) for line in lines)


def no_space(root: Path, need_bytes: int = 0, *, also: Path | None = None) -> MachineError:
    """No space, on the fuller of the file systems of the cache and of ``also``, with what would give some."""
    places = [place for place in (root, also) if place is not None and place.exists()]
    free, full = min((shutil.disk_usage(place).free, place) for place in places)
    mount = next(place for place in (full, *full.parents) if place.is_mount())
    need = f"a build needs {need_bytes / 1e9:.1f} GB at least, and it has" if need_bytes else "it has"
    return MachineError(
        f"no space left on {mount}: {need} {free / 1e9:.1f} GB",
        where=str(full),
        hint="`vep cache prune` frees environments that are not used, `uv cache clean` what uv has downloaded; "
        f"or name another directory in {VARIABLE}",
    )


def failed(where: str, code: int, lines: Sequence[str], log: Path, hint: str | None = None) -> BuildError:
    """A step or a check whose command ended with ``code`` (negative: the signal)."""
    ended = f"exited with {code}" if code >= 0 else f"was killed by signal {-code}"
    return BuildError(f"{where}: {ended}:{last_lines(lines)}", where=str(log), hint=hint)


def installation_failed(where: str, code: int, lines: Sequence[str], log: Path, before: str | None) -> VepError:
    """An installation that uv gave up: MachineError if no index was there to answer, BuildError otherwise."""
    text = "\n".join(lines)
    if _UNREACHABLE.search(text):
        return MachineError(
            f"{where}: the package index cannot be reached:{last_lines(lines)}",
            where=str(log),
            hint="check the network and HTTPS_PROXY, or name an index that can be reached in UV_DEFAULT_INDEX or in "
            "pip's configuration",
        )
    hint = None
    if before and "upload" in text:
        hint = "this index does not tell when packages were uploaded: leave the pin 'before' empty"
    elif before and _NO_SOLUTION.search(text):
        hint = f"releases after {before} are not seen, since the pin 'before' says so"
    return failed(where, code, lines, log, hint)


def unavailable(lines: Sequence[str]) -> str | None:
    """Why uv could not resolve, in one line, if that is for want of packages or of an index that answers; else None."""
    text = "\n".join(lines)
    if not (_NO_SOLUTION.search(text) or _UNREACHABLE.search(text)):
        return None
    # The deepest cause names what is missing; the lines above it say in which undertaking.
    causes = [line for line in lines if re.match(r"\s*(error|cause):|\s*(×|├─▶|╰─▶)", line)]
    said = (causes or [line for line in lines if line.strip()])[-1].strip()
    said = re.sub(r"^(error:|cause:|×|├─▶|╰─▶) *|, we can conclude that .*", "", said)
    return said if len(said) <= _REASON_LENGTH else f"{said[: _REASON_LENGTH - 1]}…"


def last_lines(lines: Sequence[str]) -> str:
    """The end of an output, as it is put below a message."""
    kept = [line for line in lines if line.strip()][-_TAIL_LINES:]
    return "".join(f"\n    {line}" for line in kept) or " it printed nothing"
