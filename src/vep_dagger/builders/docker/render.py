"""A lowered image as a Containerfile: pure text, for people to read and for BuildKit to build.

The frontend inside a Docker daemon of 20.10 takes it: no ``# syntax`` line, so that no frontend is downloaded; no
documents inside the file, no ``--link``, no ``--checksum`` (dockerfile 1.2, BuildKit's releases).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vep_dagger.builders.docker.containerfile import (
    CERTIFICATES_ID,
    CHECK_STAGE,
    FINAL_STAGE,
    MANIFEST_PLACE,
    RESULT_STAGE,
    SURROUNDINGS_ID,
    TOOLS_PLACE,
    Containerfile,
    FileStage,
)
from vep_dagger.builders.docker.instructions import Instruction, copy, env, keywords, run, set_shell, word
from vep_dagger.builders.docker.shell_text import lines_of
from vep_dagger.builders.stages import (
    CERTIFICATES,
    ENVIRONMENT,
    IMAGE,
    MANIFEST,
    SHELL,
    SURROUNDINGS,
    TOOLS,
    Exec,
    File,
    Lowered,
    Stage,
    Tree,
)
from vep_dagger.dsl import Check, GitSource, HttpSource, ImageSource, Source, short
from vep_dagger.dsl.step import Install, MakePython, Run

_MOUNTS = posixpath.dirname(SURROUNDINGS)
_PREFIXES = f"{_MOUNTS}/prefixes"
_SECRETS = f"{_MOUNTS}/secrets"
_RESET_SHELL = ("/bin/sh", "-c")
_SIMPLE = (Run, MakePython, Install)
_STAGE_NAME = re.compile(r"[^a-z0-9_.-]")
_FILE_NAME = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass
class _Context:
    link: bool
    files: dict[str, File] = field(default_factory=dict)
    sources: dict[str, GitSource | HttpSource] = field(default_factory=dict)
    tools: bool = False
    secrets: dict[str, None] = field(default_factory=dict)


def render(
    lowered: Lowered,
    images: Mapping[ImageSource, str],
    labels: Mapping[str, str],
    checks: Sequence[Exec] = (),
    check_directory: str = "/run/vep-checks",
    taken: Mapping[str, str] | None = None,
    *,
    link: bool = False,
) -> Containerfile:
    """The file of an image. ``images`` has the reference of each base (and of each source that is an image);
    ``taken`` the references of images that hold the prefix of a layer already, by the layer's name. ``link``: the
    frontend knows ``COPY --link``, and prefixes are copied so.
    """
    taken = taken or {}
    names = _names(lowered)
    context = _Context(link=link)
    stages: list[FileStage] = []
    for stage in lowered.stages:
        if stage.name in taken:
            stages.append(FileStage(names[stage.name], (*_comments(stage), "kept"), taken[stage.name], (), stage))
        else:
            stages.append(_stage(stage, lowered, names, images, labels, taken, context))
    stages += _after(checks, check_directory, names[IMAGE], context)
    image = lowered.image
    header = (
        f"{image.recipe}: {image.tag}",
        f"key {lowered.key}",
        "",
        "Each stage is a layer: it sees the prefixes of what it needs, and only its own prefix is taken from it.",
        f"Commands may see {SURROUNDINGS} (proxies, package indexes, the number of jobs) and {CERTIFICATES}:",
        f"--secret id={SURROUNDINGS_ID},src=FILE --secret id={CERTIFICATES_ID},src=FILE. Neither is content.",
    )
    return Containerfile(
        header, tuple(stages), context.files, context.sources, context.tools, tuple(sorted(context.secrets))
    )


def _names(lowered: Lowered) -> dict[str, str]:
    """Each stage's name in the file, where names are of small letters and begin with one."""
    names: dict[str, str] = {}
    for stage in lowered.stages:
        name = _STAGE_NAME.sub("-", stage.name.lower())
        name = name if name[0].isalpha() else f"layer-{name}"
        while name in {*names.values(), CHECK_STAGE, RESULT_STAGE, FINAL_STAGE, "scratch"}:
            name += "-layer"
        names[stage.name] = name
    return names


