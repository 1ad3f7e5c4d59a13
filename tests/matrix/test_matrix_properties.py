"""What must hold for any matrix file, found by trying many."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import tomli
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vep_dagger.errors import MatrixError, UsageError
from vep_dagger.matrix import Cell, Document, Matrix, MatrixProblemsError, expand, select
from vep_dagger.matrix.cell import label_of

PINS = ("p0", "p1", "p2")
DEFAULTS: dict[tuple[str, str], str] = {("pins", "p1"): "x", ("env", "B"): "1"}

sets = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(st.sampled_from("ABC"), st.sampled_from("12"), max_size=2),
        "pins": st.dictionaries(st.sampled_from(["p1", "p2"]), st.sampled_from("xy"), max_size=1),
        "all2all": st.sampled_from(["pplx", "naive"]),
    },
)


@st.composite
def matrices(draw: st.DrawFn) -> dict[str, Any]:
    """Small matrices that load; whether they expand is another matter."""
    axes: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(["p0", "p1", "t0", "t1"]), unique=True, max_size=3)):
        if name.startswith("p"):
            axes[name] = draw(st.lists(st.sampled_from("xyz"), unique=True, min_size=1, max_size=3))
        else:
            axes[name] = draw(st.dictionaries(st.sampled_from("abc"), sets, min_size=1, max_size=3))
    choices = {name: st.sampled_from(list(axis)) for name, axis in axes.items()}
    excludes: list[dict[str, Any]] = []
    includes: list[dict[str, Any]] = []
    if axes:
        exclude = st.fixed_dictionaries({}, optional=choices).filter(bool)
        excludes = draw(st.lists(exclude, max_size=2))
    wider = {name: st.sampled_from("xyzw") if isinstance(axis, list) else choices[name] for name, axis in axes.items()}
    for named, added in draw(st.lists(st.tuples(st.fixed_dictionaries({}, optional=wider), sets), max_size=3)):
        if named or added:
            includes.append({**named, **added})
    return {"axes": axes, "include": includes, "exclude": excludes}


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08X}" for c in text) + '"'


def read(data: dict[str, Any]) -> Matrix:
    lines = [f"{quoted(key)} = {toml(value)}" for key, value in data.items()]
    return Matrix.from_document(Document.from_bytes("\n".join(lines).encode()))


def flat(choice: dict[str, Any]) -> dict[tuple[str, str], Any]:
    made = {(kind, name): value for kind in ("env", "pins") for name, value in choice.get(kind, {}).items()}
    return made | ({("all2all", ""): choice["all2all"]} if "all2all" in choice else {})


class Wrong(Exception):  # noqa: N818 - what the reference raises where the real one must raise too
    pass


def reference(data: dict[str, Any]) -> list[tuple[dict[str, str], dict[tuple[str, str], Any]]]:
    """GitHub's rule as its documentation tells it, one combination and one rule at a time."""
    axes = data["axes"]

    def options(named: dict[str, str]) -> dict[str, dict[tuple[str, str], Any]]:
        return {
            name: {("pins", name): label} if isinstance(axes[name], list) else flat(axes[name][label])
            for name, label in sorted(named.items(), key=lambda item: list(axes).index(item[0]))
        }

    def merged(parts: list[dict[tuple[str, str], Any]]) -> dict[tuple[str, str], Any]:
        whole: dict[tuple[str, str], Any] = {}
        for part in parts:
            if any(whole.get(slot, value) != value for slot, value in part.items()):
                raise Wrong
            whole |= part
        return whole

    originals = [dict(zip(axes, labels, strict=True)) for labels in product(*axes.values())]
    for exclude in data["exclude"]:
        left = [cell for cell in originals if any(cell[axis] != label for axis, label in exclude.items())]
        if len(left) == len(originals):
            raise Wrong
        originals = left
    own = [merged(list(options(cell).values())) for cell in originals]
    effective = [DEFAULTS | values for values in own]
    added = []
    for include in data["include"]:
        named = {key: value for key, value in include.items() if key in axes}
        changes = flat({key: value for key, value in include.items() if key not in axes})
        fits = [
            at
            for at, cell in enumerate(originals)
            if all(cell[axis] == label for axis, label in named.items())
            and all(own[at].get(slot, value) == value for slot, value in changes.items())
        ]
        if fits:
            before = [effective[at] for at in fits]
            for at in fits:
                effective[at] = effective[at] | changes
            if before == [effective[at] for at in fits]:
                raise Wrong
        elif not named:
            raise Wrong
        else:
            ordered = {axis: named[axis] for axis in axes if axis in named}
            added.append((ordered, DEFAULTS | merged([*options(named).values(), changes])))
    cells = [*zip(originals, effective, strict=True), *added]
    names = [tuple(choices.items()) for choices, _ in cells]
    if not cells or len(set(names)) != len(names):
        raise Wrong
    return cells


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_the_expansion_agrees_with_githubs_rule_followed_step_by_step(data: dict[str, Any]) -> None:
    matrix = read({"recipe": "r", "pins": {"p1": "x"}, **data, "serve": {"model": "m", "env": {"B": "1"}}})
    try:
        expected = reference(data)
    except Wrong:
        with pytest.raises(MatrixError):
            expand(matrix, PINS)
        return
    made = [
        (
            dict(cell.choices),
            {("pins", name): value for name, value in cell.settings.pins}
            | {("env", name): value for name, value in cell.settings.env}
            | ({("all2all", ""): cell.settings.all2all} if cell.settings.all2all else {}),
        )
        for cell in expand(matrix, PINS)
    ]
    assert made == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(max_size=6), min_size=1, max_size=5, unique=True),
    st.lists(st.text(min_size=1, max_size=150), min_size=1, max_size=3, unique=True),
)
def test_slugs_are_unique_and_safe_as_names_of_folders(versions: list[str], backends: list[str]) -> None:
    assume(not any("\0" in text for text in [*versions, *backends]))
    matrix = read({"recipe": "r", "axes": {"p0": versions, "all2all": backends}, "serve": {"model": "m"}})
    try:
        made = [cell.slug for cell in expand(matrix, PINS)]
    except MatrixError as error:
        if "two cells have the slug" not in str(error):
            raise
        return
    assert len({slug.lower() for slug in made}) == len(versions) * len(backends)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", slug) for slug in made)


