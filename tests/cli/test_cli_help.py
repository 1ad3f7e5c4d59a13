"""Help: every command says in a line what it does, and is explained somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.conftest import CommandLine
from vep_dagger import __version__, cli
from vep_dagger.cli.machine import cache

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(group: click.Group, above: str = "") -> Iterator[str]:
    """The words of every command, groups and what is below them."""
    for name, command in group.commands.items():
        yield f"{above}{name}"
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")


COMMANDS = list(commands(cli.vep))


@pytest.mark.parametrize("group", [cli.vep, cache], ids=lambda group: group.name)
def test_help_lists_every_command_with_one_whole_line(vep: CommandLine, group: click.Group) -> None:
    said = vep(*([] if group is cli.vep else ["cache"]), "--help")
    assert said.code == 0
    listed = dict(re.findall(r"^  (\w+) {2,}(\S.*)$", said.out.partition("Commands:")[2], re.MULTILINE))
    assert listed.keys() == group.commands.keys()
    assert [line for line in listed.values() if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_and_every_option_a_text(vep: CommandLine, command: str, flag: str) -> None:
    before = vep.there()
    said = vep(*command.split(), flag)
    assert said.code == 0
    assert said.out.startswith(f"Usage: vep {command}")
    options = re.findall(r"^  (-\S.*?)(?: {2,}(\S.*))?$", said.out, re.MULTILINE)
    assert options
    # A long option has its text in the line below.
    lines = said.out.splitlines()
    bare = [name for name, text in options if not text]
    assert [name for name in bare if not lines[lines.index(f"  {name}") + 1].strip()] == []
    assert vep.there() == before


@pytest.mark.parametrize("command", cli.vep.commands)
def test_every_command_is_mentioned_in_the_readme_or_the_documentation(command: str) -> None:
    assert any(re.search(rf"\bvep .*\b{command}\b", page.read_text()) for page in PAGES)


def test_the_version_is_said(vep: CommandLine) -> None:
    assert vep("--version").out == f"vep, version {__version__}\n"


def test_a_command_line_without_a_command_shows_the_help(vep: CommandLine) -> None:
    said = vep()
    assert said.code == 2
    assert "Commands:" in said.out + said.err


def test_cache_alone_lists_the_environments(vep: CommandLine) -> None:
    assert vep("cache").out == vep("cache", "list").out
    assert "0 environments in" in vep("cache").out
