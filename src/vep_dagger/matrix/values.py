"""Checks of values that may have several types: one message, where a union of types would give one for each type."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import PydanticCustomError

UNFIT = "unfit"
"""The type of the errors that are raised here; their context has ``expected`` and, inside a list or table, ``at``."""


def type_words(value: object) -> str:
    """What a value of a TOML file is, in a person's words."""
    if isinstance(value, bool):
        return str(value).lower()
    for kind, words in (
        (int, "a whole number"),
        (float, "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return words
    return "a date or time"


def _unfit(expected: str, *at: str | int) -> PydanticCustomError:
    return PydanticCustomError(UNFIT, "expected {expected}", {"expected": expected, "at": list(at)})


def _finite(value: Any, expected: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise _unfit(expected)
    return value


def scalar_value(value: Any) -> Any:
    """A choice of a list axis, or the label of a choice."""
    expected = "text, a number, or true or false"
    if not isinstance(value, bool | int | float | str):
        raise _unfit(expected)
    return _finite(value, expected)


def arg_value(value: Any) -> Any:
    """A flag's value."""
    expected = "text, a number, true or false, or a list of texts"
    if isinstance(value, list):
        if not value:
            raise _unfit("at least one text in the list")
        _texts(value)
    elif not isinstance(value, bool | int | float | str):
        raise _unfit(expected)
    return _finite(value, expected)


def pin_value(value: Any) -> Any:
    """One version, or a table of what decides one component."""
    if isinstance(value, dict):
        if not value:
            raise _unfit("at least one key in the table")
        for name, item in value.items():
            if isinstance(item, list):
                _texts(item, name)
            elif not isinstance(item, bool | int | str):
                raise _unfit("text, a whole number, true or false, or a list of texts", name)
    elif not isinstance(value, str):
        raise _unfit("text or a table")
    return value


def axis_kind(value: Any) -> str | None:
    """Which kind of axis a value is: ``list``, ``table``, or None."""
    if isinstance(value, list):
        return "list"
    return "table" if isinstance(value, dict) else None


def _texts(value: list[Any], *at: str) -> None:
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise _unfit("text", *at, index)
