"""`vep lock`: what is learned, kept, moved and unseen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.builders.conftest import MakeWheel
from tests.cli.conftest import CommandLine
from tests.locking.conftest import oci_archive
from tests.locking.lock_lab import LockLab
from tests.registry_process import free_port
from vep_dagger.matrix.lock import UNREACHED, Lock
from vep_dagger.plan import load_plan


def contents(lab: LockLab) -> dict[str, str | None]:
    return {entry.identity[1]: entry.content for entry in Lock.load(lab.lock)}


def states(out: str) -> dict[str, str]:
    return {entry["kind"]: entry["state"] for entry in json.loads(out)["entries"]}


def test_every_kind_of_pin_becomes_its_content(lab: LockLab, vep: CommandLine) -> None:
    said = vep("lock")
    assert said.code == 0, said.err
    assert contents(lab) == {
        "https://git.invalid/tool.git": lab.repository.git("rev-parse", "v1"),
        "http://files.invalid/data-1.tar": hashlib.sha256(b"data").hexdigest(),
        "oci-archive:base.tar": oci_archive(lab.image, "one"),
    }
    assert [entry.used_by for entry in Lock.load(lab.lock)] == [["tool"], ["data"], ["data", "environment", "tool"]]
    assert said.out.count("new") == 3
    plan = load_plan(lab.matrix)
    assert all(source.resolved for layer in plan.layers for source in layer.build.sources)


def test_an_archive_is_downloaded_once_for_lock_and_build(lab: LockLab, vep: CommandLine, tmp_path: Path) -> None:
    vep("lock")
    kept = vep.cache / "sources" / "http" / hashlib.sha256(b"data").hexdigest()
    assert kept.read_bytes() == b"data"
    vep("lock")
    assert lab.files.asked == ["/data-1.tar"]


def test_a_lock_that_says_all_is_kept_as_it_is(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    before = lab.lock.stat()
    said = vep("lock", "--json")
    assert (said.code, set(states(said.out).values())) == (0, {"kept"})
    assert (lab.lock.stat().st_ino, lab.lock.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_tag_that_moved_is_an_error_with_both_values_until_it_is_meant(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    old, text = lab.repository.git("rev-parse", "v1"), lab.lock.read_text()
    new = lab.repository.commit("two")
    lab.repository.git("tag", "--force", "v1")
    said = vep("lock")
    assert said.code == 2
    assert f"locked: {old}\n    now: {new}" in said.err
    assert "vep lock --upgrade tool" in said.err
    assert lab.lock.read_text() == text
    meant = vep("lock", "--upgrade", "tool", "--json")
    assert meant.code == 0
    (entry,) = [entry for entry in json.loads(meant.out)["entries"] if entry["kind"] == "git"]
    assert (entry["state"], entry["before"], entry["content"]) == ("moved", old, new)


def test_an_image_that_is_another_now_is_an_error_too(lab: LockLab, vep: CommandLine) -> None:
    old = oci_archive(lab.image, "one")
    vep("lock")
    new = oci_archive(lab.image, "two")
    said = vep("lock")
    assert said.code == 2
    assert old in said.err
    assert new in said.err


def test_all_that_moved_is_told_at_once(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    lab.repository.commit("two")
    lab.repository.git("tag", "--force", "v1")
    oci_archive(lab.image, "two")
    said = vep("lock")
    assert said.code == 2
    assert "2 pins cannot be locked as they are" in said.err


def test_a_changed_archive_is_taken_when_it_is_meant(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    new = lab.files.put("data-1.tar", b"other")
    said = vep("lock", "--upgrade", "data-1.tar")
    assert said.code == 0
    assert f"moved, was {hashlib.sha256(b'data').hexdigest()[:12]}" in said.out
    assert contents(lab)["http://files.invalid/data-1.tar"] == new


def test_a_name_that_nothing_has_is_refused_with_the_nearest(lab: LockLab, vep: CommandLine) -> None:
    said = vep("lock", "--upgrade", "tol")
    assert said.code == 2
    assert "did you mean 'tool'?" in said.err
    assert not lab.lock.exists()


def test_what_cannot_be_reached_says_why_and_stops_nothing_else(lab: LockLab, vep: CommandLine) -> None:
    lab.write(**{"https://git.invalid/tool.git": f"http://127.0.0.1:{free_port()}/tool.git"})
    said = vep("lock")
    assert said.code == 3
    assert "1 of 3 pins could not be asked for" in said.err
    assert "[mirrors]" in said.err
    assert "cannot be asked for its tags" in said.err
    (entry,) = [entry for entry in Lock.load(lab.lock) if entry.table == "git"]
    assert (entry.content, entry.unseen) == (None, UNREACHED)
    assert contents(lab)["http://files.invalid/data-1.tar"] == hashlib.sha256(b"data").hexdigest()
    lab.write()
    assert vep("lock").code == 0
    assert all(entry.content and entry.unseen is None for entry in Lock.load(lab.lock))


def test_an_address_with_nothing_is_unseen(lab: LockLab, vep: CommandLine) -> None:
    lab.write('data = { name = "none.tar" }')
    said = vep("lock")
    assert said.code == 3
    assert "data: http://files.invalid/none.tar: " in said.err
    assert "none.tar is not there: 404" in said.err


def test_what_is_locked_stays_so_where_nobody_answers(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    text = lab.lock.read_text()
    lab.write(**{"https://git.invalid/tool.git": f"http://127.0.0.1:{free_port()}/tool.git"})
    said = vep("lock")
    assert said.code == 0
    assert "not asked again" in said.out
    assert lab.lock.read_text() == text
    asked = vep("lock", "--upgrade", "tool")
    assert asked.code == 3
    assert lab.lock.read_text() == text


def test_a_tag_that_is_not_there_is_refused_and_the_rest_is_locked(lab: LockLab, vep: CommandLine) -> None:
    lab.write('tool = { version = "v11" }')
    said = vep("lock")
    assert said.code == 2
    assert "tool: https://git.invalid/tool.git has no tag or branch 'v11'" in said.err
    assert "did you mean v1?" in said.err
    assert contents(lab)["http://files.invalid/data-1.tar"] is not None


def test_a_tag_that_is_not_there_is_not_in_the_lock_and_the_check_names_it(lab: LockLab, vep: CommandLine) -> None:
    lab.write('tool = { version = "v11" }', **{"https://git.invalid/tool.git": f"http://127.0.0.1:{free_port()}/"})
    assert vep("lock").code == 3
    assert vep("lock", "--check").code == 0  # nobody knows
    lab.write('tool = { version = "v11" }')
    said = vep("lock", "--json")
    assert said.code == 2
    (entry,) = [entry for entry in json.loads(said.out)["entries"] if entry["kind"] == "git"]
    assert (entry["state"], entry["unseen"]) == ("refused", None)
    assert "has no tag or branch 'v11'" in entry["problem"]
    assert "v11" not in lab.lock.read_text()
    checked = vep("lock", "--check")
    assert checked.code == 1
    assert "tool: https://git.invalid/tool.git v11 is not in the lock" in checked.out


def test_a_tag_that_is_gone_is_refused_and_stays_locked(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    text = lab.lock.read_text()
    lab.repository.git("tag", "--delete", "v1")
    said = vep("lock")
    assert said.code == 2
    assert "has no tag or branch 'v1'" in said.err
    assert lab.lock.read_text() == text


def test_a_branch_is_locked_where_it_is_and_where_it_went_is_told(lab: LockLab, vep: CommandLine) -> None:
    lab.write('tool = { version = "main" }')
    assert vep("lock").code == 0
    assert "branch = true" in lab.lock.read_text()
    new = lab.repository.commit("two")
    text = lab.lock.read_text()
    said = vep("lock")
    assert said.code == 0
    assert f"the branch is at {new} now" in said.out
    assert lab.lock.read_text() == text


def test_a_commit_in_the_matrix_wins_and_is_held_against_its_tag(lab: LockLab, vep: CommandLine) -> None:
    tagged = lab.repository.git("rev-parse", "v1")
    other = lab.repository.commit("two")
    lab.write(f'tool = {{ commit = "{tagged}" }}')
    assert vep("lock").code == 0
    lab.write(f'tool = {{ commit = "{other}" }}')
    said = vep("lock")
    assert said.code == 2
    assert f"pinned in the matrix file: {other}\n    now: {tagged}" in said.err
    assert contents(lab)["https://git.invalid/tool.git"] == other


def test_what_nobody_wants_any_more_is_left_out_and_said(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    lab.files.put("data-2.tar", b"new")
    lab.write('data = { name = "data-2.tar" }')
    said = vep("lock")
    assert said.code == 0
    assert "not wanted any more: data: http://files.invalid/data-1.tar" in said.out
    assert "data-1.tar" not in lab.lock.read_text()


def test_two_contents_of_one_tag_are_refused(lab: LockLab, vep: CommandLine) -> None:
    lab.write()
    text = lab.matrix.read_text().replace("[pins]\n", "")
    choices = "".join(f'{name} = {{ pins = {{ tool = {{ commit = "{name * 40}" }} }} }}\n' for name in "ab")
    lab.matrix.write_text(f"{text}\n[axes.which]\n{choices}")
    said = vep("lock")
    assert said.code == 2
    assert f"cannot be both {'a' * 40} and {'b' * 40}" in said.err


def test_a_tag_and_its_commit_in_one_matrix_both_stay_locked(lab: LockLab, vep: CommandLine) -> None:
    commit = lab.repository.git("rev-parse", "v1")
    lab.repository.git("tag", "same")
    text = lab.matrix.read_text().replace("[pins]\n", "")
    lab.matrix.write_text(
        f'{text}\n[axes.which]\na = {{}}\nb = {{ pins = {{ tool = {{ version = "same", commit = "{commit}" }} }} }}\n'
    )
    assert vep("lock").code == 0
    assert len(load_plan(lab.matrix).images) == 1
    assert vep("lock", "--check").code == 0
    assert set(states(vep("lock", "--json").out).values()) == {"kept"}


class TestCheck:
    def test_there_is_none(self, lab: LockLab, vep: CommandLine) -> None:
        said = vep("lock", "--check")
        assert said.code == 1
        assert "tool: https://git.invalid/tool.git v1 is not in the lock" in said.out
        assert not lab.lock.exists()

    def test_it_holds(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        assert vep("lock", "--check").code == 0

    def test_it_lacks_and_has_too_much(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        lab.write('tool = { version = "v2" }')
        said = vep("lock", "--check")
        assert said.code == 1
        assert "v2 is not in the lock" in said.out
        assert "v1 is not wanted any more" in said.out

    def test_it_contradicts_a_pin(self, lab: LockLab, vep: CommandLine) -> None:
        vep("lock")
        lab.write(f'tool = {{ commit = "{"a" * 40}" }}')
        said = vep("lock", "--check", "--json")
        assert said.code == 1
        (difference,) = json.loads(said.out)["differences"]
        assert f"is pinned to {'a' * 40}, and the lock has {lab.repository.git('rev-parse', 'v1')}" in difference

    def test_what_nobody_has_seen_is_a_note(self, lab: LockLab, vep: CommandLine) -> None:
        lab.write('data = { name = "none.tar" }')
        vep("lock")
        said = vep("lock", "--check")
        assert said.code == 0
        assert "note: nobody has seen it: data: http://files.invalid/none.tar" in said.out


def test_the_lock_alone_gives_the_same_keys_elsewhere_and_asks_nobody(
    lab: LockLab, vep: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vep("lock")
    here = load_plan(lab.matrix)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("matrix.toml", "matrix.lock", "recipe.py"):
        (elsewhere / name).write_bytes((lab.matrix.parent / name).read_bytes())

    def refuse(*given: object) -> None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    there = load_plan(elsewhere / "matrix.toml")
    assert [layer.key for layer in there.layers] == [layer.key for layer in here.layers]
    assert [image.key for image in there.images] == [image.key for image in here.images]
    assert there.document().lock == here.document().lock == Lock.load(lab.lock).digest


@pytest.fixture
def offline(links: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages come from, and nowhere else."""
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return links


