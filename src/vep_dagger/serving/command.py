"""Command lines that a person can read and paste."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.docker.builder import name_of
from vep_dagger.builders.lowering import lower
from vep_dagger.builders.mirrors import rewrite_image
from vep_dagger.builders.names import tag_of
from vep_dagger.builders.registry import find_builder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import images_of
from vep_dagger.dsl import Image, PlainBase
from vep_dagger.engines.docker import VARIABLE as DOCKER_VARIABLE
from vep_dagger.errors import UsageError
from vep_dagger.jobs.start import server_spec
from vep_dagger.launchers import ports
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.docker.line import Container, hf_places
from vep_dagger.launchers.environment import container_environment
from vep_dagger.launchers.registry import find_launcher
from vep_dagger.serving.choose import Asked, choose
from vep_dagger.workflow import refuse_early

PASTED = ("process", "docker")
"""The launchers whose servers are each one command of this machine's."""


@dataclass(frozen=True)
class Printed:
    """What ``vep serve --print`` gives."""

    build: str
    """Builds the image, or finds it."""
    run: str
    """Starts the server."""
    notes: tuple[str, ...] = ()


def printed(asked: Asked) -> Printed:
    """The commands that serve a cell, without doing anything. Raises UsageError for what cannot be served so."""
    chosen, options = choose(asked), asked.options
    settings = options.settings(chosen.full)
    # Their names are right.
    find_builder(options.builder, settings)
    find_launcher(options.place, settings)
    if options.place not in PASTED:
        # Whatever else is wrong need not be mended for that.
        raise UsageError(
            f"what the launcher {options.place} runs is no command that can be pasted",
            where="--print",
            hint="name a builder whose images Docker runs: --builder docker",
        )
    if options.builder not in ("docker", "registry") or options.place != "docker":
        # A line for Docker can be read before its image can be built: a lock may be missing.
        refuse_early(replace(chosen.plan, matrix=chosen.full.matrix), options)
    deployment, here = chosen.deployment, Path.cwd()
    spec = server_spec(chosen.plan.matrix, deployment, here, here / "server.log", here)
    port = spec.port
    if port is None:
        # Free now, and perhaps taken when the line is pasted.
        with ports.reserved(spec.host, None) as free:
            port = free
    build = ["vep", "build", str(options.matrix), "-k", deployment.slug, "--builder", options.builder]
    build += [*options.repeated, *(["--keep", options.keep] if options.keep else [])]
    if options.place == "docker":
        name, notes = image_name(deployment.image, settings)
        run = _docker_line(deployment.image, name, spec, port, options.network)
    else:
        run, notes = _process_line(deployment.image, spec, port), ()
    return Printed(shlex.join(build), run, notes)


def image_name(image: Image, settings: BuildSettings) -> tuple[str, tuple[str, ...]]:
    """What ``docker run`` calls an image once it is built, or published; and what people should know of that."""
    if settings.published:
        return f"{rewrite_image(settings.published, settings.mirrors)}:{tag_of(image, settings.tags)}", ()
    ref, _, digest = settings.plain_base.partition("@")
    if digest or not any(isinstance(source, PlainBase) for source in images_of(lower(image, ""))):
        return name_of(lower(image, digest)), ()
    note = f"the plain base {ref} has no digest here, and the end of the image's name depends on it: vep build says it"
    return name_of(lower(image, ref)), (note,)


def readable(command: Sequence[str], env: Mapping[str, str]) -> str:
    """A command as a shell takes it, with the variables that it needs before it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), shlex.join(command)])


def _docker_line(image: Image, name: str, spec: ServerSpec, port: int, network: str | None) -> str:
    built = BuiltImage(image.key, "docker", name, (), 0.0, cached=True, env=image.env)
    environment = container_environment(os.environ, built, spec.env, spec.unset)
    container = Container(_client(os.environ), name, spec, port, network, "", environment, hf_places(os.environ))
    return shlex.join(container.pasted(image.env))


def _client(environ: Mapping[str, str]) -> str:
    """Docker's client as a person types it here: the one that is named, unless ``docker`` is that one."""
    named, path = environ.get(DOCKER_VARIABLE), environ.get("PATH", os.defpath)
    if not named:
        return "docker"
    found = shutil.which(named, path=path)
    return "docker" if found and found == shutil.which("docker", path=path) else named


def _process_line(image: Image, spec: ServerSpec, port: int) -> str:
    from vep_dagger.builders.venv.builder import environment_place

    place = environment_place(image, os.environ)
    built = BuiltImage(
        image.key,
        "venv",
        str(place),
        (),
        0.0,
        cached=True,
        env=image.env,
        paths={image.python_prefix or "": str(place)},
    )
    words = [built.translate(word).replace("{host}", spec.host).replace("{port}", str(port)) for word in spec.argv]
    words[0] = str(place / "bin" / words[0])
    taken = [word for name in spec.unset if name in os.environ for word in ("-u", name)]
    command = ["env", *taken, *words] if taken else words
    shown = {**image.env, **spec.env}
    return readable(command, {name: built.translate(value) for name, value in shown.items()})
