"""The rooms of ``src/vep_dagger`` and what each may import of the others: work goes one way, no room reaches back."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "vep_dagger"
SOURCE = Path(__file__).parent.parent / "src" / PACKAGE

# A room is a folder or a file of the package. Each may import itself and `errors`; `*` is every room; `room.module`
# is that module alone.
ROOMS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "dsl": (),
    "compat": (),
    "processes": (),
    "matrix": ("compat",),
    "layers": ("dsl", "compat"),
    "recipes": ("dsl", "layers"),
    "plan": ("dsl", "layers", "recipes", "matrix", "compat"),
    "explain": ("dsl", "plan", "matrix", "compat"),
    "engines": ("processes",),
    "builders": ("dsl", "plan", "processes", "engines"),
    "locking": ("dsl", "compat", "plan", "matrix", "builders", "engines", "processes", "evidence.files"),
    "launchers": ("builders.base", "builders.cache", "builders.settings", "engines", "plan", "compat", "processes"),
    "evidence": ("plan", "processes"),
    "jobs": ("dsl", "matrix", "compat", "plan", "evidence", "builders.base", "launchers.base"),
    "squash": ("dsl", "builders", "engines", "processes"),
    "report": ("evidence", "plan.document"),
    "doctor": ("processes", "builders", "launchers", "engines"),
    "console": ("dsl", "plan", "matrix", "explain", "locking", "jobs", "evidence", "report", "builders", "workflow"),
    "serving": ("dsl", "compat", "plan", "engines", "builders", "launchers", "jobs", "workflow"),
    "workflow": ("*",),
    "pipeline": ("*",),
    "cli": ("*",),
    "__init__": ("*",),
}


def imports_of(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of ours: at the top, in functions, under TYPE_CHECKING, by import_module.

    ``package`` is the package that holds the module: what relative imports start from. The names that ``from … import``
    takes are added to the module's, since each may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
        else:
            continue
        for name in names:
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                yield node.lineno, name


def problem(room: str, name: str) -> str | None:
    """What is wrong with ``room`` importing ``name``, or None. One without rules is for another test."""
    inside = name.split(".")[1:]
    if not inside or inside[0].startswith("__"):
        return None  # the package itself: its version
    target = inside[0]
    if "fake" in inside[1:]:
        return "fakes are for tests alone"
    allowed = ROOMS.get(room, ("*",))
    if target in {room, "errors"} or "*" in allowed:
        return None
    dotted = ".".join(inside)
    if any(dotted == rule or dotted.startswith(f"{rule}.") for rule in allowed):
        return None
    return f"room {room} may only import {', '.join((*allowed, 'errors')) if room != 'errors' else 'nothing of ours'}"


def violations(root: Path) -> list[str]:
    """``file:line imports X: …`` for every import that breaks a rule."""
    found = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        room = relative.parts[0].removesuffix(".py")
        package = ".".join((PACKAGE, *relative.parts[:-1]))
        for line, name in imports_of(ast.parse(path.read_text()), package):
            wrong = problem(room, name)
            if wrong:
                found.append(f"{relative}:{line} imports {name}: {wrong}")
    return found


def rooms(root: Path) -> set[str]:
    """The rooms that are there."""
    return {path.relative_to(root).parts[0].removesuffix(".py") for path in root.rglob("*.py")}


def test_every_room_imports_only_what_it_may() -> None:
    assert violations(SOURCE) == []


def test_every_room_has_its_rules() -> None:
    unknown = rooms(SOURCE) - set(ROOMS)
    assert not unknown, f"say in ROOMS what {', '.join(sorted(unknown))} may import"


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("dsl/x.py", "from vep_dagger.plan import Plan", "vep_dagger.plan.Plan"),
        ("dsl/x.py", "def f():\n    import vep_dagger.plan.document", "vep_dagger.plan.document"),
        ("dsl/x.py", "if TYPE_CHECKING:\n    from vep_dagger import matrix", "vep_dagger.matrix"),
        ("dsl/x.py", "from ..plan import document", "vep_dagger.plan.document"),
        ("dsl/x.py", "from .. import plan", "vep_dagger.plan"),
        ("dsl/x.py", "importlib.import_module('vep_dagger.plan')", "vep_dagger.plan"),
        ("jobs/x.py", "from vep_dagger.builders.venv import builder", "vep_dagger.builders.venv.builder"),
        ("jobs/x.py", "from vep_dagger.builders import venv", "vep_dagger.builders.venv"),
        ("report/x.py", "from vep_dagger.plan import planner", "vep_dagger.plan.planner"),
        ("cli/x.py", "from vep_dagger.launchers.fake import FakeLauncher", "vep_dagger.launchers.fake.FakeLauncher"),
        ("errors.py", "from vep_dagger.dsl import key", "vep_dagger.dsl.key"),
    ],
)
def test_an_import_that_reaches_back_is_found(tmp_path: Path, module: str, line: str, found: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    (message,) = violations(tmp_path)
    assert message.startswith(f"{module}:{line.count(chr(10)) + 1} imports {found}: ")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("jobs/x.py", "from vep_dagger.builders.base import Builder"),
        ("report/x.py", "from vep_dagger.plan.document import PlanDoc"),
        ("report/x.py", "from . import text"),
        ("plan/x.py", "from vep_dagger.errors import MatrixError"),
        ("report/x.py", "from vep_dagger import __version__"),
        ("cli/x.py", "from vep_dagger.plan import Plan"),
        ("dsl/x.py", "import json, vep_dagger_elsewhere"),
    ],
)
def test_an_import_that_is_allowed_is_not(tmp_path: Path, module: str, line: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert violations(tmp_path) == []


def test_the_command_line_loads_nothing_heavy_before_it_is_needed() -> None:
    heavy = ["pydantic", "rich", "anyio", "httpx", "plotly", "jinja2", "psutil", "tree_sitter"]
    code = f"import sys, {PACKAGE}.cli; print(*[name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == [], "import these inside the functions that need them: vep --help must be quick"
