"""The pages that describe formats, rooms and commands name each of them, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from vep_dagger import cli
from vep_dagger.evidence import record, runfile
from vep_dagger.jobs.events import Event, EventKind
from vep_dagger.plan import document

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"`([^`\n]+)`|^(?:    |\$ )(?:\S*=\S+ )?(?:\S*/)?(vep .+?)(?: {2,}.*)?$", re.MULTILINE)
"""Code in a line, and commands in indented lines or after a prompt."""


def fields(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Class and name of every field of the models of a module."""
    for name, model in vars(module).items():
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from ((name, field) for field in model.model_fields)


@pytest.mark.parametrize(("page", "module"), [("plan", document), ("evidence", record), ("evidence", runfile)])
def test_every_field_of_a_document_is_explained(page: str, module: ModuleType) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert [(name, field) for name, field in fields(module) if not re.search(rf"[`.]{field}`", text)] == []


def test_every_event_is_explained() -> None:
    text = (ROOT / "docs" / "plan.md").read_text()
    assert [kind for kind in get_args(EventKind) if f"| `{kind}` |" not in text] == []
    assert [field for field in Event.__dataclass_fields__ if f"| `{field}` |" not in text] == []


def test_the_rooms_and_what_each_may_import_are_those_that_a_test_holds() -> None:
    rules = ast.parse((ROOT / "tests" / "test_import_rules.py").read_text())
    (held,) = [node.value for node in rules.body if isinstance(node, ast.AnnAssign) and node.target.id == "ROOMS"]  # type: ignore[union-attr]
    rooms: dict[str, Any] = ast.literal_eval(held)  # type: ignore[arg-type]
    told: dict[str, tuple[str, ...]] = {}
    text = (ROOT / "docs" / "architecture.md").read_text().split("## The seams")[0]
    for row in re.findall(r"^\| (`.+?) \| (.+?) \|$", text, re.MULTILINE):
        may = ("*",) if row[1] == "all" else tuple(re.findall(r"`([\w.]+)`", row[1]))
        told |= dict.fromkeys(re.findall(r"`(\w+)`", row[0]), may)
    assert told == {room: may for room, may in rooms.items() if room != "__init__"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    commands = {f"vep {name}": command for name, command in cli.vep.commands.items()}
    known = {option for command in commands.values() for option in options(command)} | {"--help"}
    wrong = []
    for code in COMMAND.findall(page.read_text()):
        words = "".join(code)
        named = re.match(r"vep [a-z]+", words)
        if named and named.group() not in commands:
            wrong.append(named.group())
        if named and named.group() in commands:
            wrong += [word for word in re.findall(r"(?<!\S)--[a-z-]+", words) if word not in known]
    assert wrong == []


def options(command: click.Command) -> Iterator[str]:
    """Every option of a command and of those below it."""
    for parameter in command.params:
        yield from parameter.opts
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from options(below)
