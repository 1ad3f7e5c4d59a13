"""Commands that plan and run, and the lock: `--locked`, and what is learned before a build."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import anyio
import pytest

from tests.builders.conftest import MakeWheel
from tests.cli.conftest import CommandLine
from tests.locking.lock_lab import LockLab
from tests.registry_process import free_port
from vep_dagger.engines.docker import Docker
from vep_dagger.jobs.events import Event
from vep_dagger.matrix.lock import UNREACHED, Lock
from vep_dagger.plan import Plan, load_plan
from vep_dagger.workflow import Options, open_run, settled_lock

PYTHON = """
from vep_dagger.dsl import PLAIN, Build, Image, Pins, Version, recipe

class OwnPins(Pins):
    gadget: Version = "1.5"

@recipe("own")
def own(pins: OwnPins) -> Image:
    build = Build().python(">=3.11", "/venv").install(f"gadget=={pins.gadget}")
    return Image("own", "own", "1", PLAIN, build, device="cpu")
"""
BUILT = """
from vep_dagger.dsl import PLAIN, Build, Image, Pins, git, recipe

class OwnPins(Pins):
    pass

@recipe("own")
def own(pins: OwnPins) -> Image:
    source = git("https://git.invalid/tool.git", None, ref="v1")
    build = Build().mount(source, "/src").run("cp", "/src/text", "/text")
    return Image("own", "locked", "1", PLAIN, build, device="cpu")