def ask_for(lab: LockLab, requirement: str) -> None:
    recipe = lab.matrix.parent / "recipe.py"
    chain = f'Build().python("3.12", "/venv").install("{requirement}")'
    recipe.write_text(recipe.read_text().replace("Build(), (stack", f"{chain}, (stack"))


def test_packages_are_locked_with_their_hashes(
    lab: LockLab, vep: CommandLine, make_wheel: MakeWheel, offline: Path
) -> None:
    make_wheel("gadget", "1.5")
    ask_for(lab, "gadget>=1")
    said = vep("lock")
    assert said.code == 0, said.err
    (entry,) = [entry for entry in Lock.load(lab.lock) if entry.table == "python"]
    wheel = (offline / "gadget-1.5-py3-none-any.whl").read_bytes()
    assert entry.packages == [f"gadget==1.5 sha256:{hashlib.sha256(wheel).hexdigest()}"]  # type: ignore[union-attr]
    assert vep("lock", "--check").code == 0


def test_packages_without_a_solution_are_not_in_the_lock_and_the_check_names_them(
    lab: LockLab, vep: CommandLine, make_wheel: MakeWheel, offline: Path
) -> None:
    make_wheel("gadget", "1.5")
    ask_for(lab, "gadget>=2")
    said = vep("lock")
    assert said.code == 2
    assert "no packages satisfy the request" in said.err
    assert "[[python]]" not in lab.lock.read_text()
    checked = vep("lock", "--check")
    assert checked.code == 1
    assert "environment: gadget>=2 for Python 3.12 on linux/amd64 is not in the lock" in checked.out
    make_wheel("gadget", "2.0")
    assert vep("lock").code == 0
    assert vep("lock", "--check").code == 0


def test_packages_that_uv_may_not_ask_for_are_unseen(lab: LockLab, vep: CommandLine, offline: Path) -> None:
    ask_for(lab, "gadget>=2")
    said = vep("lock")
    assert said.code == 3
    assert "the package index cannot be reached: Because gadget was not found in the cache" in said.err
    assert f'unseen = "{UNREACHED}"' in lab.lock.read_text()
    assert vep("lock", "--check").code == 0
