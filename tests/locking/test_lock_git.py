"""Tags and branches, of real repositories."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import anyio
import pytest

from tests.locking.lock_lab import Repository
from tests.registry_process import free_port
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.errors import LockError, MachineError
from vep_dagger.locking.git import Ref, resolve_ref


def resolved(url: str, ref: str, settings: BuildSettings) -> Ref:
    return anyio.run(resolve_ref, url, ref, settings)


@pytest.fixture
def daemon(repository: Repository) -> Iterator[str]:
    """The repository's address at a ``git daemon``."""
    port = free_port()
    words = ["--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={repository.path}"]
    process = subprocess.Popen(["git", "daemon", *words], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "git daemon ended"
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"git://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def test_a_tag_is_the_commit_that_it_names(repository: Repository, daemon: str, settings: BuildSettings) -> None:
    first = repository.commit("one")
    repository.git("tag", "v1")
    repository.commit("two")
    assert resolved(daemon, "v1", settings) == Ref(first, branch=False)


def test_an_annotated_tag_is_its_commit_and_not_the_tags_own_object(
    repository: Repository, settings: BuildSettings
) -> None:
    commit = repository.commit("one")
    repository.git("tag", "--annotate", "v1", "--message", "x")
    assert repository.git("rev-parse", "v1") != commit
    assert resolved(repository.url, "v1", settings).commit == commit


def test_a_branch_is_known_as_one(repository: Repository, settings: BuildSettings) -> None:
    commit = repository.commit("one")
    assert resolved(repository.url, "main", settings) == Ref(commit, branch=True)


def test_a_name_of_a_tag_and_a_branch_is_the_tags(repository: Repository, settings: BuildSettings) -> None:
    tagged = repository.commit("one")
    repository.git("tag", "both")
    repository.git("checkout", "--quiet", "-b", "both")
    repository.commit("two")
    assert resolved(repository.url, "both", settings) == Ref(tagged, branch=False)


def test_a_name_that_is_the_end_of_another_is_not_taken_for_it(repository: Repository, settings: BuildSettings) -> None:
    repository.commit("one")
    repository.git("tag", "release/v1")
    with pytest.raises(LockError):
        resolved(repository.url, "v1", settings)


def test_an_unknown_name_is_refused_with_the_nearest_tags(repository: Repository, settings: BuildSettings) -> None:
    repository.commit("one")
    for tag in ("v2.27.7-1", "v2.27.6-1", "other"):
        repository.git("tag", tag)
    with pytest.raises(LockError) as caught:
        resolved(repository.url, "v2.27.7", settings)
    assert "no tag or branch 'v2.27.7'" in caught.value.what
    assert caught.value.hint == "did you mean v2.27.7-1, v2.27.6-1?"


def test_a_short_commit_is_told_from_a_tag(repository: Repository, settings: BuildSettings) -> None:
    commit = repository.commit("one")
    with pytest.raises(LockError) as caught:
        resolved(repository.url, commit[:8], settings)
    assert "40 hex characters" in (caught.value.hint or "")


def test_a_full_commit_is_itself_and_nobody_is_asked(settings: BuildSettings) -> None:
    assert resolved("https://git.invalid/x", "a" * 40, settings) == Ref("a" * 40, branch=False)


def test_who_does_not_answer_is_told_without_the_mirrors_password(settings: BuildSettings) -> None:
    mirrors = {"https://git.invalid/": f"http://me:s3cr3t@127.0.0.1:{free_port()}/"}
    with pytest.raises(MachineError) as caught:
        resolved("https://git.invalid/x", "v1", BuildSettings(environ=settings.environ, mirrors=mirrors))
    assert "https://git.invalid/x cannot be asked for its tags" in caught.value.what
    assert "s3cr3t" not in caught.value.render()
