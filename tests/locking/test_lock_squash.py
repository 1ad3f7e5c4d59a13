"""The lock and commands about one image: `vep squash` builds, so it completes a missing entry first, as every command
that builds does; `vep containerfile --context` lays out what a build needs, and asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.locking.lock_lab import LockLab
from tests.squash.squash_runs import HOW
from vep_dagger.engines.docker import Docker
from vep_dagger.plan import load_plan

BUILT = """
from vep_dagger.dsl import PLAIN, Build, Image, Pins, http, recipe

class OwnPins(Pins):
    name: str = "data-1.tar"

@recipe("own")
def own(pins: OwnPins) -> Image:
    source = http(f"http://files.invalid/{pins.name}", None)
    build = Build().copy(source, "/data.tar")
    return Image("own", f"squashed-{pins.name}", "1", PLAIN, build, device="cpu")
"""


@pytest.fixture
def program(needs: Callable[[str, str], str]) -> str:
    return needs("mksquashfs", HOW)


def test_what_the_lock_lacks_is_asked_for_and_what_stays_unseen_is_refused(
    program: str, lab: LockLab, vep: CommandLine
) -> None:
    lab.write('data = { name = "none.tar" }')
    said = vep("squash", "default", "--builder", "docker")
    assert said.code == 2
    commit = lab.repository.git("rev-parse", "v1")
    assert f"locked tool: https://git.invalid/tool.git v1 is {commit}" in said.err
    assert commit in lab.lock.read_text()
    assert "layer 'data': the source http://files.invalid/none.tar has no sha256" in said.err


def test_with_locked_nobody_is_asked_and_nothing_is_written(program: str, lab: LockLab, vep: CommandLine) -> None:
    before = vep.there()
    said = vep("squash", "default", "--builder", "docker", "--locked")
    assert said.code == 2
    assert "--locked: 3 pins are not locked" in said.err
    assert vep.there() == before
    assert lab.files.asked == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--builder", "venv"], 2, "the builder venv has no image"),
        (["--builder", "dagger", "--with", "enroot"], 2, "gives an archive"),
        (["--builder", "registry"], 2, "no repository to take images from"),
    ],
)
def test_what_can_never_be_made_is_refused_before_anybody_is_asked(
    program: str, lab: LockLab, vep: CommandLine, words: list[str], code: int, told: str
) -> None:
    before = vep.there()
    said = vep("squash", "default", *words)
    assert (said.code, told in said.err) == (code, True), said.err
    assert vep.there() == before
    assert lab.files.asked == []


def test_only_the_image_that_is_meant_is_locked(program: str, lab: LockLab, vep: CommandLine) -> None:
    (lab.matrix.parent / "recipe.py").write_text(BUILT)
    lab.write()
    text = lab.matrix.read_text()
    # The name of one is the beginning of the other's.
    lab.matrix.write_text(text + '[axes.data]\na = { pins = { name = "1.tar" } }\nab = { pins = { name = "2.tar" } }\n')
    said = vep("squash", "a", "--builder", "docker")
    assert said.code == 2
    assert "1.tar" in said.err
    assert "2.tar" not in said.err
    assert set(lab.files.asked) == {"/1.tar"}


def test_a_file_is_made_of_what_was_just_locked(
    program: str,
    docker: Docker,
    plain_base: str,
    lab: LockLab,
    vep: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (lab.matrix.parent / "recipe.py").write_text(BUILT)
    lab.write()
    monkeypatch.setenv("VEP_PLAIN_BASE", plain_base)
    words = ["default", "--builder", "docker", "--network", "host", "-o", str(tmp_path / "it.sqsh")]
    said = vep("squash", *words)
    assert said.code == 0, said.err
    assert "locked environment: http://files.invalid/data-1.tar is" in said.err
    assert load_plan(lab.matrix).images[0].build.sources[0].resolved
    again = vep("squash", *words, "--locked")
    assert again.code == 0, again.err
    assert ", found" in again.out


def test_a_directory_to_build_in_is_not_laid_out_of_what_is_not_locked(lab: LockLab, vep: CommandLine) -> None:
    before = vep.there()
    said = vep("containerfile", "default", "--context", "here")
    assert said.code == 2
    assert "`vep lock` finds it" in said.err
    assert vep.there() == before
    assert lab.files.asked == []
