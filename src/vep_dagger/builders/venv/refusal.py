"""What the ``venv`` builder cannot lower, found before anything is touched."""

from __future__ import annotations

import platform
import posixpath
import sys
import textwrap

from vep_dagger.dsl import Check, Image, PlainBase, Step
from vep_dagger.dsl.step import CacheMount, Env, Install, MakePython, Run, Secret, Write
from vep_dagger.errors import BuildError

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_LONGEST_NAME = 100


def refusal(image: Image) -> BuildError | None:
    """Why the image cannot be an environment of this machine, or None if it can."""
    why = _why(image)
    if why is None:
        return None
    return BuildError(
        f"recipe {image.recipe!r} cannot be built as a Python environment: {why}",
        where=image.tag,
        hint="build it with --builder docker or --builder dagger; vep doctor says which of them this machine has",
    )


def name_of(step: Step | Check) -> str:
    """A step or a check in one line of bounded length."""
    return textwrap.shorten(step.describe(), _LONGEST_NAME, placeholder=" …")


def _why(image: Image) -> str | None:
    here = f"{sys.platform}/{_MACHINES.get(platform.machine(), platform.machine())}"
    if image.platform != here:
        return f"it is for {image.platform}, and this machine is {here}"
    if not isinstance(image.base, PlainBase):
        base = getattr(image.base, "name", None) or getattr(image.base, "ref", "")
        return f"its base is {base!r}, and an environment has no base but this machine"
    if image.layers:
        return f"the layer {image.layers[0].name!r} is not Python"
    if image.build.libraries:
        return f"it puts {image.build.libraries[0]} on the loader's path, which only a root file system has"
    prefix: str | None = None
    for number, step in enumerate(image.build.steps, 1):
        why = _why_not_step(step, prefix)
        if why:
            return f"step {number}, `{name_of(step)}`: {why}"
        if isinstance(step, MakePython):
            prefix = step.prefix
    if prefix is None:
        return "it makes no Python environment"
    for check in image.checks:
        if not _below(check.argv[0], f"{prefix}/bin"):
            return f"check {check.name!r} runs {check.argv[0]}, which is no program of {prefix}/bin"
    return None


def _why_not_step(step: Step, prefix: str | None) -> str | None:
    match step:
        case Env() | Secret() | CacheMount():
            return None
        case MakePython():
            return None if prefix is None else f"there is an environment already, at {prefix}"
        case _ if prefix is None:
            return "there is no environment yet to do it in"
        case Install():
            return None if step.prefix == prefix else f"the environment is at {prefix}, not at {step.prefix}"
        case Write():
            return None if _below(step.path, prefix) else f"only what is below {prefix} can be written"
        case Run():
            return None if _below(step.argv[0], f"{prefix}/bin") else f"only programs of {prefix}/bin can be run"
        case _:
            return "it is not Python"


def _below(path: str, directory: str) -> bool:
    return posixpath.normpath(path).startswith(f"{directory}/")