def _stage(
    stage: Stage,
    lowered: Lowered,
    names: Mapping[str, str],
    images: Mapping[ImageSource, str],
    labels: Mapping[str, str],
    taken: Mapping[str, str],
    context: _Context,
) -> FileStage:
    base = names[stage.base] if isinstance(stage.base, str) else images[stage.base]
    file_name = names[stage.name]
    build = stage.layer.build if stage.layer else lowered.image.build if stage.name == ENVIRONMENT else None
    # A stage of ours has handed it down.
    made: list[Instruction] = [] if isinstance(stage.base, str) and stage.base not in taken else [set_shell(SHELL)]
    made += [Instruction(text) for text in env(dict(stage.env), stage.programs)]
    made += [
        Instruction(copy(seen.prefix, seen.prefix, origin=names[seen.stage], link=context.link)) for seen in stage.taken
    ]
    if stage.taken:
        made.append(Instruction(_own_modes(stage, names)))
    writer = _Writer(file_name, stage, dict(build.exports) if build else {}, images, context)
    made += writer.operations()
    gone = [
        op.path for op in stage.operations if isinstance(op, Tree) and not op.kept and _inside(op.path, stage.prefix)
    ]
    if gone:
        made.append(Instruction(run([], lines_of(shlex.join(["rm", "-rf", *dict.fromkeys(gone)])))))
    if stage.name == IMAGE:
        if stage.taken or any(isinstance(op, Exec) for each in lowered.stages for op in each.operations):
            # BuildKit of Docker 20.10 leaves the empty places of mounts behind.
            made.append(Instruction(run([], lines_of(f"rm -rf {_MOUNTS}"))))
        made.append(Instruction(keywords("LABEL", labels)))
        made.append(set_shell(_RESET_SHELL))
    first = 1 if isinstance(stage.base, str) and stage.base not in taken else 2
    return FileStage(file_name, _comments(stage), base, tuple(made), stage, first)


def _own_modes(stage: Stage, names: Mapping[str, str]) -> str:
    """COPY makes the directory that it copies into, with mode 0755: prefixes get the modes that they had."""
    mounts, commands = [], []
    for seen in stage.taken:
        place = f"{_PREFIXES}/{names[seen.stage]}"
        mounts.append(f"type=bind,from={names[seen.stage]},source={seen.prefix},target={place}")
        commands.append(shlex.join(["chmod", f"--reference={place}", seen.prefix]))
    *most, last = commands
    first, *more = [*(f"{command}; \\" for command in most), last]
    return run(mounts, [first, *(f"    {line}" for line in more)])


@dataclass
class _Writer:
    """Writes the operations of one stage."""

    name: str
    stage: Stage
    exports: Mapping[str, str]
    images: Mapping[ImageSource, str]
    context: _Context

    def operations(self) -> Iterator[Instruction]:
        current = dict(self.stage.env)
        workdir: str | None = None
        for number, operation in enumerate(self.stage.operations, 1):
            if isinstance(operation, File):
                place = f"files/{self.name}/{number}-{_FILE_NAME.sub('_', posixpath.basename(operation.path))}"
                self.context.files[place] = operation
                yield Instruction(copy(place, operation.path, mode=operation.mode), operation)
            elif isinstance(operation, Tree):
                yield Instruction(self._tree(operation), operation)
            else:
                # What the stage exports is said once, and stays; what it does not is said for the command alone.
                new = {n: v for n, v in operation.env if current.get(n) != v and self.exports.get(n) == v}
                yield from (Instruction(text) for text in env(new))
                current |= new
                moves = operation.workdir is not None and operation.workdir != workdir and self.stage.prefix != "/"
                if moves and operation.workdir is not None:
                    yield Instruction(f"WORKDIR {word(operation.workdir)}")
                    workdir = operation.workdir
                yield Instruction(self.command(operation, current, workdir), operation)

    def command(self, operation: Exec, current: Mapping[str, str], workdir: str | None) -> str:
        """One RUN. ``current`` are the variables that are set already.

        What is no step of a recipe's (``ldconfig``, checks) needs nothing of the machine's.
        """
        own = [f"{name}={shlex.quote(value)}" for name, value in operation.env if current.get(name) != value]
        own += [f'{name}="$(cat {_SECRETS}/{name})"' for name in operation.secrets]
        text = operation.text
        if own:
            simple = operation.step is not None and isinstance(operation.step, _SIMPLE)
            text = " ".join([*own, text]) if simple else f"export {' '.join(own)}; {text}"
        if operation.workdir is not None and operation.workdir != workdir:
            text = f"cd {shlex.quote(operation.workdir)}; {text}"
        mounts = []
        if operation.step is not None and not isinstance(operation.step, Check):
            # Both on one line: every command has them.
            mounts.append(
                f"type=secret,id={SURROUNDINGS_ID},target={SURROUNDINGS} "
                f"--mount=type=secret,id={CERTIFICATES_ID},target={CERTIFICATES}"
            )
        mounts += [f"type=secret,id={name},target={_SECRETS}/{name},required=true" for name in operation.secrets]
        mounts += [f"type=cache,id={name},target={path}" for name, path in operation.caches]
        if operation.tools:
            mounts.append(f"type=bind,source={TOOLS_PLACE},target={TOOLS}")
            self.context.tools = True
        self.context.secrets |= dict.fromkeys(operation.secrets)
        return run(mounts, lines_of(text))

    def _tree(self, tree: Tree) -> str:
        if isinstance(tree.source, ImageSource):
            return copy("/", tree.path, origin=self.images[tree.source])
        place = source_place(tree.source)
        self.context.sources[place] = tree.source
        whole = isinstance(tree.source, GitSource) or tree.source.unpack
        return copy(f"{place}/" if whole else place, f"{tree.path}/" if whole else tree.path)


