"""Reads the data files and a user's overlay, strictly: every key is known and has the right type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import tomli
from packaging.version import Version

from vep_dagger.compat import tables
from vep_dagger.errors import CompatError, did_you_mean

HERE = Path(__file__).parent
SHIPPED = ("releases.toml", "pins.toml", "tooling.toml", "all2all.toml", "lines.toml", "serving.toml")

ROWS: dict[str, type[tables.Row]] = {
    "stack": tables.StackRow,
    "cpu": tables.CpuRow,
    "pins": tables.PinsRow,
    "commit": tables.CommitRow,
    "nvshmem_wheel": tables.NvshmemWheelRow,
    "tooling": tables.ToolingRow,
    "hazard": tables.HazardRow,
    "mode": tables.ModeRow,
    "backend": tables.BackendRow,
    "cpu_backend": tables.CpuBackendRow,
    "switch": tables.SwitchRow,
    "line": tables.LineRow,
    "phase": tables.PhaseRow,
    "bench": tables.BenchRow,
    "flag": tables.FlagRow,
}
LISTS = {"releases": "", "unverified": "", "bench_result": "keys"}
"""Keys of the top level that are lists of words: directly, or under the one key of a table."""

WORDS: dict[tuple[str, str], frozenset[str]] = {
    ("commit", "component"): frozenset({"deepgemm", "deepep"}),
    ("commit", "interface"): frozenset({"legacy", "v2"}),
    ("nvshmem_wheel", "platform"): frozenset({"linux/amd64", "linux/arm64"}),
    ("mode", "selector"): frozenset({"env", "cli"}),
    ("mode", "variable"): frozenset({"chooses", "loses", "overwrites", "ignored", "unknown"}),
    ("backend", "state"): frozenset({"real", "fallback", "alias", "split", "internal"}),
    ("backend", "ranks"): frozenset({"any", "every", "zero"}),
    ("line", "demanded"): frozenset({"on", "off"}),
    ("line", "forbidden"): frozenset({"on", "off"}),
    ("line", "violation"): frozenset({"failed", "fell-back"}),
    ("line", "ranks"): frozenset({"any", "every", "zero"}),
    ("line", "device"): frozenset({"cuda", "cpu"}),
    ("phase", "phase"): frozenset({"weights", "compile", "warmup", "capture", "ready"}),
}
PATTERNS = frozenset({("line", "pattern"), ("phase", "patterns"), ("phase", "progress")})
"""Keys whose values are regular expressions."""

R = TypeVar("R", bound=tables.Row)


class DataFiles:
    """All that the shipped files and an overlay say, in the order in which it was read."""

    def __init__(self, overlay: Path | None) -> None:
        self._rows: dict[str, list[Any]] = {name: [] for name in ROWS}
        self._words: dict[str, list[str]] = {name: [] for name in LISTS}
        for name in SHIPPED:
            self._read(HERE / name, name)
        if overlay is not None:
            self._read(overlay, str(overlay))

    def rows(self, name: str, kind: type[R]) -> list[R]:
        """The rows of one table."""
        found: list[R] = self._rows[name]
        assert ROWS[name] is kind
        return found

    def words(self, name: str) -> list[str]:
        """A list of words of the top level."""
        return self._words[name]

    def _read(self, path: Path, where: str) -> None:
        for key, value in _toml(path, where).items():
            if key in LISTS:
                inner = LISTS[key]
                if inner:
                    _check(isinstance(value, Mapping), f"{key} is a table", where)
                    _known(value, [inner], f"[{key}]", where)
                    value = value.get(inner, [])
                self._words[key] += _strings(value, key, where)
            elif key in ROWS:
                _check(isinstance(value, list), f"{key} is written as [[{key}]]", where)
                for number, raw in enumerate(value, start=1):
                    self._rows[key].append(_row(key, raw, f"{where}: [[{key}]] number {number}"))
            else:
                raise CompatError(f"unknown table {key!r}", where=where, hint=did_you_mean(key, [*ROWS, *LISTS]))


def _toml(path: Path, where: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomli.load(file)
    except OSError as error:
        raise CompatError(f"cannot be read: {error.strerror}", where=where) from None
    except UnicodeDecodeError:
        raise CompatError("is not UTF-8, so it is not TOML", where=where) from None
    except tomli.TOMLDecodeError as error:
        raise CompatError(f"is not TOML: {error}", where=where) from None


def _row(table: str, raw: object, where: str) -> tables.Row:
    kind = ROWS[table]
    if not isinstance(raw, Mapping):
        raise CompatError(f"{table} is written as [[{table}]]", where=where)
    declared = {field.name: field for field in fields(kind)}
    _known(raw, declared, f"[[{table}]]", where)
    for name, field in declared.items():
        if name not in raw and field.default is MISSING:
            raise CompatError(f"[[{table}]] needs the key {name!r}", where=where)
    values = {name: _value(table, name, value, str(declared[name].type), where) for name, value in raw.items()}
    for name in ("since", "before"):
        if name in values and not _is_version(values[name]):
            raise CompatError(
                f"{name} = {values[name]!r} is not a version", where=where, hint="write a vLLM release, such as 0.26.0"
            )
    return kind(**values)


def _value(table: str, name: str, value: object, annotation: str, where: str) -> Any:
    """The value in the form that the row's class has: lists are tuples."""
    if annotation == "bool":
        _check(isinstance(value, bool), f"{name} is true or false", where)
    elif annotation == "int":
        _check(isinstance(value, int) and not isinstance(value, bool), f"{name} is a whole number", where)
    elif annotation.startswith("tuple"):
        value = tuple(_strings(value, name, where))
    else:
        _check(isinstance(value, str), f"{name} is a text", where)
    for word in value if isinstance(value, tuple) else (value,):
        known = WORDS.get((table, name))
        if known and word not in known:
            raise CompatError(f"{name} cannot be {word!r}", where=where, hint=did_you_mean(str(word), known))
        if (table, name) in PATTERNS:
            _check_pattern(str(word), name, where)
    return value


def _check_pattern(pattern: str, name: str, where: str) -> None:
    # The shipped patterns are compiled by a test; compiling them at every start would take longer than all the rest.
    if where.startswith(SHIPPED):
        return
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CompatError(f"{name} is not a regular expression: {error}: {pattern!r}", where=where) from None
    if name == "progress" and "percent" not in compiled.groupindex:
        raise CompatError(
            "progress has no group named percent", where=where, hint=r"write the number as (?P<percent>\d{1,3})%"
        )


def _strings(value: object, name: str, where: str) -> Iterator[str]:
    _check(
        isinstance(value, list) and all(isinstance(word, str) for word in value), f"{name} is a list of texts", where
    )
    assert isinstance(value, list)
    yield from value


def _known(raw: Mapping[str, object], known: Mapping[str, object] | list[str], table: str, where: str) -> None:
    for key in raw:
        if key not in known:
            raise CompatError(f"unknown key {key!r} in {table}", where=where, hint=did_you_mean(key, known))


def _check(right: bool, what: str, where: str) -> None:
    if not right:
        raise CompatError(what, where=where)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except ValueError:
        return False
    return True
