"""Two chains of steps: which steps, and which of their inputs, are not the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from vep_dagger.dsl import (
    Alternative,
    Build,
    GitSource,
    HttpSource,
    ImageSource,
    LockedPackage,
    Source,
    Step,
    canonical,
)
from vep_dagger.dsl.step import Copy, Env, Install, MakePython, Mount, Run, Workdir, Write
from vep_dagger.explain.document import Change

_LONGEST = 60
"""Characters of a step's title."""

Numbered = tuple[int, Step]


def compare_builds(a: Build, b: Build) -> Iterator[Change]:
    """Every difference of the canonical forms of two chains; nothing where those are equal."""
    yield from _compare_steps(_content(a), _content(b))
    for what, ours, theirs in (("libraries", a.libraries, b.libraries), ("programs", a.programs, b.programs)):
        if ours != theirs:
            yield Change(where="", what=what, a=shlex.join(ours) or None, b=shlex.join(theirs) or None)


def renamed(a: Build, b: Build) -> Iterator[str]:
    """Sources that hold the same in both and are called otherwise: what people wrote, which no key holds."""
    for (_, ours), (_, theirs) in _same_steps(_content(a), _content(b)):
        if isinstance(ours, (Copy, Mount)) and isinstance(theirs, (Copy, Mount)):
            yield from renamed_source(ours.source, theirs.source)


def renamed_source(a: Source, b: Source) -> Iterator[str]:
    """A line if they are the same under two names."""
    if a.resolved and a.canonical() == b.canonical() and _called(a) != _called(b):
        yield f"{_called(a)} in A and {_called(b)} in B are the same: {_held(a)}"


def compare_sources(where: str, a: Source, b: Source) -> Iterator[Change]:
    """What two sources hold, and how it is taken; nothing where their canonical forms are equal."""
    if a.canonical() == b.canonical():
        return
    if isinstance(a, GitSource) and isinstance(b, GitSource):
        if a.submodules != b.submodules:
            yield Change(where=where, what=f"submodules of {_place(b)}", a=str(a.submodules), b=str(b.submodules))
        told = (a.commit, *(() if a.commit else (a.url, a.ref))) != (b.commit, *(() if b.commit else (b.url, b.ref)))
    elif isinstance(a, HttpSource) and isinstance(b, HttpSource):
        if a.unpack != b.unpack:
            yield Change(where=where, what=f"unpacking of {_place(b)}", a=str(a.unpack), b=str(b.unpack))
        told = (a.sha256 or a.url) != (b.sha256 or b.url)
    else:
        told = True
    if told:
        kind = {GitSource: "commit", HttpSource: "sha256"}.get(type(a), "digest")
        if type(a) is type(b) and _place(a) == _place(b):
            yield Change(where=where, what=f"{kind} of {_place(a)}", a=_held(a), b=_held(b))
        else:
            what = "image" if isinstance(b, ImageSource) else "source"
            yield Change(where=where, what=what, a=f"{_place(a)} {_held(a)}", b=f"{_place(b)} {_held(b)}")


def _content(build: Build) -> list[Numbered]:
    """The steps that decide the content, with their numbers in the chain as it is written."""
    return [(number, step) for number, step in enumerate(build.steps, 1) if step.canonical() is not None]


def _same_steps(a: list[Numbered], b: list[Numbered]) -> Iterator[tuple[Numbered, Numbered]]:
    for tag, i1, i2, j1, j2 in _opcodes([_form(step) for _, step in a], [_form(step) for _, step in b]):
        if tag == "equal":
            yield from zip(a[i1:i2], b[j1:j2], strict=True)