words = st.sampled_from(["and", "or", "not", "(", ")", "pplx", "dg1", "vllm=1", "deep_gemm=true", "x"])


@settings(max_examples=200, deadline=None)
@given(st.text() | st.lists(words, max_size=12).map(" ".join))
def test_any_expression_chooses_cells_or_is_a_usage_error(
    cells: Callable[..., tuple[Cell, ...]], expression: str
) -> None:
    made = cells('[axes]\nvllm = ["1", "2"]\nall2all = ["pplx", "naive"]\ndeep_gemm = [true, false]')
    try:
        chosen = select(made, expression)
    except UsageError as error:
        error.render()
    else:
        assert chosen
        assert list(chosen) == [cell for cell in made if cell in chosen]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="[]{}\".=,#\n\r \\abé1'", max_size=40).map(str.encode))
def test_any_bytes_are_a_document_or_a_matrix_error(source: bytes) -> None:
    try:
        Document.from_bytes(source)
    except MatrixError as error:
        error.render()


values = st.recursive(
    st.integers() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "x", "pplx"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "env", "vllm", "a b", "model"]), inner, max_size=3)
    ),
    max_leaves=5,
)
paths = st.sampled_from(
    [
        "recipe", "pins", "pins.vllm", "mirrors", "mirrors.a", "axes", "axes.vllm", "axes.t", "axes.t.a",
        "axes.t.a.env", "axes.t.a.serve", "axes.t.a.args.x", "axes.all2all", "axes.deep_gemm", "axes.nodes",
        "include", "exclude", "serve", "serve.model", "serve.port", "serve.nodes", "serve.args", "serve.args.x",
        "serve.env", "serve.env.A", "smoke", "smoke.prompts", "smoke.max_tokens", "smoke.deadlines",
        "smoke.deadlines.total", "bench", "gates", "gates.p99_ttft_ms", "pick", "pick.maximize", "pick.workload",
        "pick.baseline", "pick.baseline.vllm", "x", "serve.x", "pick.x.y",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(paths, values, min_size=1, max_size=3))
def test_whatever_is_wrong_is_told_in_words_of_the_file(changes: dict[str, Any]) -> None:
    data: dict[str, Any] = {"recipe": "r", "serve": {"model": "m"}}
    for path, value in changes.items():
        *parents, last = path.split(".")
        table = data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                return
        table[last] = value
    try:
        expand(read(data), PINS)
    except MatrixProblemsError as error:
        shown, problems = error.render(), error.problems
    except MatrixError as error:
        shown, problems = error.render(), (error,)
    else:
        return
    assert all(problem.where for problem in problems)
    # The last is what is said of an error of pydantic's that nobody has put in words.
    for phrase in ("Input should", "pydantic", "validation error", "type=", "cannot be used here"):
        assert phrase not in shown


documents = st.recursive(
    st.integers(-99, 99) | st.booleans() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def write(table: dict[str, Any], header: tuple[str, ...], random: Any) -> list[str]:
    """The table in one of the many ways that TOML has for it."""
    lines, below = [], []
    for key, value in table.items():
        name = quoted(key) if random.random() < 0.7 or not re.fullmatch("[A-Za-z0-9_-]+", key) else key
        if isinstance(value, dict) and random.random() < 0.6:
            path = (*header, name)
            below += [f"[{' . '.join(path)}] # é", *write(value, path, random)]
        elif isinstance(value, dict) and len(value) == 1 and random.random() < 0.5:
            ((inner, item),) = value.items()
            lines.append(f"\t{name} . {quoted(inner)} = {toml(item)}")
        elif (
            isinstance(value, list)
            and value
            and all(isinstance(item, dict) for item in value)
            and random.random() < 0.7
        ):
            path = (*header, name)
            for item in value:
                below += [f"[[{'.'.join(path)}]]", *write(item, path, random)]
        else:
            lines.append(f"  {name}\t= {toml(value)} # 日本")
    return lines + below


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=4), documents, max_size=4), st.randoms(use_true_random=False))
def test_every_key_and_value_of_any_document_is_located(data: dict[str, Any], random: Any) -> None:
    document = Document.from_bytes("\n".join(write(data, (), random)).encode())
    assert document.data == data

    def check(path: tuple[str | int, ...], value: Any) -> None:
        def text(*, key: bool) -> str:
            where = document.locate(path, key=key)
            return where.excerpt[where.column - 1 : where.column - 1 + where.width]

        if path and isinstance(path[-1], str):
            assert tomli.loads(f"{text(key=True)} = 0") == {path[-1]: 0}
        if not isinstance(value, dict | list):
            assert tomli.loads(f"v = {text(key=False)}") == {"v": value}
        for part, item in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            check((*path, part), item)

    check((), data)


def test_labels_of_true_and_false_are_written_as_toml_does() -> None:
    assert [label_of(value) for value in (True, False, 1, 1.5, "x")] == ["true", "false", "1", "1.5", "x"]
