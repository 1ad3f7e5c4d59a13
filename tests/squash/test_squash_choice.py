"""Which program makes the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vep_dagger import cli
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.errors import MachineError, UsageError
from vep_dagger.squash.choice import find_enroot
from vep_dagger.squash.make import find_tools

MATRIX = Path(__file__).parents[2] / "examples" / "hello" / "matrix.toml"


@pytest.fixture
def with_enroot(tmp_path: Path) -> dict[str, str]:
    """Surroundings in which enroot is installed."""
    program = tmp_path / "bin" / "enroot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return {"PATH": str(program.parent)}


@pytest.mark.parametrize("builder", ["docker", "registry"])
def test_enroot_itself_makes_it_where_it_is_installed_and_the_image_is_in_docker(
    with_enroot: dict[str, str], builder: str
) -> None:
    assert find_enroot(None, builder, with_enroot) == f"{with_enroot['PATH']}/enroot"
    assert find_enroot("enroot", builder, with_enroot) == f"{with_enroot['PATH']}/enroot"


def test_it_is_mksquashfs_without_enroot_with_dagger_and_where_a_person_says_so(with_enroot: dict[str, str]) -> None:
    assert find_enroot(None, "docker", {"PATH": "/nowhere"}) is None
    assert find_enroot(None, "dagger", with_enroot) is None
    assert find_enroot("mksquashfs", "docker", with_enroot) is None


def test_enroot_cannot_be_had_for_an_archive_nor_where_there_is_none(with_enroot: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="gives an archive") as caught:
        find_enroot("enroot", "dagger", with_enroot)
    assert "--with mksquashfs" in (caught.value.hint or "")
    with pytest.raises(MachineError, match="no enroot on PATH"):
        find_enroot("enroot", "docker", {"PATH": "/nowhere"})


def test_enroot_is_not_enough_without_mksquashfs_and_the_page_of_steps_says_so(with_enroot: dict[str, str]) -> None:
    with pytest.raises(MachineError, match="no mksquashfs on PATH"):
        find_tools("docker", BuildSettings(environ=with_enroot), None)
    seed = (MATRIX.parents[2] / "docs" / "seed.md").read_text()
    needs, _, rest = seed.partition("| step | by hand |")
    (row,) = re.findall(r"^\| (.+) \| step 4 \|$", needs, re.MULTILINE)
    assert row.startswith("`mksquashfs` 4.5 or newer")
    assert "`mksquashfs` 4.5 or newer" in rest.partition("## 4. A SquashFS file")[2].partition("## 5.")[0]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--with", "enroot", "--builder", "dagger"], 2, "gives an archive"),
        (["--with", "enroot", "--builder", "docker"], 3, "no enroot on PATH"),
        (["--with", "zip", "--builder", "docker"], 2, "enroot"),
    ],
)
def test_the_command_ends_with_the_right_code_before_anything_is_made(
    words: list[str],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.argv", ["vep", "squash", "calm", "--matrix", str(MATRIX), *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
