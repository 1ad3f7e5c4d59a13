"""Tags and branches of git repositories, as the program ``git`` of this machine is told them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vep_dagger.builders.mirrors import rewrite, shown
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.git import QUESTION_TIMEOUT_S, environment, program, unreachable
from vep_dagger.errors import LaunchError, LockError, MachineError
from vep_dagger.processes.run import run_logged

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_LINE = re.compile(r"([0-9a-f]{40})\t(\S+)")
_PEELED = "^{}"
"""What git adds to the name of an annotated tag where it tells the commit that the tag is of."""
_TAGS, _BRANCHES = "refs/tags/", "refs/heads/"
_NEAR = 4


@dataclass(frozen=True, slots=True)
class Ref:
    """What a tag or a branch stands for now."""

    commit: str
    branch: bool


async def resolve_ref(url: str, ref: str, settings: BuildSettings) -> Ref:
    """The commit of a tag or branch; of one name that both have, the tag's. A full commit is itself, and nobody is
    asked.

    Raises LockError for a name that the repository does not have, with the nearest tags, and MachineError for a
    repository that cannot be reached.
    """
    if _COMMIT.fullmatch(ref):
        return Ref(ref, branch=False)
    names = [ref] if ref.startswith("refs/") or ref == "HEAD" else [f"{_TAGS}{ref}", f"{_BRANCHES}{ref}"]
    found = await _ask(url, [pattern for name in names for pattern in (name, name + _PEELED)], settings)
    for name in names:
        # An annotated tag is an object of its own; what is built is the commit that it names.
        if commit := found.get(name + _PEELED) or found.get(name):
            return Ref(commit, branch=not name.startswith(_TAGS))
    raise await _unknown(url, ref, settings)


async def _ask(url: str, words: list[str], settings: BuildSettings) -> Mapping[str, str]:
    """Names and commits that ``git ls-remote`` tells."""
    environ = environment(url, settings)
    with tempfile.TemporaryDirectory(prefix="vep-lock-") as directory:
        log = Path(directory) / "git.log"
        command = [program(environ), "ls-remote", url, *words]
        try:
            code = await run_logged(
                command, env=environ, cwd=Path(directory), log=log, timeout_s=QUESTION_TIMEOUT_S, label="git ls-remote"
            )
        except LaunchError as error:
            raise MachineError(f"git ls-remote: {error.what}", where=shown(rewrite(url, settings.mirrors))) from None
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    if code:
        raise unreachable(url, "cannot be asked for its tags", lines, settings)
    told = [match.groups() for line in lines if (match := _LINE.fullmatch(line))]
    return {name: commit for commit, name in told}


async def _unknown(url: str, ref: str, settings: BuildSettings) -> LockError:
    names = await _ask(url, [f"{_TAGS}*", f"{_BRANCHES}*"], settings)
    tags = [name.removeprefix(_TAGS) for name in names if name.startswith(_TAGS) and not name.endswith(_PEELED)]
    near = get_close_matches(ref, tags, n=_NEAR, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"it has {len(tags)} tags, none of them like it"
    if _SHORT.fullmatch(ref):
        hint = f"a commit is written in full, with 40 hex characters; as a tag, {hint}"
    return LockError(
        f"{shown(url)} has no tag or branch {ref!r}", where=shown(rewrite(url, settings.mirrors)), hint=hint
    )
