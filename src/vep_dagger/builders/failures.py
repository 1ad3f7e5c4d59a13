"""What a failed command of a build is turned into: an error that says what happened, where, and what to do."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import textwrap
from collections.abc import Sequence
from pathlib import Path

from vep_dagger.builders.cache import VARIABLE
from vep_dagger.builders.lowering import command
from vep_dagger.builders.stages import JOBS_VARIABLE, Exec, Operation, Stage
from vep_dagger.builders.uv_words import NO_SOLUTION, UNREACHABLE
from vep_dagger.dsl import Check, Image
from vep_dagger.dsl.step import Install, Run
from vep_dagger.errors import BuildError, MachineError, VepError

_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_KILLED = re.compile(r"Killed signal terminated program|: Killed$")
"""GCC's driver (gcc.cc, ``execute``) and make, of a compiler that was killed."""
_REFUSED = re.compile(r"unauthorized|denied|authentication|forbidden", re.IGNORECASE)
"""What registries say to whom they do not let in (OCI distribution specification, "Error Codes")."""
_UNLOCKED_TOOL = re.compile(r"no trusted hash was provided for: (.+)")
"""What uv says where a build asks for what has no hash (``--require-build-hashes``)."""
_TAIL_LINES = 12
_LONGEST_COMMAND = 200


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


def failed(
    where: str, code: int, lines: Sequence[str], log: Path, hint: str | None = None, command: str | None = None
) -> BuildError:
    """A step or a check whose command ended with ``code`` (negative: the signal)."""
    ended = f"exited with {code}" if code >= 0 else f"was killed by signal {-code}"
    what = f"{where}: {ended}:{last_lines(lines)}"
    return BuildError(what, where=str(log), hint=hint, command=command, code=code, output=tuple(lines))


def step_failed(
    image: Image,
    stage: Stage,
    operation: Operation,
    code: int,
    output_lines: Sequence[str],
    log: Path,
    shell_hint: str | None = None,
) -> BuildError | MachineError:
    """An operation of a container's build that ended with ``code`` (negative: the signal; or 128 and the signal, as a
    shell says it): the layer, the step as a person would type it, and the last lines.

    ``shell_hint`` says how to get a shell where the step was. A MachineError where no package index answered.
    """
    step = operation.step
    if isinstance(step, Check):
        place, typed = f"check {step.name!r}", shlex.join(step.argv)
    else:
        place, typed = _place(stage), _typed(operation)
    what = f"{image.tag}, {place}: `{textwrap.shorten(typed, _LONGEST_COMMAND, placeholder=' …')}`"
    before = step.before if isinstance(step, Install) else None
    if isinstance(step, Install) and UNREACHABLE.search("\n".join(output_lines)):
        return _no_index(what, output_lines, log)
    return BuildError(
        f"{what} {_ended(code)}:{last_lines(output_lines)}",
        where=str(log),
        hint=_installation_hint(output_lines, before) or _memory_hint(code, output_lines, shell_hint),
        layer=stage.name,
        command=typed,
        code=code,
        output=tuple(output_lines),
    )


def base_missing(ref: str, said: str, *, where: str, tried: str | None = None) -> MachineError:
    """A base image that an engine could not get, with what the engine ``said``; ``tried`` is the reference after
    ``[mirrors]``, where that differs.
    """
    asked = f" (asked for as {tried}, as [mirrors] says)" if tried and tried != ref else ""
    login = f"`docker login {_registry(tried or ref)}` if you may have it; " if _REFUSED.search(said) else ""
    return MachineError(
        f"the base image {ref} cannot be had{asked}: {said.strip() or 'the engine did not say why'}",
        where=where,
        hint=f"{login}look whether the name and digest are right and the registry can be reached and lets you in; "
        "[mirrors] in the matrix file names another registry, and oci-archive:PATH a file",
    )


def push_refused(
    ref: str, said: str, output_lines: Sequence[str], *, log: Path, code: int | None = None, known_from: str = ""
) -> BuildError:
    """A registry that does not take an image, with what it ``said``; ``known_from`` is where the engine has the
    credentials from, where that is not plain."""
    login = f"`docker login {_registry(ref)}` if it asks who you are" + (f" ({known_from})" if known_from else "")
    return BuildError(
        f"the registry refused {ref}: {said}",
        where=str(log),
        hint=f"{login}; look whether the repository exists and you may write to it",
        code=code,
        output=tuple(output_lines[-_TAIL_LINES:]),
    )


def _registry(ref: str) -> str:
    """The registry of a reference, as `docker login` takes it."""
    first, slash, _ = ref.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def _memory_hint(code: int, lines: Sequence[str], shell_hint: str | None) -> str | None:
    """What killed commands most often want; after that, ``shell_hint``."""
    if code not in (-signal.SIGKILL, 128 + signal.SIGKILL) and not any(map(_KILLED.search, lines)):
        return shell_hint
    memory = f"memory ran out, most likely: try fewer jobs at a time, with {JOBS_VARIABLE}=2"
    return f"{memory}; {shell_hint}" if shell_hint else memory


def _place(stage: Stage) -> str:
    return f"layer {stage.name!r}" if stage.layer is not None else f"stage {stage.name!r}"


def _typed(operation: Operation) -> str:
    """An operation as a person would type it."""
    match operation.step:
        case Run(argv):
            return command(argv).replace(f"${{{JOBS_VARIABLE}}}", "$(nproc)")
        case None:
            return operation.text if isinstance(operation, Exec) else f"write {operation.path}"
        case Check(argv=argv):
            return shlex.join(argv)
        case step:
            return step.describe()


def _ended(code: int) -> str:
    if 128 < code < 128 + 65:
        code = 128 - code
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def installation_failed(where: str, code: int, lines: Sequence[str], log: Path, before: str | None) -> VepError:
    """An installation that uv gave up: MachineError if no index was there to answer, BuildError otherwise."""
    if UNREACHABLE.search("\n".join(lines)):
        return _no_index(where, lines, log)
    return failed(where, code, lines, log, _installation_hint(lines, before))


def _no_index(what: str, lines: Sequence[str], log: Path) -> MachineError:
    return MachineError(
        f"{what}: the package index cannot be reached:{last_lines(lines)}",
        where=str(log),
        hint="check the network and HTTPS_PROXY, or name an index that can be reached in UV_DEFAULT_INDEX or in "
        "pip's configuration",
    )


def _installation_hint(lines: Sequence[str], before: str | None) -> str | None:
    text = "\n".join(lines)
    if found := _UNLOCKED_TOOL.search(text):
        return (
            f"a source distribution asks for {found[1]} to be built, which the lock does not have for it: it asked for "
            "less where it was locked, or could not be asked there; lock it on a machine that is more like this one "
            "(`vep lock --upgrade environment`), or pin a release that has wheels"
        )
    if before and "upload" in text:
        return "this index does not tell when packages were uploaded: leave the pin 'before' empty"
    if before and NO_SOLUTION.search(text):
        return f"releases after {before} are not seen, since the pin 'before' says so"
    return None


def last_lines(lines: Sequence[str]) -> str:
    """The end of an output, as it is put below a message."""
    kept = [line for line in lines if line.strip()][-_TAIL_LINES:]
    return "".join(f"\n    {line}" for line in kept) or " it printed nothing"
