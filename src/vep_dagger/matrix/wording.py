"""What is wrong with a table of the matrix file, in words of the file: nothing that a user reads is pydantic's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from vep_dagger.errors import did_you_mean, nearest
from vep_dagger.matrix.positions import DataPath
from vep_dagger.matrix.problems import Problems, name_of
from vep_dagger.matrix.schema import METRICS, Deadlines, MatrixFile, Pick, Serve, Smoke, Workload
from vep_dagger.matrix.values import UNFIT, type_words

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "union_tag_not_found": "a list of choices, or a table of named choices",
    "finite_number": "a finite number",
}
_HOMES: Mapping[str, type[BaseModel]] = {
    "[serve]": Serve,
    "[smoke]": Smoke,
    "[smoke.deadlines]": Deadlines,
    "[[bench]]": Workload,
    "[pick]": Pick,
}
_NAME = (
    "a name is made of letters, digits, '.', '_' and '-', begins with a letter or digit, and has at most 64 characters"
)
_ENV_NAME = "a variable's name is made of letters, digits and '_', and does not begin with a digit"


def explain(error: ValidationError, problems: Problems, at: DataPath | None = None) -> None:
    """Notes each thing that a model of the whole file refused; or, with ``at``, what a model of the value there did."""
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        if path[:1] == ("axes",) and len(path) > 2:
            path = (*path[:2], *path[3:])  # The third part says which kind of axis was meant.
        _explain_one(detail["type"], path if at is None else at, detail["input"], detail.get("ctx") or {}, problems)


def _explain_one(kind: str, path: DataPath, value: Any, context: Mapping[str, Any], problems: Problems) -> None:
    if path[-1:] == ("[key]",):
        _explain_key(path[:-1], problems)
        return
    name = name_of(path) or "the file"
    if kind == UNFIT:
        for part in context["at"]:
            path, value = (*path, part), value[part]
        problems.add(
            f"{name_of(path)}: expected {context['expected']}, got {_got(value)}",
            path,
            hint=_hint(context["expected"], value),
        )
    elif kind == "extra_forbidden":
        word = str(path[-1])
        problems.add(
            f"unknown key {word!r}", path, key=True, hint=unknown_key_hint(word, path[:-1], known_keys(path[:-1]))
        )
    elif kind == "missing":
        problems.add(f"{_header(path[:-1])} has no {path[-1]!r}", path[:-1], hint=f"add {_example(path)}")
    elif kind in _EXPECTED:
        expected = _EXPECTED[kind]
        problems.add(f"{name}: expected {expected}, got {_got(value)}", path, hint=_hint(expected, value))
    elif kind == "literal_error":
        words = _literal_words(path)
        problems.unknown(f"{name}: unknown {'metric' if words == METRICS else 'word'}", str(value), words, path)
    elif kind in ("greater_than_equal", "greater_than", "less_than_equal"):
        limit = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}[kind]
        bound = next(context[key] for key in ("ge", "gt", "le") if key in context)
        problems.add(f"{name}: must be {limit} {bound:g}, got {value}", path)
    elif kind == "too_short" or kind == "string_too_short":
        problems.add(_empty(path, value), path)
    elif kind == "string_pattern_mismatch":
        problems.add(f"{name}: {value!r} cannot be a name", path, hint=_NAME)
    else:
        problems.add(f"{name}: {_got(value)} cannot be used here", path)


def _explain_key(path: DataPath, problems: Problems) -> None:
    word = str(path[-1])
    if path[:1] == ("gates",):
        problems.unknown("unknown metric", word, METRICS, path, key=True)
    elif path[-2:-1] == ("env",):
        problems.add(f"{word!r} cannot be a variable's name", path, key=True, hint=_ENV_NAME)
    else:
        problems.add(f"{word!r} cannot be a name", path, key=True, hint=_NAME)


def _header(path: DataPath) -> str:
    if not path:
        return "the file"
    return f"[[{name_of(path)}]]" if isinstance(path[-1], int) else f"[{name_of(path)}]"


def _got(value: Any) -> str:
    return (
        "nan or inf"
        if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf")))
        else type_words(value)
    )


def _hint(expected: str, value: Any) -> str | None:
    if isinstance(value, str) and not expected.startswith("text"):
        bare = value.strip().lower()
        if expected == "true or false" and bare in ("true", "false"):
            return f"write {bare}, without quotes"
        if "number" in expected and bare.lstrip("-").replace(".", "", 1).isdecimal() and bare.isascii():
            return f"write {bare}, without quotes"
    elif expected.startswith("text") and isinstance(value, bool | int | float):
        return "write it in quotes"
    elif expected == "a list" and isinstance(value, dict):
        return "write its header with two brackets: [[…]]"
    elif expected == "a table" and isinstance(value, list) and value and isinstance(value[0], dict):
        return "write its header with one bracket: […]"
    return None


def _empty(path: DataPath, value: Any) -> str:
    if path[:1] == ("axes",) and len(path) == 2:
        return f"axis {path[1]!r} has no choices"
    what = (
        "an empty text" if isinstance(value, str) else "an empty list" if isinstance(value, list) else "an empty table"
    )
    return f"{name_of(path)}: {what} says nothing"


def _example(path: DataPath) -> str:
    key = str(path[-1])
    examples = {
        "recipe": 'recipe = "vllm-ep"',
        "model": 'model = "…"',
        "name": 'name = "…"',
    }
    return examples.get(key, f"{key} = …")


def known_keys(path: DataPath) -> tuple[str, ...]:
    """The keys that the table at ``path`` may have; none where it has names of the user's own."""
    for model in _models_at(MatrixFile, path):
        return tuple(model.model_fields)
    return ()


def unknown_key_hint(word: str, path: DataPath, known: tuple[str, ...]) -> str:
    """The nearest right word of the table; for a key that another table has, that table."""
    if nearest(word, known) is None:
        for table, model in _HOMES.items():
            if word in model.model_fields:
                return f"{word!r} is a key of {table}"
        if word in MatrixFile.model_fields:
            return f"{word!r} stands at the top of the file, before the first table"
    return did_you_mean(word, known)


def _literal_words(path: DataPath) -> tuple[str, ...]:
    """The words of a key that takes one of several."""
    for model in _models_at(MatrixFile, path[:-1]):
        field = model.model_fields.get(str(path[-1]))
        if field is not None:
            return tuple(_literals(field.annotation))
    return ()


def _literals(annotation: Any) -> Iterator[str]:
    for argument in get_args(annotation):
        if isinstance(argument, str):
            yield argument
        else:
            yield from _literals(argument)


def _models_at(annotation: Any, path: DataPath) -> Iterator[type[BaseModel]]:
    """The models that may stand at a path below something of this type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not path:
            yield annotation
        elif isinstance(path[0], str) and path[0] in annotation.model_fields:
            yield from _models_at(annotation.model_fields[path[0]].annotation, path[1:])
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (list, dict):
        if path and isinstance(path[0], int) == (origin is list):
            yield from _models_at(arguments[-1], path[1:])
        return
    for argument in arguments:
        yield from _models_at(argument, path)
