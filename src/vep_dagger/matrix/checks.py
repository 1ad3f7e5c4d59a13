"""What is wrong with a matrix file beyond its types: names that nothing has, things said twice, things that contradict.

The checks read plain data and pass over what has a wrong type, so that they find what they can in a file whose types
are wrong elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vep_dagger.errors import did_you_mean
from vep_dagger.matrix.cell import freeze, label_of
from vep_dagger.matrix.positions import DataPath
from vep_dagger.matrix.problems import Problems, name_of
from vep_dagger.matrix.schema import Choice, ServeChanges

SWITCHES = ("all2all", "deep_gemm")
"""What a list axis may choose besides pins and keys of ``[serve]``."""

_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TABLES_OF_CHOICE = tuple(name for name in Choice.model_fields if name not in SWITCHES)


def check_all(data: dict[str, Any], problems: Problems) -> None:
    """Notes all that can be said without knowing the recipe."""
    axes = _labels(data)
    _check_axes(data, problems)
    _check_excludes(data, axes, problems)
    added = _check_includes(data, axes, problems)
    _check_benches(data, problems)
    _check_pick(data, {name: [*labels, *added.get(name, ())] for name, labels in axes.items()}, problems)
    _check_settings(data, problems)
    if "serve" not in data:
        _check_build_only(data, problems)
    _check_characters(data, problems)


def _table(data: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _tables(data: dict[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    items = data.get(key)
    return ((at, item) for at, item in enumerate(items if isinstance(items, list) else ()) if isinstance(item, dict))


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _labels(data: dict[str, Any]) -> dict[str, list[str]]:
    return {
        name: [label_of(choice) for choice in axis if _is_scalar(choice)] if isinstance(axis, list) else list(axis)
        for name, axis in _table(data, "axes").items()
        if isinstance(axis, list | dict)
    }


def _check_axes(data: dict[str, Any], problems: Problems) -> None:
    for name, axis in _table(data, "axes").items():
        if name in _TABLES_OF_CHOICE:
            hint = "give it another name: in [[include]] this word stands for what is set"
            problems.add(f"an axis cannot be called {name!r}", ("axes", name), key=True, hint=hint)
        if not isinstance(axis, list):
            continue
        seen: dict[str, int] = {}
        for at, choice in enumerate(axis):
            if not _is_scalar(choice):
                continue
            label = label_of(choice)
            if label in seen:
                other = axis[seen[label]]
                hint = "remove one of them"
                if type(other) is not type(choice):
                    hint += f": {_toml(other)} and {_toml(choice)} have the same label"
                problems.add(f"axis {name!r} has the choice {label!r} twice", ("axes", name, at), hint=hint)
            seen.setdefault(label, at)


def _check_choice(axis: str, value: object, axes: dict[str, list[str]], path: DataPath, problems: Problems) -> None:
    if _is_scalar(value) and label_of(value) not in axes[axis]:
        problems.unknown(f"axis {axis!r} has no choice", label_of(value), axes[axis], path)


def _check_excludes(data: dict[str, Any], axes: dict[str, list[str]], problems: Problems) -> None:
    for at, exclude in _tables(data, "exclude"):
        if not exclude:
            problems.add("this exclude names no axis", ("exclude", at), hint="name at least one axis and its choice")
        for name, value in exclude.items():
            path = ("exclude", at, name)
            if name not in axes:
                problems.unknown("there is no axis", name, axes, path, key=True)
            else:
                _check_choice(name, value, axes, path, problems)


def _check_includes(data: dict[str, Any], axes: dict[str, list[str]], problems: Problems) -> dict[str, list[str]]:
    """Checks what includes name, and gives the labels that they add to list axes."""
    added: dict[str, list[str]] = {}
    for at, include in _tables(data, "include"):
        if not include:
            problems.add("this include sets nothing", ("include", at), hint="name a choice and what it sets")
        for name, value in include.items():
            path = ("include", at, name)
            if name in axes and name not in _TABLES_OF_CHOICE:
                if isinstance(data["axes"][name], dict):
                    _check_choice(name, value, axes, path, problems)
                elif _is_scalar(value):
                    added.setdefault(name, []).append(label_of(value))
            elif name in SWITCHES:
                if not isinstance(value, str if name == "all2all" else bool) or value == "":
                    expected = "text" if name == "all2all" else "true or false"
                    problems.add(f"{name_of(path)}: expected {expected}", path)
            elif name not in Choice.model_fields:
                hint = did_you_mean(name, [*axes, *Choice.model_fields])
                problems.add(
                    f"{name!r} is neither an axis nor something that an include sets", path, key=True, hint=hint
                )
    return added


def _check_benches(data: dict[str, Any], problems: Problems) -> None:
    seen: dict[str, int] = {}
    for at, bench in _tables(data, "bench"):
        name = bench.get("name")
        if not isinstance(name, str):
            continue
        # Names of files: also unique where the file system does not tell small letters from capitals.
        first = seen.setdefault(name.lower(), at)
        if first != at:
            hint = f"the other is in {problems.line(('bench', first, 'name'))}; give each its own name"
            problems.add(f"two [[bench]] are called {name!r}", ("bench", at, "name"), hint=hint)


def _check_pick(data: dict[str, Any], axes: dict[str, list[str]], problems: Problems) -> None:
    pick = _table(data, "pick")
    if "maximize" in pick and "minimize" in pick:
        problems.add("[pick] both maximizes and minimizes", ("pick", "minimize"), key=True, hint="keep one of the two")
    workload = pick.get("workload")
    names = [name for _, bench in _tables(data, "bench") if isinstance(name := bench.get("name"), str)]
    if isinstance(workload, str) and workload not in names:
        hint = did_you_mean(workload, names) if names else "the file has no [[bench]]"
        problems.add(f"there is no [[bench]] called {workload!r}", ("pick", "workload"), hint=hint)
    for name, value in _table(pick, "baseline").items():
        path = ("pick", "baseline", name)
        if name not in axes:
            problems.unknown("there is no axis", name, axes, path, key=True)
        else:
            _check_choice(name, value, axes, path, problems)


def _setters(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], DataPath]]:
    """Each table that sets pins, args, env or keys of [serve], with its path."""
    yield {"pins": _table(data, "pins"), "args": _table(data, "serve", "args"), "env": _table(data, "serve", "env")}, ()
    for axis, choices in _table(data, "axes").items():
        for label, choice in (choices if isinstance(choices, dict) else {}).items():
            yield _table(choice), ("axes", axis, label)
    for at, include in _tables(data, "include"):
        yield include, ("include", at)


def _check_settings(data: dict[str, Any], problems: Problems) -> None:
    flags: dict[str, tuple[str, DataPath]] = {}
    values: dict[tuple[str, str, object], tuple[object, DataPath]] = {}
    for setter, base in _setters(data):
        for kind in ("pins", "args", "env"):
            for name, value in _table(setter, kind).items():
                path = (*base, kind, name) if base or kind == "pins" else ("serve", kind, name)
                if kind == "env" and name in _SECRETS:
                    problems.add(
                        f"{name} is a secret and cannot stand in a matrix file",
                        path,
                        key=True,
                        hint="export it where vep runs",
                    )
                if kind == "args":
                    spelling, first = flags.setdefault(name.replace("_", "-"), (name, path))
                    if spelling != name:
                        hint = f"{problems.line(first, key=True)} has {spelling!r}; write it the same everywhere"
                        problems.add(f"{name!r} and {spelling!r} are the same flag", path, key=True, hint=hint)
                if not _is_scalar(value):
                    continue
                # To Python 1, 1.0 and true are equal: two choices would become one without a word.
                other, first = values.setdefault((kind, name, freeze(value)), (value, path))
                if repr(other) != repr(value):
                    hint = f"{problems.line(first)} has {_toml(other)}; write it the same everywhere"
                    problems.add(
                        f"{name_of((kind, name))} is {_toml(value)} here and {_toml(other)} elsewhere", path, hint=hint
                    )


def _check_build_only(data: dict[str, Any], problems: Problems) -> None:
    """Notes what is of servers in a file that has none."""
    paths: list[DataPath] = [(name,) for name in ("smoke", "bench", "gates", "pick") if name in data]
    paths += [
        ("axes", name)
        for name, axis in _table(data, "axes").items()
        if isinstance(axis, list) and name in (*SWITCHES, *ServeChanges.model_fields)
    ]
    of_servers = [name for name in Choice.model_fields if name != "pins"]
    paths += [(*base, name) for setter, base in _setters(data) if base for name in of_servers if name in setter]
    for path in paths:
        problems.add(
            f"{name_of(path)} is of servers, and the file has no [serve]",
            path,
            key=True,
            hint="add a table [serve] with the model, or leave this out: then images are built, and nothing is served",
        )


def _check_characters(data: dict[str, Any], problems: Problems) -> None:
    """No variable, flag or file name can hold a NUL, which TOML can write."""
    pending: list[tuple[DataPath, Any]] = [((), data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str) and "\0" in value:
            problems.add(f"{name_of(path)} holds a NUL character", path)
        if isinstance(value, dict):
            pending.extend(((*path, key), item) for key, item in value.items())
        elif isinstance(value, list):
            pending.extend(((*path, at), item) for at, item in enumerate(value))


def _toml(value: object) -> str:
    return label_of(value) if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
