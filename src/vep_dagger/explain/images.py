"""Two images as a whole: the chain of the Python environment, what is put together, the variables, the servers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from vep_dagger.dsl import Check, Image, Layer, canonical, key_of
from vep_dagger.dsl.key import Canonical
from vep_dagger.explain.document import Change, Difference, ServerDifference, State
from vep_dagger.explain.layers import ENVIRONMENT, Pairs
from vep_dagger.plan import Deployment


def compare_environments(pairs: Pairs, a: Image, b: Image) -> Difference:
    """The chains of steps of two images, on their bases. The layers are merged into the result of it, and change
    nothing of it.
    """
    keys = _environment_key(a), _environment_key(b)
    same = keys[0] == keys[1]
    own, because = ([], []) if same else (pairs.own(a, b), pairs.because(a, b))
    state: State = "same" if same else "inputs" if own else "needs"
    return Difference(
        name=ENVIRONMENT,
        state=state,
        a=keys[0],
        b=keys[1],
        changes=own,
        because=because,
        notes=list(pairs.notes(a, b)),
    )


def compare_images(pairs: Pairs, parts: Sequence[Difference], a: Image, b: Image) -> Difference:
    """What is put together: which layers, in which order, and the checks. ``parts`` are the layers and the chain."""
    if a.key == b.key:
        return _image(a, b, "same", [], [])
    own = pairs.listed("layers", a.layers, b.layers) + list(_compare_checks(a.checks, b.checks))
    held = {layer.name for layer in b.layers} | {ENVIRONMENT}
    because = [part.name for part in parts if part.name in held and part.state in ("inputs", "needs")]
    return _image(a, b, "inputs" if own else "needs", own, because)


def _image(a: Image, b: Image, state: State, changes: list[Change], because: list[str]) -> Difference:
    notes = [f"tagged {a.tag} in A and {b.tag} in B"] if state == "same" and a.tag != b.tag else []
    return Difference(name="image", state=state, a=a.key, b=b.key, changes=changes, because=because, notes=notes)


def _environment_key(image: Image) -> str:
    # As builders make it, but for what stands for the plain base, which is a matter of the machine.
    base = image.base.key if isinstance(image.base, Layer) else image.base.canonical()
    return key_of(ENVIRONMENT, {"base": base, "platform": image.platform, "build": image.build.canonical()})


def _compare_checks(a: Sequence[Check], b: Sequence[Check]) -> Iterator[Change]:
    """Checks are in the key of an image, since their output is in its manifest, and in that of no layer."""
    forms = [[canonical(check.canonical()) for check in checks] for checks in (a, b)]
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, forms[0], forms[1], autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        ours, theirs = ({check.name: check for check in part} for part in (a[i1:i2], b[j1:j2]))
        for name in dict.fromkeys((*ours, *theirs)):
            yield from _compare_check(name, ours.get(name), theirs.get(name))
        if ours == theirs:  # checks of one name, in another order
            yield Change(where="", what="checks", a=f"[{','.join(forms[0])}]", b=f"[{','.join(forms[1])}]")


def _compare_check(name: str, a: Check | None, b: Check | None) -> Iterator[Change]:
    where = f"check {name!r}"
    commands = [shlex.join(check.argv) if check else None for check in (a, b)]
    if commands[0] != commands[1]:
        yield Change(where=where, what="command", a=commands[0], b=commands[1])
    if a and b and a.expect != b.expect:
        yield Change(where=where, what="expected", a=a.expect, b=b.expect)


def compare_variables(a: Mapping[str, str], b: Mapping[str, str]) -> list[Change]:
    """The variables that are not the same."""
    names = dict.fromkeys((*a, *b))
    return [
        Change(where="", what=f"variable {name}", a=a.get(name), b=b.get(name))
        for name in names
        if a.get(name) != b.get(name)
    ]


def compare_servers(a: Deployment, b: Deployment) -> ServerDifference:
    """Two deployments: every part of their canonical forms that differs."""
    ours, theirs = a.canonical(), b.canonical()
    changes: list[Change] = []
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one == other:
            continue
        if name == "env":
            found = compare_variables(dict(a.env), dict(b.env))
        elif name == "args":
            found = _compare_flags(a.args, b.args)
        else:
            found = []
        changes += found or [Change(where="", what=name, a=_text(one), b=_text(other))]
    return ServerDifference(a=a.key, b=b.key, changes=changes)


def _compare_flags(a: Sequence[str], b: Sequence[str]) -> list[Change]:
    ours, theirs = _flags(a), _flags(b)
    return [
        Change(where="", what=f"argument {flag}", a=ours.get(flag), b=theirs.get(flag))
        for flag in dict.fromkeys((*ours, *theirs))
        if ours.get(flag) != theirs.get(flag)
    ]


def _flags(args: Sequence[str]) -> dict[str, str]:
    """Each flag with its values; empty for a flag that has none."""
    found: dict[str, list[str]] = {}
    flag = ""
    for word in args:
        if word.startswith("--"):
            flag = word
            found.setdefault(flag, [])
        else:
            found.setdefault(flag, []).append(word)
    return {flag: " ".join(words) for flag, words in found.items()}


def _text(value: Canonical) -> str | None:
    return value if value is None or isinstance(value, str) else canonical(value)