def source_place(source: GitSource | HttpSource) -> str:
    """Where a source lies in the build context: its name, and enough of its hash."""
    url = source.url.rstrip("/").removesuffix(".git")
    pinned = source.commit if isinstance(source, GitSource) else source.sha256
    suffix = "-unpacked" if isinstance(source, HttpSource) and source.unpack else ""
    if isinstance(source, GitSource) and not source.submodules:
        suffix = "-alone"
    return f"sources/{_FILE_NAME.sub('_', posixpath.basename(url)) or 'source'}-{(pinned or 'unresolved')[:12]}{suffix}"


def _after(checks: Sequence[Exec], directory: str, image: str, context: _Context) -> Iterator[FileStage]:
    """The stages after the image: checks, what they wrote, and the image with its manifest."""
    stage = Stage(CHECK_STAGE, "", image, (), (), (), (), "/")
    writer = _Writer(CHECK_STAGE, stage, {}, {}, context)
    commands = [Instruction(run([], lines_of(f"mkdir -p {directory}")))]
    commands += [Instruction(writer.command(check, {}, None), check) for check in checks]
    yield FileStage(
        CHECK_STAGE, ("The checks, in the finished image. It takes nothing from here.",), image,
        (set_shell(SHELL), *commands), stage,
    )  # fmt: skip
    yield FileStage(RESULT_STAGE, (), "scratch", (Instruction(copy(directory, "/", origin=CHECK_STAGE)),))
    yield FileStage(
        FINAL_STAGE, ("The image, with what it holds and how it was proven.",), image,
        (Instruction(copy(MANIFEST_PLACE, MANIFEST, mode=0o644)),),
    )  # fmt: skip


def _comments(stage: Stage) -> tuple[str, ...]:
    kept = "" if stage.prefix == "/" else f": leaves {stage.prefix}"
    lines = [f"{stage.name} {short(stage.key)}{kept}"]
    if stage.taken:
        lines.append(f"sees {', '.join(taken.prefix for taken in stage.taken)}")
    sources = dict.fromkeys(op.source for op in stage.operations if isinstance(op, Tree))
    return (*lines, *(f"source {_described(source)}" for source in sources))


def _described(source: Source) -> str:
    match source:
        case GitSource():
            return f"{source.url} {source.commit or 'unresolved'}" + (f" ({source.ref})" if source.ref else "")
        case HttpSource():
            return f"{source.url} sha256:{source.sha256 or 'unresolved'}"
        case ImageSource():
            return f"{source.ref}@{source.digest or 'unresolved'}"


def _inside(path: str, prefix: str) -> bool:
    return prefix == "/" or path == prefix or path.startswith(f"{prefix}/")
