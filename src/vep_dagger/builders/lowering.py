"""What every container engine makes of an image, written down before any engine is asked: stages of plain operations.

A layer is a stage: it starts from its base, sees the prefixes of what it needs, carries out its operations, and leaves
its prefix. The image is two stages more: ``environment`` (the chain of steps on the run-time base) and ``image`` (the
prefixes merged into that, the loader's configuration, the variables). Engines turn stages into their own form and add
nothing that decides content, so that the same image comes out of each.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vep_dagger.builders.locked import calls, taken
from vep_dagger.builders.stages import (
    ENVIRONMENT,
    IMAGE,
    JOBS_VARIABLE,
    TOOLS,
    Exec,
    File,
    Lowered,
    Operation,
    Stage,
    Taken,
    Tree,
)
from vep_dagger.dsl import JOBS, Build, Image, Layer, PlainBase, key_of
from vep_dagger.dsl.step import CacheMount, Copy, Env, Install, MakePython, Mount, Run, Secret, Workdir, Write
from vep_dagger.errors import BuildError

LOADER = "/etc/ld.so.conf.d/00-vep.conf"
"""Library directories, for the loader: found however a program is started, with any LD_LIBRARY_PATH."""

UV_CACHE = ("vep-uv", "/run/vep/uv")
"""The cache of steps of Python: its name and where they have it."""

_FOR_UV = {"UV_CACHE_DIR": UV_CACHE[1], "UV_LINK_MODE": "copy"}


def lower(image: Image, plain: str) -> Lowered:
    """The stages of ``image``. ``plain`` is what stands for the plain base, by digest: it enters the keys of all that
    is built on it, since what is compiled there depends on it. Raises BuildError for layers that cannot be told apart.
    """
    stages: dict[str, Stage] = {}
    below = image.base.lineage if isinstance(image.base, Layer) else ()
    for layer in (*below, *image.layers):
        _add(layer, plain, stages)
    base = image.base.name if isinstance(image.base, Layer) else image.base
    inherited = {name: value for layer in below for name, value in layer.build.exports.items()}
    chain_programs = tuple(dict.fromkeys(path for layer in reversed(below) for path in layer.build.programs))
    key = _settled(image.key, _is_plain(image), plain)
    environment = Stage(
        ENVIRONMENT, _environment_key(image, plain), base, (), _operations(image.build, dict(inherited)),
        _pairs(inherited), chain_programs, "/",
    )  # fmt: skip
    final = Stage(
        IMAGE,
        key,
        ENVIRONMENT,
        tuple(Taken(layer.name, layer.prefix) for layer in image.layers),
        _loader(image.libraries),
        _pairs(image.env),
        tuple(path for path in image.programs if path not in chain_programs),
        "/",
    )
    return Lowered(image, key, (*stages.values(), environment, final), _pairs(image.env))


def _add(layer: Layer, plain: str, stages: dict[str, Stage]) -> None:
    if layer.name in (ENVIRONMENT, IMAGE):
        raise BuildError(
            f"a layer cannot be called {layer.name!r}: that is the name of a stage of every image", layer=layer.name
        )
    if layer.name in stages:
        if stages[layer.name].layer != layer:
            raise BuildError(f"two different layers of one image are called {layer.name!r}", layer=layer.name)
        return
    below = layer.base.lineage if isinstance(layer.base, Layer) else ()
    for each in (*below, *layer.visible):
        _add(each, plain, stages)
    seen = (*below, *layer.visible)
    env = {name: value for each in seen for name, value in each.build.exports.items()}
    # The base's directories are on the PATH of its own stage already only if it is one of ours.
    programs = tuple(dict.fromkeys(path for each in reversed(seen) for path in each.build.programs))
    libraries = tuple(dict.fromkeys(path for each in seen for path in each.build.libraries))
    stages[layer.name] = Stage(
        name=layer.name,
        key=_settled(layer.key, _is_plain(layer), plain),
        base=layer.base.name if isinstance(layer.base, Layer) else layer.base,
        taken=tuple(Taken(each.name, each.prefix) for each in layer.visible),
        operations=(*_loader(libraries), *_operations(layer.build, dict(env))),
        env=_pairs(env),
        programs=programs,
        prefix=layer.prefix,
        layer=layer,
    )


def _environment_key(image: Image, plain: str) -> str:
    """Of base and chain alone, so that images which differ in layers share it."""
    base = image.base
    form = {
        "base": base.key if isinstance(base, Layer) else base.canonical(),
        "platform": image.platform,
        "build": image.build.canonical(),
    }
    is_plain = isinstance(base, PlainBase) or (isinstance(base, Layer) and _is_plain(base))
    return _settled(key_of("environment", form), is_plain, plain)


def _is_plain(part: Layer | Image) -> bool:
    """Whether anything of it is built on the plain base."""
    parts = [part.base, *(part.layers if isinstance(part, Image) else part.needs)]
    return any(isinstance(each, PlainBase) or (isinstance(each, Layer) and _is_plain(each)) for each in parts)


def _settled(key: str, is_plain: bool, plain: str) -> str:
    return key_of("on-plain", {"key": key, "plain": plain}) if is_plain else key


def _pairs(variables: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(variables.items()))


def _loader(libraries: Sequence[str]) -> tuple[Operation, ...]:
    if not libraries:
        return ()
    return (File(LOADER, "".join(f"{path}\n" for path in libraries)), Exec("ldconfig"))


def _operations(build: Build, env: dict[str, str]) -> tuple[Operation, ...]:
    """The steps in order, each with the variables, directory, caches and secrets that it has by then."""
    done: list[Operation] = []
    now = Exec("")
    varying: dict[str, str] = {}
    for step in build.steps:
        match step:
            case Run():
                done.append(replace(now, text=command(step.argv, varying), env=_pairs(env), step=step))
            case Install(locked=()):
                pass  # A part that no package belongs to.
            case MakePython() | Install():
                if isinstance(step, Install) and step.locked:
                    done += (File(path, text, step=step) for call in calls(step) for path, text in call.files)
                text, caches = command(python_command(step), varying), (*now.caches, UV_CACHE)
                done.append(replace(now, text=text, env=_pairs(_FOR_UV | env), caches=caches, tools=True, step=step))
            case Write():
                done.append(File(step.path, step.text, step.mode, step))
            case Copy():
                done.append(Tree(step.source, step.path, kept=True, step=step))
            case Mount():
                done.append(Tree(step.source, step.path, kept=False, step=step))
            case Env():
                for name, value in step.variables:
                    (varying if JOBS in value else env)[name] = value
                    (env if JOBS in value else varying).pop(name, None)
            case Workdir():
                now = replace(now, workdir=step.path)
            case CacheMount():
                now = replace(now, caches=(*now.caches, (step.name, step.path)))
            case Secret():
                now = replace(now, secrets=(*now.secrets, step.name))
    return tuple(done)


def command(argv: Iterable[str], varying: dict[str, str] | None = None) -> str:
    """An argument list as one line for a shell; :data:`~vep_dagger.dsl.JOBS` becomes :data:`JOBS_VARIABLE`.

    ``varying`` are variables whose values hold it: they are set for this command alone.

    >>> command(["make", "-C", "/a b", f"-j{JOBS}"], {"MAX_JOBS": JOBS})
    'MAX_JOBS="${VEP_JOBS}" make -C \\'/a b\\' -j"${VEP_JOBS}"'
    """
    words = [f"{name}={_quoted(value)}" for name, value in sorted((varying or {}).items())]
    return " ".join([*words, *map(_quoted, argv)])


def _quoted(word: str) -> str:
    if not word:
        return "''"
    parts = [shlex.quote(part) if part else "" for part in word.split(JOBS)]
    return f'"${{{JOBS_VARIABLE}}}"'.join(parts)


def python_command(step: MakePython | Install) -> tuple[str, ...]:
    """How a step of Python is carried out in a container: by ``uv`` and ``install.py`` of :data:`TOOLS`."""
    if isinstance(step, MakePython):
        # An interpreter of the image: one that uv downloads would be content that nobody has pinned.
        release = step.version if step.version.count(".") >= 2 else f"{step.version}.*"
        interpreter = f"=={release}" if step.version[:1].isdigit() else step.version
        return (f"{TOOLS}/uv", "venv", "--no-project", "--no-python-downloads", "--python", interpreter, step.prefix)
    return (f"{step.prefix}/bin/python", f"{TOOLS}/install.py", json.dumps(_order(step), separators=(",", ":")))


def _order(step: Install) -> dict[str, object]:
    """What ``install.py`` is told. Of a locked installation no more than its packages and where to look for them:
    what else has changed in the request must not build it again.
    """
    if step.locked is not None:
        ready = next((call.packages.path for call in calls(step) if call.tools is None), None)
        built = [[call.packages.path, call.tools.path] for call in calls(step) if call.tools]
        more = {"built": built} if built else {}
        return {"prefix": step.prefix, "locked": ready, "indexes": taken(step).indexes, **more}
    ways = [
        {"requirements": way.requirements, "overrides": way.overrides, "indexes": way.indexes, "note": way.note}
        for way in step.alternatives
    ]
    part = {"part": {"names": step.part.names, "but": step.part.but}} if step.part else {}
    return {"prefix": step.prefix, "excluded": step.excluded, "before": step.before, "ways": ways, **part}