def _compare_steps(a: list[Numbered], b: list[Numbered]) -> Iterator[Change]:
    """Steps are paired by what they are; of those that are left, by what they are about."""
    for tag, i1, i2, j1, j2 in _opcodes([_form(step) for _, step in a], [_form(step) for _, step in b]):
        if tag == "equal":
            continue
        ours, theirs = a[i1:i2], b[j1:j2]
        for inner, k1, k2, m1, m2 in _opcodes([_about(s) for _, s in ours], [_about(s) for _, s in theirs]):
            if inner == "equal":
                for one, other in zip(ours[k1:k2], theirs[m1:m2], strict=True):
                    yield from _compare_step(one, other)
                continue
            for number, step in ours[k1:k2]:
                yield Change(where=f"step {number}", what="step", a=_whole(step), b=None)
            for number, step in theirs[m1:m2]:
                yield Change(where=f"step {number}", what="step", a=None, b=_whole(step))


def _opcodes(a: Sequence[object], b: Sequence[object]) -> list[tuple[str, int, int, int, int]]:
    return list(SequenceMatcher(None, a, b, autojunk=False).get_opcodes())


def _form(step: Step) -> str:
    return canonical(step.canonical())


def _about(step: Step) -> tuple[str, ...]:
    match step:
        case Run(argv):
            return ("run", argv[0])
        case Write(path):
            return ("write", path)
        case Copy(_, path):
            return ("copy", path)
        case Mount(_, path):
            return ("mount", path)
        case Env(variables):
            return ("env", *(name for name, _ in variables))
        case _:
            return (type(step).__name__,)


def _whole(step: Step) -> str:
    """The step with its values, for one that the other side has not."""
    match step:
        case Run(argv):
            return f"run {shlex.join(argv)}"
        case Copy(source, path) | Mount(source, path):
            return f"{_about(step)[0]} {path}: {_place(source)} {_held(source)}"
        case Env(variables, exported):
            return f"{'export' if exported else 'env'} {' '.join(f'{name}={value}' for name, value in variables)}"
        case Write(path, text, mode):
            return f"write {path} (mode {mode:o}): {text}"
        case _:
            return step.describe()


def _title(number: int, step: Step) -> str:
    text = " ".join(step.describe().split())
    return f"step {number} {text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}"


def _compare_step(a: Numbered, b: Numbered) -> Iterator[Change]:
    """What differs between two steps of one kind. What no rule has a word for is told as the whole step, so that
    nothing which is in a key stays unsaid."""
    where = _title(*b)
    if _form(a[1]) == _form(b[1]):
        return
    found = list(_told(where, a[1], b[1]))
    yield from found or [Change(where=where, what="form", a=_form(a[1]), b=_form(b[1]))]


def _told(where: str, a: Step, b: Step) -> Iterator[Change]:
    match a, b:
        case Run(), Run():
            yield from _compare_words(where, "argument", a.argv, b.argv)
        case ((Copy() | Mount()), (Copy() | Mount())):
            yield from compare_sources(where, a.source, b.source)
        case Env(), Env():
            yield from _compare_env(where, a, b)
        case Install(), Install():
            yield from _compare_installs(where, a, b)
        case Write(), Write():
            yield from _values(where, text=(a.text, b.text), mode=(f"{a.mode:o}", f"{b.mode:o}"))
        case MakePython(), MakePython():
            yield from _values(where, version=(a.version, b.version), prefix=(a.prefix, b.prefix))
        case Workdir(), Workdir():
            yield from _values(where, path=(a.path, b.path))


def _values(where: str, **pairs: tuple[str | None, str | None]) -> Iterator[Change]:
    for what, (a, b) in pairs.items():
        if a != b:
            yield Change(where=where, what=what, a=a, b=b)


def _compare_words(where: str, what: str, a: Sequence[str], b: Sequence[str]) -> Iterator[Change]:
    for tag, i1, i2, j1, j2 in _opcodes(a, b):
        if tag == "equal":
            continue
        if i2 - i1 == j2 - j1:
            for ours, theirs in zip(a[i1:i2], b[j1:j2], strict=True):
                yield Change(where=where, what=what, a=ours, b=theirs)
        else:
            ours, theirs = shlex.join(a[i1:i2]), shlex.join(b[j1:j2])
            yield Change(where=where, what=what, a=ours or None, b=theirs or None)


