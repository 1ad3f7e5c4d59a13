"""What a ``docker build`` that failed is turned into."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from vep_dagger.builders.docker.build_context import FILE_NAME
from vep_dagger.builders.docker.buildkit_log import BuildLog, Vertex
from vep_dagger.builders.docker.containerfile import Containerfile
from vep_dagger.builders.docker.instructions import Instruction
from vep_dagger.builders.docker.run import BuildRun
from vep_dagger.builders.failures import base_missing, last_lines, out_of_space, step_failed
from vep_dagger.builders.stages import Lowered
from vep_dagger.dsl import Layer
from vep_dagger.errors import BuildError, MachineError, VepError

_DAEMON = re.compile(
    r"Cannot connect to the Docker daemon|error during connect|code = Unavailable|transport is closing|"
    r"connection reset|connection refused|broken pipe|unexpected EOF|error reading from server|context canceled",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(r'"?(/\S+?)"?:? not found')
_LOOK_UP = re.compile(r"\[internal\] load metadata for (\S+)")
DEBUG_TAG = "vep-debug"


def build_failed(lowered: Lowered, file: Containerfile, code: int, heard: BuildLog, run: BuildRun) -> VepError:
    """The error of a build that ended with ``code``. The context stays for the commands that its hint has."""
    vertex = heard.failed
    everything = [*heard.others, *([vertex.error, *vertex.lines] if vertex else [])]
    if out_of_space(everything):
        return no_space(str(run.log))
    if vertex is None:
        return _died(code, heard, run)
    stage = file.stage(vertex.stage) if vertex.stage else None
    step = stage.step(vertex.number) if stage else None
    if stage is None or step is None:
        if found := _LOOK_UP.match(vertex.name):
            return base_missing(found.group(1), vertex.error or heard.complaint, where=str(run.log))
        return _died(code, heard, run)
    if step.operation is None or vertex.code is None or stage.stage is None:
        return _not_a_command(lowered, file, vertex, step, run.log)
    hint = _shell_hint(file, stage.name, vertex.number, run)
    return step_failed(lowered.image, stage.stage, step.operation, vertex.code, list(vertex.lines), run.log, hint)


def no_space(where: str) -> MachineError:
    """Docker's own disk is full."""
    return MachineError(
        "no space left for Docker's images and build cache",
        where=where,
        hint="`docker system df` shows what holds it; `docker builder prune` frees what builds have cached, "
        "`docker image prune` images without a name",
    )


def _died(code: int, heard: BuildLog, run: BuildRun) -> VepError:
    """No step failed: the daemon, its client, or what both were asked."""
    said = heard.complaint
    if _DAEMON.search("\n".join(heard.others)) or code < 0 or not heard.vertices:
        return MachineError(
            f"docker build ended with {code}, and no step had failed: {said}",
            where=str(run.log),
            hint="look whether the daemon is alive: docker info; a build that is begun again goes on from the steps "
            "that were finished",
        )
    return BuildError(f"docker build ended with {code}: {said}", where=str(run.log), code=code)


def _not_a_command(lowered: Lowered, file: Containerfile, vertex: Vertex, step: Instruction, log: Path) -> VepError:
    """A COPY, or a command that could not be started."""
    owner = file.stage(vertex.stage or "")
    name = owner.stage.name if owner and owner.stage else None
    missing = _NOT_FOUND.search(vertex.error)
    for layer in lowered.layers:
        if missing and missing.group(1) == layer.prefix:
            return BuildError(
                f"{lowered.image.tag}: layer {layer.name!r} left nothing at {layer.prefix}, which is all that is kept "
                "of it",
                where=str(log),
                hint="let its last step install below that prefix, or declare the prefix that it has",
                layer=layer.name,
            )
    lines = list(vertex.lines)
    kind = "layer" if isinstance(owner and owner.stage and owner.stage.layer, Layer) else "stage"
    return BuildError(
        f"{lowered.image.tag}, {kind} {name!r}: {step.text.splitlines()[0]}: {vertex.error}{last_lines(lines)}",
        where=str(log),
        layer=name,
        command=step.text,
        code=vertex.code,
        output=tuple(lines),
    )


def _shell_hint(file: Containerfile, stage: str, number: int, run: BuildRun) -> str:
    """How to stand where the step was: the file up to it, in the context that is kept."""
    debug = run.context / f"{FILE_NAME}.debug"
    debug.write_text(file.until(stage, number), encoding="utf-8")
    network = ["--network", run.settings.network] if run.settings.network else []
    build = ["docker", "build", *network, "-t", DEBUG_TAG, "-f", str(debug), str(run.context)]
    look = ["docker", "run", "-it", "--rm", *network, DEBUG_TAG, "/bin/sh"]
    return f"a shell before that step: DOCKER_BUILDKIT=1 {shlex.join(build)} && {shlex.join(look)}"
