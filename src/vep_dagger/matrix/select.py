"""``-k EXPR``: which cells of a matrix are meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from vep_dagger.errors import Location, UsageError, nearest
from vep_dagger.matrix.cell import Cell

_TOKEN = re.compile(r"[()]|[^\s()]+")
_OPERATORS = ("and", "or", "not")
_BINDS = {"or": 1, "and": 2, "not": 3}
_SHOWN = 5


class _Token(NamedTuple):
    text: str
    column: int

    @property
    def kind(self) -> str:
        """``(``, ``)``, an operator, or ``word``."""
        lower = self.text.lower()
        return lower if lower in (*_OPERATORS, "(", ")") else "word"


class _Expression(NamedTuple):
    text: str
    place: str
    """Where it was given: an option or an argument."""

    def error(self, what: str, token: _Token, hint: str | None) -> UsageError:
        line = "".join(character if character.isprintable() else " " for character in self.text)
        where = Location(self.place, 1, token.column, line, max(1, len(token.text)))
        return UsageError(what, where=where, hint=hint)


def select(cells: Sequence[Cell], text: str, place: str = "-k") -> tuple[Cell, ...]:
    """The cells that an expression names, in their order. ``place`` is the option or argument that it was given as.

    Words are joined by ``and``, ``or``, ``not`` and parentheses; ``not`` binds tightest, then ``and``. A word is a part
    of the slug, or ``axis=label``; capitals and small letters are the same.

    :raises UsageError: it cannot be read, one of its words fits no cell of the matrix, or all of it fits none.
    """
    expression = _Expression(text, place)
    program = _parse(expression)
    slugs = [cell.slug.lower() for cell in cells]
    everything = (1 << len(cells)) - 1
    stack: list[int] = []
    for token in program:
        # Sets of cells are numbers with a bit for each: a hundred thousand cells are joined in microseconds.
        if token.kind == "not":
            stack.append(everything & ~stack.pop())
        elif token.kind in ("and", "or"):
            right, left = stack.pop(), stack.pop()
            stack.append(left & right if token.kind == "and" else left | right)
        else:
            found = _matching(token.text.lower(), cells, slugs)
            if not found:
                what = f"no cell has {token.text!r} in its slug, nor as axis=label"
                raise expression.error(what, token, _suggestion(token.text, cells))
            stack.append(found)
    chosen = stack.pop()
    if not chosen:
        raise UsageError(f"{place} {text!r} fits no cell", hint=_some(cells))
    bits = f"{chosen:0{len(cells)}b}"[::-1]
    return tuple(cell for cell, bit in zip(cells, bits, strict=True) if bit == "1")


def _matching(word: str, cells: Sequence[Cell], slugs: Sequence[str]) -> int:
    bits = [word in slug for slug in slugs]
    axis, equals, _ = word.partition("=")
    if equals and any(axis == name.lower() for cell in cells for name, _ in cell.choices):
        bits = [
            bit or any(f"{name}={label}".lower() == word for name, label in cell.choices)
            for bit, cell in zip(bits, cells, strict=True)
        ]
    return int("".join("1" if bit else "0" for bit in reversed(bits)) or "0", 2)


def _parse(expression: _Expression) -> list[_Token]:
    """The expression in postfix order: the shunting-yard algorithm, which no depth of parentheses can overflow."""
    tokens = [_Token(match[0], match.start() + 1) for match in _TOKEN.finditer(expression.text)]
    end = _Token("", len(expression.text.rstrip()) + 1)
    if not tokens:
        raise UsageError(f"{expression.place} is empty", hint="name a part of a slug, or axis=label")
    output: list[_Token] = []
    waiting: list[_Token] = []
    operand = False
    for token in tokens:
        kind = token.kind
        if operand == (kind in ("word", "not", "(")):
            wanted = "'and', 'or' or ')'" if operand else "a word, 'not' or '('"
            raise expression.error(
                f"expected {wanted}, got {token.text!r}", token, "join words with 'and', 'or' and 'not'"
            )
        operand = kind in ("word", ")")
        if kind == "word":
            output.append(token)
        elif kind == ")":
            _pop_while(waiting, output, lambda top: top.kind != "(")
            if not waiting:
                raise expression.error("nothing opens this ')'", token, None)
            waiting.pop()
        else:
            if kind in ("and", "or"):
                binds = _BINDS[kind]
                _pop_while(waiting, output, lambda top, binds=binds: _BINDS.get(top.kind, 0) >= binds)  # type: ignore[misc]
            waiting.append(token)
    if not operand:
        raise expression.error("the expression ends where a word is expected", end, None)
    _pop_while(waiting, output, lambda top: top.kind != "(")
    if waiting:
        raise expression.error("nothing closes this '('", waiting[-1], None)
    return output


def _pop_while(waiting: list[_Token], output: list[_Token], fits: Callable[[_Token], bool]) -> None:
    while waiting and fits(waiting[-1]):
        output.append(waiting.pop())


def _suggestion(word: str, cells: Sequence[Cell]) -> str:
    known: dict[str, str] = {}
    for cell in cells:
        for axis, label in cell.choices:
            for name in (f"{axis}={label}", label):
                known.setdefault(name.lower(), name)
    for part in dict.fromkeys(part for cell in cells[:1000] for part in cell.slug.split("-")):
        known.setdefault(part.lower(), part)
    near = nearest(word.lower(), known)
    return f"did you mean {known[near]!r}?" if near else _some(cells)


def _some(cells: Iterable[Cell]) -> str:
    slugs = [cell.slug for cell in cells]
    more = f", and {len(slugs) - _SHOWN} more" if len(slugs) > _SHOWN else ""
    return f"cells are {', '.join(slugs[:_SHOWN])}{more}" if slugs else "the matrix has no cells"