def _compare_env(where: str, a: Env, b: Env) -> Iterator[Change]:
    ours, theirs = dict(a.variables), dict(b.variables)
    for name in dict.fromkeys((*ours, *theirs)):
        yield from _values(where, **{f"variable {name}": (ours.get(name), theirs.get(name))})
    yield from _values(where, exported=(str(a.exported), str(b.exported)))


def _compare_installs(where: str, a: Install, b: Install) -> Iterator[Change]:
    yield from _values(where, prefix=(a.prefix, b.prefix))
    if a.locked is not None and b.locked is not None:
        ours, theirs = ({each.name: each for each in step.locked or ()} for step in (a, b))
        for name in sorted(ours.keys() | theirs.keys()):
            one, other = ours.get(name), theirs.get(name)
            versions = (one.version if one else None, other.version if other else None)
            yield from _values(where, **{f"package {name}": versions})
            if one and other and one.version == other.version:
                hashes = (" ".join(one.hashes), " ".join(other.hashes))
                yield from _values(where, **{f"files of package {name}": hashes})
            if one and other:
                yield from _values(where, **{f"build of package {name}": (_tools(one), _tools(other))})
        return
    if a.locked is not None or b.locked is not None:
        yield Change(where=where, what="packages", a=_packages(a), b=_packages(b))
        return
    yield from _compare_alternatives(where, a.alternatives, b.alternatives)
    yield from _compare_words(where, "excluded package", a.excluded, b.excluded)
    yield from _values(where, before=(a.before, b.before))
    if a.part != b.part:
        parts = tuple(canonical(step.part.canonical()) if step.part else None for step in (a, b))
        yield from _values(where, part=(parts[0], parts[1]))


def _compare_alternatives(where: str, a: Sequence[Alternative], b: Sequence[Alternative]) -> Iterator[Change]:
    """What they ask for, each after the other. What several have in common is told once: they are ways to the same."""
    found: list[Change] = []
    for one, other in zip(a, b, strict=False):
        found += _compare_words(where, "requirement", one.requirements, other.requirements)
        found += _compare_words(where, "override", one.overrides, other.overrides)
    # Of those that are left, one side has none.
    for way in a[len(b) :]:
        found.append(Change(where=where, what="alternative", a=_asked(way), b=None))
    for way in b[len(a) :]:
        found.append(Change(where=where, what="alternative", a=None, b=_asked(way)))
    yield from dict.fromkeys(found)


def _asked(way: Alternative) -> str:
    return " ".join([*way.requirements, *(f"override {word}" for word in way.overrides)])


def _tools(package: LockedPackage) -> str | None:
    """What a source distribution is built with, in one line."""
    if package.build is None:
        return None
    return " ".join(each.requirement for each in package.build) or "nothing"


def _packages(step: Install) -> str:
    if step.locked is None:
        return f"not locked: {' '.join(step.alternatives[0].requirements)}"
    return f"{len(step.locked)} of the lock: {' '.join(f'{each.name}=={each.version}' for each in step.locked)}"


def _place(source: Source) -> str:
    return source.ref if isinstance(source, ImageSource) else source.url


def _called(source: Source) -> str:
    if isinstance(source, GitSource):
        return f"{source.url} {source.ref or ''}".rstrip()
    return _place(source)


def _held(source: Source) -> str:
    """What it holds, with the tag that a person wrote."""
    match source:
        case GitSource(_, commit, ref):
            return (f"{commit} ({ref})" if ref else commit) if commit else f"{ref} (not locked)"
        case HttpSource(_, sha256):
            return sha256 or "not locked"
        case ImageSource(_, digest):
            return digest or ("any plain Linux" if source.resolved else "not locked")
