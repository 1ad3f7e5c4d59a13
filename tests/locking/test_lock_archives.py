"""`vep lock` and archives that it has locked: a change is noticed, and no download is made where none is needed."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.cli.conftest import CommandLine, Said
from tests.locking.lock_lab import LockLab
from tests.registry_process import free_port
from vep_dagger.matrix.lock import ArchiveEntry, Lock

OLD, NEW = (hashlib.sha256(content).hexdigest() for content in (b"data", b"atad"))
AGAIN = "downloading it again, to compare"


def entry(lab: LockLab) -> ArchiveEntry:
    (found,) = [each for each in Lock.load(lab.lock) if isinstance(each, ArchiveEntry)]
    return found


def assert_refused(lab: LockLab, said: Said, before: str) -> None:
    assert said.code == 2
    assert "data: http://files.invalid/data-1.tar is not what it was\n" in said.err
    assert f"locked: {OLD}\n    now: " in said.err
    assert lab.lock.read_text() == before


def test_what_the_server_tells_is_locked_and_the_same_answer_needs_no_download(lab: LockLab, vep: CommandLine) -> None:
    lab.files.etag = '"one"'
    vep("lock")
    held, text = entry(lab), lab.lock.read_text()
    assert (held.sha256, held.size, held.etag) == (OLD, 4, '"one"')
    assert (held.modified or "").endswith("GMT")
    said = vep("lock")
    assert said.code == 0
    assert AGAIN not in said.err
    assert lab.files.asked == ["/data-1.tar"]
    assert lab.lock.read_text() == text


def test_another_size_is_an_error_with_both_hashes_and_the_way_to_take_it(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    text = lab.lock.read_text()
    new = lab.files.put("data-1.tar", b"more data")
    said = vep("lock")
    assert_refused(lab, said, text)
    assert f"now: {new}" in said.err
    assert "it has 9 bytes now, and had 4" in said.err
    assert "`vep lock --upgrade data`" in said.err
    assert vep("lock", "--upgrade", "data").code == 0
    assert (entry(lab).sha256, entry(lab).size) == (new, 9)
    assert vep("lock").code == 0


@pytest.mark.parametrize("changed", ["date", "etag", "nothing"])
def test_a_change_of_the_same_size_is_an_error(lab: LockLab, vep: CommandLine, changed: str) -> None:
    lab.files.etag = '"one"' if changed == "etag" else None
    if changed == "nothing":
        lab.files.untold = {"Last-Modified"}
    vep("lock")
    text = lab.lock.read_text()
    lab.files.put("data-1.tar", b"atad", age_s=1800)
    lab.files.etag = '"two"' if changed == "etag" else None
    said = vep("lock")
    assert_refused(lab, said, text)
    assert f"now: {NEW}" in said.err


def test_a_weak_etag_promises_nothing(lab: LockLab, vep: CommandLine) -> None:
    lab.files.etag, lab.files.untold = 'W/"one"', {"Last-Modified"}
    vep("lock")
    text = lab.lock.read_text()
    lab.files.put("data-1.tar", b"atad")
    assert_refused(lab, vep("lock"), text)


def test_a_date_that_the_next_second_may_share_is_not_relied_on(lab: LockLab, vep: CommandLine) -> None:
    made = lab.files.directory / "data-1.tar"
    lab.files.put("data-1.tar", b"data", age_s=0)
    date = made.stat().st_mtime
    vep("lock")
    assert entry(lab).modified is None
    text = lab.lock.read_text()
    lab.files.put("data-1.tar", b"atad", age_s=time.time() - date)
    assert_refused(lab, vep("lock"), text)


def test_a_server_that_tells_nothing_is_asked_for_the_file_and_that_is_said(lab: LockLab, vep: CommandLine) -> None:
    lab.files.untold = {"Last-Modified", "Content-Length"}
    vep("lock")
    assert (entry(lab).size, entry(lab).etag, entry(lab).modified) == (None, None, None)
    said = vep("lock")
    assert said.code == 0
    assert f"http://files.invalid/data-1.tar: its server tells nothing that would show a change: {AGAIN}" in said.err
    assert len(lab.files.asked) == 2


def test_a_server_that_does_not_answer_head_tells_the_same_of_a_get(lab: LockLab, vep: CommandLine) -> None:
    lab.files.answers_head = False
    vep("lock")
    text = lab.lock.read_text()
    assert entry(lab).size == 4
    said = vep("lock")
    assert said.code == 0
    assert AGAIN not in said.err
    lab.files.put("data-1.tar", b"atad", age_s=1800)
    assert_refused(lab, vep("lock"), text)


def test_another_date_of_the_same_content_is_taken_into_the_lock_once(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    before, digest = entry(lab), Lock.load(lab.lock).digest
    lab.files.put("data-1.tar", b"data", age_s=1800)
    said = vep("lock")
    assert said.code == 0
    assert AGAIN in said.err
    assert entry(lab).modified != before.modified
    assert Lock.load(lab.lock).digest == digest
    assert AGAIN not in vep("lock").err


def test_a_lock_of_an_older_vep_learns_what_the_server_tells(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    new = lab.lock.read_text()
    old = "".join(line for line in new.splitlines(True) if not line.startswith(("size =", "etag =", "modified =")))
    assert old != new
    lab.lock.write_text(old)
    said = vep("lock")
    assert said.code == 0
    assert "the lock has not yet what its server tells of it" in said.err
    assert lab.lock.read_text() == new


def test_where_nobody_answers_the_lock_stays_and_that_is_said(lab: LockLab, vep: CommandLine) -> None:
    vep("lock")
    text = lab.lock.read_text()
    lab.write(**{"http://files.invalid/": f"http://127.0.0.1:{free_port()}/"})
    said = vep("lock")
    assert said.code == 0
    assert "data: not asked again: cannot be asked for: " in said.out
    assert lab.lock.read_text() == text


def test_a_file_of_this_machine_is_read_again(lab: LockLab, vep: CommandLine) -> None:
    lab.write(**{"http://files.invalid/": f"file://{lab.files.directory}/"})
    vep("lock")
    text = lab.lock.read_text()
    assert vep("lock").code == 0
    assert lab.lock.read_text() == text
    lab.files.put("data-1.tar", b"atad")
    said = vep("lock")
    assert_refused(lab, said, text)
    assert f"now: {NEW}" in said.err


def test_a_hash_in_the_matrix_is_held_against_what_is_there(lab: LockLab, vep: CommandLine) -> None:
    lab.write(f'data = {{ sha256 = "{OLD}" }}')
    assert vep("lock").code == 0
    assert vep("lock").code == 0
    assert lab.files.asked == ["/data-1.tar"]
    lab.write(f'data = {{ sha256 = "{NEW}" }}')
    said = vep("lock")
    assert said.code == 2
    assert f"pinned in the matrix file: {NEW}\n    now: {OLD}" in said.err


def test_credentials_of_a_mirror_are_used_and_are_in_no_output_and_no_lock(lab: LockLab, vep: CommandLine) -> None:
    lab.write(**{"http://files.invalid/": lab.files.url.replace("http://", "http://me:s3cret-word@")})
    said = [vep("lock")]
    lab.files.put("data-1.tar", b"atad", age_s=1800)
    said.append(vep("lock"))
    (lab.files.directory / "data-1.tar").unlink()
    said.append(vep("lock"))
    assert [each.code for each in said] == [0, 2, 0]
    assert "the server says 404" in said[2].out
    assert None not in lab.files.authorisations
    told = "".join(each.out + each.err for each in said)
    assert "s3cret-word" not in told + lab.lock.read_text()
