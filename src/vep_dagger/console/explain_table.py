"""Why two sides differ, for people: a paragraph for each layer that does, and what is built for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from vep_dagger.dsl import short
from vep_dagger.explain import Change, Explanation
from vep_dagger.explain.document import Difference, SideDoc

CHANGES = 12
"""Inputs that are shown of one layer; ``--json`` has all."""

_HASH = re.compile(r"\b[0-9a-f]{40}(?:[0-9a-f]{24})?\b")
_LONG = 70
_KEPT = 24
"""Characters around what differs in a long text."""


def print_explanation(found: Explanation, console: Console) -> None:
    """Print it: the two sides, what differs and why, and what would be built."""
    console.print(_side("A", found.a))
    console.print(_side("B", found.b))
    console.print()
    for part in [*found.layers, *filter(None, (found.environment, found.image))]:
        if part.state != "same":
            _print_part(part, console)
        _print_notes(part, console)
    if found.variables:
        console.print(Text("variables of the image", style="bold"))
        _print_changes(found.variables, console)
    if found.system:
        console.print(Text("packages of the distribution, which no key holds", style="bold"))
        _print_changes(found.system, console)
    # That its image is another has been told.
    served = [change for change in found.server.changes if change.what != "image"] if found.server else []
    if served:
        console.print(Text("server", style="bold"))
        _print_changes(served, console)
    for line in _ending(found):
        console.print(Text(line))


def _side(name: str, side: SideDoc) -> Text:
    if side.impossible:
        return Text(f"{name}: {side.what}: impossible: {side.impossible}", style="yellow")
    return Text(f"{name}: {side.what}: image {short(side.image or '')} {side.tag or ''}".rstrip())


def _print_part(part: Difference, console: Console) -> None:
    keys = f"  {short(part.a) if part.a else '-'} → {short(part.b) if part.b else '-'}"
    console.print(Text.assemble((part.name, "bold"), f": {_why(part)}", (keys, "dim")))
    _print_changes(part.changes, console)


def _why(part: Difference) -> str:
    because = f"because {_names(part.because)} changed" if part.because else ""
    match part.state:
        case "only-a":
            return "only A has it"
        case "only-b":
            return "only B has it"
        case "unknown":
            return f"differs, {because}" if because else "differs; a record has no inputs that would say why"
        case "needs":
            return f"rebuilt {because}"
        case _:
            return f"differs itself{', and ' + because if because else ''}"


def _print_notes(part: Difference, console: Console) -> None:
    for note in part.notes:
        text = Text(f"{part.name}: {_HASH.sub(lambda match: match[0][:12], note)}", style="dim")
        console.print(text)


def _print_changes(changes: Sequence[Change], console: Console) -> None:
    shown = 0
    for places, inputs in _grouped(changes):
        if shown >= CHANGES:
            break
        if places[0]:
            also = (
                f" (and the same in step {_names([place.split(' ', 2)[1] for place in places[1:]])})"
                if places[1:]
                else ""
            )
            console.print(_indented(places[0] + also, 2))
        for change in inputs[: CHANGES - shown]:
            console.print(_indented(f"{change.what}: {_values(change)}", 4 if places[0] else 2))
        shown += len(inputs[: CHANGES - shown]) + len(inputs) * (len(places) - 1)
    if len(changes) > shown:
        console.print(Text(f"  … and {len(changes) - shown} more; --json has all", style="dim"))


def _grouped(changes: Sequence[Change]) -> list[tuple[list[str], list[Change]]]:
    """Changes by the step that they are in; steps that follow each other and have the same changes, as those do that
    install parts of one resolution, together."""
    groups: list[tuple[list[str], list[Change]]] = []
    for where, found in groupby(changes, key=lambda change: change.where):
        inputs = list(found)
        alike = groups and where.startswith("step ") and _inputs(groups[-1][1]) == _inputs(inputs)
        if alike and inputs[0].what != "step":
            groups[-1][0].append(where)
        else:
            groups.append(([where], inputs))
    return groups


def _inputs(changes: Sequence[Change]) -> list[tuple[str, str | None, str | None]]:
    return [(change.what, change.a, change.b) for change in changes]


def _indented(text: str, columns: int) -> Padding:
    return Padding(Text(text), (0, 0, 0, columns), expand=False)


def _values(change: Change) -> str:
    if change.a is None:
        return f"{_brief(change.b or '')} (B alone)"
    if change.b is None:
        return f"{_brief(change.a)} (A alone)"
    return " → ".join(pair_in_short(change.a, change.b))


def pair_in_short(a: str, b: str) -> tuple[str, str]:
    """Two texts that differ, short enough to be read beside each other, and still different.

    >>> pair_in_short("1", "2")
    ('1', '2')
    """
    hashes = _HASH.sub(lambda match: match[0][:12], a), _HASH.sub(lambda match: match[0][:12], b)
    if hashes[0] != hashes[1]:
        a, b = hashes
    a, b = " ".join(a.split()) or "''", " ".join(b.split()) or "''"
    if a == b:
        return f"{_brief(a)} (in A)", f"{_brief(b)} (with other spaces in B)"
    if max(len(a), len(b)) <= _LONG:
        return a, b
    begin = next((n for n, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    end = next((n for n, (one, other) in enumerate(zip(a[::-1], b[::-1], strict=False)) if one != other), 0)
    end = min(end, len(a) - begin, len(b) - begin)
    return _around(a, begin, end), _around(b, begin, end)


def _around(text: str, begin: int, end: int) -> str:
    """The part of ``text`` without what is the same at both its ends, but for a few characters."""
    first, last = max(0, begin - _KEPT), min(len(text), len(text) - end + _KEPT)
    return _brief(f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}")


def _brief(text: str) -> str:
    text = " ".join(_HASH.sub(lambda match: match[0][:12], text).split())
    return text if len(text) <= 3 * _LONG else f"{text[: 3 * _LONG]}…"


def _ending(found: Explanation) -> Iterator[str]:
    if found.image is None:
        yield "nothing to build for a cell that cannot be"
        return
    if found.image.state == "same" and found.system:
        yield f"one key for both: nothing is rebuilt; other in B: {_many(len(found.system), 'package')}"
        return
    if found.image.state == "same":
        yield "one image does for both: nothing is rebuilt" + ("" if found.server is None else _servers(found))
        return
    yield f"from A to B: {_many(len(found.rebuilt), 'layer build')}" + (
        f" ({_names(found.rebuilt)})" if found.rebuilt else ""
    )
    chain = found.environment
    if chain is not None:
        kept = "shared" if chain.state == "same" else "built again"
        yield f"the Python environment is {kept}; the image is put together anew"
    if found.shared:
        yield f"{_many(len(found.shared), 'layer')} shared: {_names(found.shared)}"


def _servers(found: Explanation) -> str:
    assert found.server is not None
    return "; the servers differ" if found.server.changes else ", and one server too"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