"""


def completed(lab: LockLab, **options: object) -> tuple[Plan, list[str]]:
    """The plan as a running command has it, and the notes that it gives."""
    notes: list[str] = []

    def heard(event: Event) -> None:
        notes.append(event.text)

    given = Options(lab.matrix, "build", builder="docker", **options)  # type: ignore[arg-type]
    return anyio.run(settled_lock, load_plan(lab.matrix), given, heard), notes


class TestLocked:
    @pytest.mark.parametrize("command", ["plan", "build", "run"])
    def test_without_a_lock_nothing_is_held(self, lab: LockLab, vep: CommandLine, command: str) -> None:
        said = vep(command, "--locked")
        assert said.code == 2
        assert "--locked: 3 pins are not locked" in said.err
        assert "tool: https://git.invalid/tool.git v1 is not in the lock" in said.err
        assert "data: http://files.invalid/data-1.tar is not in the lock" in said.err
        assert not lab.lock.exists()
        assert lab.files.asked == []

    def test_what_is_held_is_planned(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        said = vep("plan", "--locked", "--json")
        assert said.code == 0
        assert json.loads(said.out)["lock"] == Lock.load(lab.lock).digest

    def test_a_branch_moves(self, lab: LockLab, vep: CommandLine) -> None:
        lab.write('tool = { version = "main" }')
        vep("lock")
        said = vep("plan", "--locked")
        commit = lab.repository.git("rev-parse", "main")
        assert said.code == 2
        assert (
            "tool: https://git.invalid/tool.git main is a branch, which moves: pin a tag, or the commit that the lock "
            f"has, {commit}" in said.err
        )
        assert "help: a branch stays one, whatever the lock has: write a tag or the commit" in said.err
        assert "`vep lock`" not in said.err, "it would change nothing"
        lab.write(f'tool = {{ commit = "{commit}" }}')
        vep("lock")
        assert vep("plan", "--locked").code == 0

    def test_a_branch_and_what_is_missing_have_a_way_on_each(self, lab: LockLab, vep: CommandLine) -> None:
        lab.write('tool = { version = "main" }')
        vep("lock")
        lab.write('tool = { version = "main" }\ndata = { name = "2.tar" }')
        said = vep("plan", "--locked")
        assert "--locked: 2 pins are not locked" in said.err
        assert "help: `vep lock` resolves what is missing; commit what it writes; a branch stays one" in said.err

    def test_a_commit_in_the_matrix_is_no_branch(self, lab: LockLab, vep: CommandLine) -> None:
        lab.write('tool = { version = "main" }')
        vep("lock")
        commit = lab.repository.git("rev-parse", "main")
        lab.write(f'tool = {{ version = "main", commit = "{commit}" }}')
        assert vep("plan", "--locked").code == 0

    def test_what_nobody_has_seen_is_refused_with_the_reason(self, lab: LockLab, vep: CommandLine) -> None:
        lab.write('data = { name = "none.tar" }')
        vep("lock")
        said = vep("build", "--locked")
        assert said.code == 2
        assert f"data: nobody has seen what http://files.invalid/none.tar holds: {UNREACHED}" in said.err

    def test_a_pin_that_the_lock_contradicts_is_refused(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        lab.write(f'tool = {{ commit = "{"a" * 40}" }}')
        said = vep("plan", "--locked")
        assert said.code == 2
        assert f"is pinned to {'a' * 40}" in said.err

    def test_only_the_chosen_cells_count(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        text = lab.matrix.read_text()
        lab.matrix.write_text(
            f'{text}\n[axes.data]\nold = {{}}\nnew = {{ pins = {{ data = {{ name = "2.tar" }} }} }}\n'
        )
        assert vep("plan", "--locked", "-k", "old").code == 0
        assert vep("plan", "--locked").code == 2


class TestBeforeABuild:
    def test_what_is_missing_is_learned_and_told(self, lab: LockLab, vep: CommandLine) -> None:
        plan, notes = completed(lab)
        commit = lab.repository.git("rev-parse", "v1")
        assert f"locked tool: https://git.invalid/tool.git v1 is {commit}" in notes
        assert f"http://files.invalid/data-1.tar is {hashlib.sha256(b'data').hexdigest()}" in "\n".join(notes)
        assert plan.lock == Lock.load(lab.lock)
        assert [layer.key for layer in plan.layers] == [layer.key for layer in load_plan(lab.matrix).layers]

    def test_what_the_lock_has_is_not_asked_for(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        before = lab.lock.read_text()
        nowhere = f"http://127.0.0.1:{free_port()}/"
        lab.write(**{"https://git.invalid/tool.git": nowhere, "http://files.invalid/": nowhere})
        _, notes = completed(lab)
        assert notes == []
        assert lab.lock.read_text() == before

    def test_a_lock_that_learns_nothing_is_not_written_again_and_why_is_told(
        self, lab: LockLab, vep: CommandLine
    ) -> None:
        lab.write('data = { name = "none.tar" }')
        vep("lock")
        before = lab.lock.stat()
        _, notes = completed(lab)
        assert [note for note in notes if "none.tar is not there: 404" in note]
        lab.write('data = { name = "none.tar" }', **{"http://files.invalid/": "http://nobody.invalid/"})
        _, notes = completed(lab)
        told = "not locked data: http://files.invalid/none.tar: cannot be fetched"
        assert [note for note in notes if note.startswith(told)]
        assert (lab.lock.stat().st_ino, lab.lock.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_only_what_the_chosen_cells_need_is_asked_for(self, lab: LockLab, vep: CommandLine) -> None:
        text = lab.matrix.read_text()
        lab.files.put("2.tar", b"2")
        lab.matrix.write_text(
            f'{text}\n[axes.data]\nold = {{}}\nnew = {{ pins = {{ data = {{ name = "2.tar" }} }} }}\n'
        )
        completed(lab, only="old")
        assert lab.files.asked == ["/data-1.tar"]
        assert "2.tar" not in lab.lock.read_text()
        completed(lab)
        assert lab.files.asked == ["/data-1.tar", "/2.tar"]
        assert vep("lock", "--check").code == 0

    def test_what_the_builder_cannot_build_anyway_is_refused_before_anybody_is_asked(
        self, lab: LockLab, vep: CommandLine
    ) -> None:
        before = vep.there()
        said = vep("build", "--builder", "venv")
        assert said.code == 2
        assert "cannot be built as a Python environment" in said.err
        assert vep.there() == before
        assert lab.files.asked == []

    def test_what_stays_unseen_is_refused_by_the_builder_which_names_the_command(
        self, lab: LockLab, vep: CommandLine
    ) -> None:
        lab.write('data = { name = "none.tar" }')
        said = vep("build", "--builder", "docker")
        assert said.code == 2
        assert "layer 'data': the source http://files.invalid/none.tar has no sha256" in said.err
        assert "`vep lock` finds it" in said.err
        assert "not locked data: http://files.invalid/none.tar" in said.out

    def test_a_matrix_that_names_all_contents_gets_no_lock(
        self, lab: LockLab, vep: CommandLine, links: Path, make_wheel: MakeWheel
    ) -> None:
        (lab.matrix.parent / "recipe.py").write_text(PYTHON)
        plan, notes = completed(lab)
        assert (plan.lock, notes, lab.lock.exists()) == (None, [], False)

    def test_a_lock_that_is_there_learns_the_packages_of_a_new_pin(
        self,
        lab: LockLab,
        vep: CommandLine,
        links: Path,
        make_wheel: MakeWheel,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        for version in ("1.5", "1.6"):
            make_wheel("gadget", version)
        variables = {"FIND_LINKS": links, "OFFLINE": 1, "CACHE_DIR": tmp_path / "uv"}
        for name, value in variables.items():
            monkeypatch.setenv(f"UV_{name}", str(value))
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        (lab.matrix.parent / "recipe.py").write_text(PYTHON)
        assert vep("lock").code == 0
        lab.write('gadget = "1.6"')
        said = vep("build", "--out", "out")
        assert said.code == 0, said.err
        assert "locked environment: gadget==1.6" in said.out
        assert "gadget==1.6 sha256:" in lab.lock.read_text()
        assert "gadget==1.5" not in lab.lock.read_text()
        digest = Lock.load(lab.lock).digest
        assert json.loads((lab.matrix.parent / "out" / "plan.json").read_text())["lock"] == digest
        assert json.loads((lab.matrix.parent / "out" / "report" / "pick.json").read_text())["lock"] == digest
        again = vep("build", "--out", "out", "--resume", "--locked")
        assert again.code == 0, again.err

    def test_a_run_that_is_resumed_asks_for_the_cells_that_it_had_chosen(self, lab: LockLab, vep: CommandLine) -> None:
        text = lab.matrix.read_text()
        lab.matrix.write_text(
            f'{text}\n[axes.data]\nold = {{}}\nnew = {{ pins = {{ data = {{ name = "2.tar" }} }} }}\n'
        )
        open_run(
            load_plan(lab.matrix, only="old"), Options(lab.matrix, "build", builder="docker", out=vep.folder / "out")
        )
        completed(lab, out=vep.folder / "out", resume=True)
        assert lab.files.asked == ["/data-1.tar"]

    def test_a_lock_that_cannot_be_written_is_told(
        self, lab: LockLab, vep: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*given: object) -> None:
            raise OSError(30, "Read-only file system", str(lab.lock))

        monkeypatch.setattr("vep_dagger.locking.complete.write_whole", refuse)
        said = vep("lock")
        assert said.code == 3
        assert "the lock cannot be written: Read-only file system" in said.err


def test_a_build_takes_the_tag_that_it_has_locked(
    lab: LockLab, vep: CommandLine, docker: Docker, plain_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.matrix.parent / "recipe.py").write_text(BUILT)
    monkeypatch.setenv("VEP_PLAIN_BASE", plain_base)
    said = vep("build", "--builder", "docker", "--network", "host", "--out", "out")
    assert said.code == 0, said.err
    assert "locked environment: https://git.invalid/tool.git v1 is" in said.out
    plan = load_plan(lab.matrix)
    (image,) = plan.images
    assert image.build.sources[0].resolved
    assert vep("build", "--builder", "docker", "--network", "host", "--locked", "--out", "again").code == 0
