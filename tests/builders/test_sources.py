from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, cast

import anyio
import pytest

from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import fetch
from vep_dagger.dsl import GitSource, HttpSource, git, http
from vep_dagger.dsl.source import COMMIT_FILE
from vep_dagger.errors import BuildError, MachineError, VepError
from vep_dagger.layers import source_record

Get = Callable[..., Path]


class Site:
    """A web server on loopback whose files are those of a directory; it counts what it is asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        self.busy = 0
        self.ended = threading.Event()
        site = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                if self.path.startswith("/moved/"):
                    self.send_response(302)
                    self.send_header("Location", self.path.removeprefix("/moved"))
                    self.end_headers()
                elif self.path.startswith("/secret/"):
                    self.send_error(403)
                elif self.path == "/stuck":
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b"x" * 1000)
                    self.wfile.flush()
                    site.ended.wait(30)
                elif site.busy:
                    site.busy -= 1
                    self.send_error(503)
                else:
                    super().do_GET()

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(directory)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def put(self, name: str, content: bytes) -> HttpSource:
        (self.directory / name).write_bytes(content)
        return http(f"{self.url}/{name}", hashlib.sha256(content).hexdigest())

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    directory = tmp_path / "site"
    directory.mkdir()
    made = Site(directory)
    yield made
    made.close()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "VEP_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def get(environ: dict[str, str], said: list[str], monkeypatch: pytest.MonkeyPatch) -> Get:
    """Fetch a source, without a proxy between this machine and itself."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def made(source: GitSource | HttpSource, **mirrors: str) -> Path:
        return anyio.run(fetch, source, BuildSettings(mirrors=mirrors, environ=environ), said.append)

    return made


class Repository:
    """A git repository of this machine."""

    def __init__(self, path: Path, **files: str) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.email", "a@b.c")
        self.git("config", "user.name", "a")
        for name, text in files.items():
            (path / name).write_text(text)

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *words: str) -> str:
        command = ["git", "-c", "protocol.file.allow=always", *words]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x", "--date", "2020-01-01T00:00:00Z")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, needs: Callable[[str, str], str]) -> Repository:
    needs("git", "apt-get install git")
    return Repository(tmp_path / "repository", text="one\n", program="#!/bin/sh\n")


def files_of(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir() or path.is_symlink()}


def refusal(get: Get, source: GitSource | HttpSource, kind: type[VepError], **mirrors: str) -> str:
    with pytest.raises(kind) as caught:
        get(source, **mirrors)
    assert type(caught.value) is kind
    return caught.value.render()


def kept(tmp_path: Path) -> list[str]:
    """What the cache holds: the sources, and anything half-made."""
    cache = tmp_path / "cache" / "sources"
    return sorted(str(path.relative_to(cache)) for path in cache.glob("*/*") if path.parent.name != "locks")


class TestGit:
    def test_a_commit_that_no_branch_names_is_fetched_without_the_repository(
        self, repository: Repository, get: Get, said: list[str]
    ) -> None:
        (repository.path / "program").chmod(0o755)
        (repository.path / "link").symlink_to("text")
        first = repository.commit()
        (repository.path / "text").write_text("two\n")
        repository.commit()
        tree = get(git(repository.url, first, ref="v1"))
        assert files_of(tree) == {"text", "program", "link", COMMIT_FILE}
        assert (tree / "text").read_text() == "one\n"
        assert (tree / "program").stat().st_mode & 0o777 == 0o755
        assert (tree / "text").stat().st_mode & 0o777 == 0o644
        assert (tree / "link").readlink() == Path("text")
        assert said == [f"fetching {repository.url} at v1"]

    def test_what_is_there_is_not_fetched_again(
        self, repository: Repository, get: Get, said: list[str], tmp_path: Path
    ) -> None:
        source = git(repository.url, repository.commit())
        tree = get(source)
        repository.path.rename(tmp_path / "away")
        assert get(source) == tree
        assert len(said) == 1

    def test_modes_and_times_depend_on_nothing_but_the_commit(self, repository: Repository, get: Get) -> None:
        commit = repository.commit()
        before = os.umask(0o077)
        try:
            tree = get(git(repository.url, commit))
        finally:
            os.umask(before)
        time = int(repository.git("log", "-1", "--format=%ct"))
        assert {path.stat().st_mode & 0o777 for path in (tree / "text", tree / "program")} == {0o644}
        assert tree.stat().st_mode & 0o777 == 0o755
        assert {path.stat().st_mtime for path in (tree, tree / "text")} == {time}

    def test_a_commit_that_is_not_there_is_refused_and_nothing_is_kept(
        self, repository: Repository, get: Get, tmp_path: Path
    ) -> None:
        repository.commit()
        message = refusal(get, git(repository.url, "0" * 40, ref="main"), BuildError)
        assert f"{repository.url} has no commit {'0' * 40}" in message
        assert kept(tmp_path) == []

    def test_a_server_that_refuses_bare_commits_is_asked_for_the_ref_and_then_for_all(
        self, repository: Repository, get: Get
    ) -> None:
        # As protocol version 0 has it: only what a name points to can be asked for.
        first = repository.commit()
        (repository.path / "text").write_text("two\n")
        second = repository.commit()
        source = repository.url
        old = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version", "GIT_CONFIG_VALUE_0": "0"}
        settings = BuildSettings(environ={**os.environ, **old, "VEP_CACHE_DIR": str(repository.path.parent / "cache")})
        for commit, text in ((second, "two\n"), (first, "one\n")):
            tree = anyio.run(fetch, git(source, commit, ref="main"), settings, print)
            assert (tree / "text").read_text() == text

    def test_submodules_come_at_the_commits_that_the_tree_names_unless_they_are_not_wanted(
        self, repository: Repository, get: Get, tmp_path: Path
    ) -> None:
        inner = Repository(tmp_path / "inner", deep="deep\n")
        inner.commit()
        middle = Repository(tmp_path / "middle", shallow="shallow\n")
        middle.git("submodule", "--quiet", "add", "../inner", "third-party")
        middle.commit()
        repository.git("submodule", "--quiet", "add", middle.url, "sub")
        commit = repository.commit()
        (middle.path / "shallow").write_text("later\n")
        middle.commit()
        tree = get(git(repository.url, commit))
        assert (tree / "sub" / "shallow").read_text() == "shallow\n"
        assert (tree / "sub" / "third-party" / "deep").read_text() == "deep\n"
        assert not list(tree.rglob(".git"))
        held = {str(file.parent.relative_to(tree)) for file in tree.rglob(COMMIT_FILE)}
        assert held == {".", "sub", "sub/third-party"}
        assert source_record.identify(tree, COMMIT_FILE)["commit"] == commit
        assert not list((get(git(repository.url, commit, submodules=False)) / "sub").iterdir())

    def test_mirrors_are_used_for_the_repository_and_for_its_submodules(
        self, repository: Repository, get: Get, tmp_path: Path
    ) -> None:
        inner = Repository(tmp_path / "host" / "inner", deep="deep\n")
        inner.commit()
        # Written as everybody outside has it, and to be found here alone.
        repository.git("submodule", "--quiet", "add", inner.url, "sub")
        modules = repository.path / ".gitmodules"
        modules.write_text(modules.read_text().replace(f"file://{tmp_path}/host/", "https://git.invalid/"))
        commit = repository.commit()
        repository.path.rename(tmp_path / "host" / "outer")
        mirrors = {"https://git.invalid/": f"file://{tmp_path}/host/", "https://git": "https://other.invalid/"}
        tree = get(git("https://git.invalid/outer", commit), **mirrors)
        assert (tree / "sub" / "deep").read_text() == "deep\n"

    def test_hooks_and_habits_of_the_user_do_not_decide_what_is_fetched(
        self, repository: Repository, get: Get, environ: dict[str, str], tmp_path: Path
    ) -> None:
        template = tmp_path / "template"
        (template / "hooks").mkdir(parents=True)
        hook = template / "hooks" / "post-checkout"
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
        home = Path(environ["HOME"])
        (home / ".gitconfig").write_text(
            f"[core]\n hooksPath = {template}/hooks\n autocrlf = true\n[init]\n templateDir = {template}\n"
        )
        environ |= {"GIT_TEMPLATE_DIR": str(template), "GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere"}
        tree = get(git(repository.url, repository.commit()))
        assert (tree / "text").read_bytes() == b"one\n"
        assert not (tmp_path / "ran").exists()

    def test_a_place_that_cannot_be_reached_is_the_machines_matter_and_shows_no_password(
        self, get: Get, environ: dict[str, str]
    ) -> None:
        mirror = "http://me:s3cr3t@127.0.0.1:9/"
        message = refusal(get, git("https://git.invalid/x", "0" * 40), MachineError, **{"https://git.invalid/": mirror})
        assert "https://git.invalid/x cannot be fetched" in message
        assert "at: http://127.0.0.1:9/x" in message
        assert "s3cr3t" not in message

    def test_without_the_program_git_it_says_how_to_get_it(
        self, repository: Repository, get: Get, environ: dict[str, str]
    ) -> None:
        commit = repository.commit()
        environ["PATH"] = "/nowhere"
        assert "apt-get install git" in refusal(get, git(repository.url, commit), MachineError)

    def test_a_source_without_a_commit_is_refused_with_the_command_that_gives_it(self, get: Get) -> None:
        message = refusal(get, git("https://u:p@git.invalid/x", None, ref="v1"), BuildError)
        assert "has no commit, only 'v1'" in message
        assert "git ls-remote https://git.invalid/x v1" in message


class TestHttp:
    def test_a_file_with_the_right_hash_is_kept_and_not_asked_for_again(self, site: Site, get: Get) -> None:
        source = site.put("a", b"content")
        file = get(source)
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"content", 0o644)
        assert get(source) == file
        assert site.asked == ["/a"]

    def test_a_wrong_hash_shows_both_and_keeps_nothing(self, site: Site, get: Get, tmp_path: Path) -> None:
        right = site.put("a", b"content")
        message = refusal(get, http(right.url, "0" * 64), BuildError)
        assert str(right.sha256) in message
        assert "0" * 64 in message
        assert kept(tmp_path) == []

    def test_two_who_ask_at_the_same_time_fetch_once(self, site: Site, environ: dict[str, str]) -> None:
        source = site.put("a", b"content")
        settings = BuildSettings(environ=environ)

        async def both() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(fetch, source, settings, print)

        anyio.run(both)
        assert site.asked == ["/a"]

    def test_who_gives_up_leaves_nothing_and_keeps_nobody_else_waiting(
        self, site: Site, environ: dict[str, str], tmp_path: Path
    ) -> None:
        stuck = http(f"{site.url}/stuck", "0" * 64)

        async def give_up(asked: int) -> None:
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(fetch, stuck, BuildSettings(environ=environ), print)
                    while len(site.asked) < asked:  # noqa: ASYNC110 - the server is a thread
                        await anyio.sleep(0.02)
                    group.cancel_scope.cancel()

        anyio.run(give_up, 1)
        anyio.run(give_up, 2)
        assert kept(tmp_path) == []

    def test_redirections_and_mirrors_are_followed(self, site: Site, get: Get) -> None:
        source = site.put("a", b"content")
        there = http("https://files.invalid/a", source.sha256)
        assert get(there, **{"https://files.invalid": f"{site.url}/moved"}).read_bytes() == b"content"

    def test_a_mirror_may_be_a_directory(self, site: Site, get: Get) -> None:
        source = site.put("a b", b"content")
        there = http("https://files.invalid/a%20b", source.sha256)
        assert get(there, **{"https://files.invalid/": f"file://{site.directory}/"}).read_bytes() == b"content"
        missing = http("https://files.invalid/c", "0" * 64)
        assert "is not there" in refusal(
            get, missing, BuildError, **{"https://files.invalid/": f"file://{site.directory}/"}
        )

    def test_a_server_that_is_busy_is_asked_again(self, site: Site, get: Get) -> None:
        source = site.put("a", b"content")
        site.busy = 1
        assert get(source).read_bytes() == b"content"
        assert site.asked == ["/a", "/a"]

    @pytest.mark.parametrize(
        ("path", "kind", "words"),
        [("none", BuildError, "is not there: 404"), ("secret/a", MachineError, "may not be fetched: 403")],
    )
    def test_what_the_server_refuses_is_told_at_once(
        self, site: Site, get: Get, path: str, kind: type[VepError], words: str
    ) -> None:
        assert words in refusal(get, http(f"{site.url}/{path}", "0" * 64), kind)
        assert len(site.asked) == 1

    def test_a_server_that_is_not_there_is_the_machines_matter(
        self, get: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("vep_dagger.builders.sources.http.ATTEMPTS", 1)
        assert "cannot be fetched" in refusal(get, http("http://127.0.0.1:9/x", "0" * 64), MachineError)
        assert kept(tmp_path) == []

    def test_certificates_that_are_none_are_the_machines_matter(
        self, site: Site, get: Get, environ: dict[str, str], tmp_path: Path
    ) -> None:
        environ["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
        (tmp_path / "ca.pem").write_text("no certificate")
        assert f"at: {tmp_path}/ca.pem" in refusal(get, site.put("a", b"content"), MachineError)

    def test_a_source_without_a_hash_is_refused_before_anybody_is_asked(self, site: Site, get: Get) -> None:
        source = site.put("a", b"content")
        assert "sha256sum" in refusal(get, http(source.url, None), BuildError)
        assert site.asked == []

    def test_what_a_dead_process_left_is_taken_away(self, site: Site, get: Get, tmp_path: Path) -> None:
        source = site.put("a", b"content")
        left = tmp_path / "cache" / "sources" / "building" / f"http-{source.sha256}-dead"
        left.mkdir(parents=True)
        get(source)
        assert not left.exists()


def tar_of(mode: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=cast("Literal['w:gz']", f"w:{mode}")) as archive:
        for name, kind, mode_bits in (("d/run", tarfile.REGTYPE, 0o755), ("d/secret", tarfile.REGTYPE, 0o600)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.uid = kind, mode_bits, 1, 12345
            archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("d/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../d/run"
        archive.addfile(link)
    return made.getvalue()


def zip_of(**links: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, mode in (("d/run", 0o755), ("d/text", 0o644)):
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100000 | mode) << 16
            archive.writestr(member, "x")
        for name, target in (links or {"d/link": "../d/run"}).items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o120777 << 16
            archive.writestr(member, target)
    return made.getvalue()


class TestArchives:
    @pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz"])
    def test_tar_archives_keep_modes_and_links(self, site: Site, get: Get, mode: str) -> None:
        packed = site.put("a", tar_of(mode))
        tree = get(http(packed.url, packed.sha256, unpack=True))
        assert (tree / "d" / "run").stat().st_mode & 0o777 == 0o755
        assert (tree / "d" / "secret").stat().st_mode & 0o777 == 0o600
        assert (tree / "d").stat().st_mode & 0o777 == 0o755
        assert (tree / "d" / "link").readlink() == Path("../d/run")

    def test_zstd_is_one_of_the_compressions(self, site: Site, get: Get, needs: Callable[[str, str], str]) -> None:
        zstd = needs("zstd", "apt-get install zstd")
        content = subprocess.run([zstd, "--stdout"], input=tar_of(""), capture_output=True, check=True).stdout
        packed = site.put("a", content)
        assert files_of(get(http(packed.url, packed.sha256, unpack=True))) == {"d/run", "d/secret", "d/link"}

    def test_zip_archives_keep_modes_and_links(self, site: Site, get: Get) -> None:
        packed = site.put("a", zip_of())
        tree = get(http(packed.url, packed.sha256, unpack=True))
        assert (tree / "d" / "run").stat().st_mode & 0o777 == 0o755
        assert (tree / "d" / "text").stat().st_mode & 0o777 == 0o644
        assert (tree / "d" / "link").readlink() == Path("../d/run")

    def test_the_same_file_is_had_packed_and_unpacked_and_fetched_once(self, site: Site, get: Get) -> None:
        packed = site.put("a", tar_of("gz"))
        assert get(packed).is_file()
        assert get(http(packed.url, packed.sha256, unpack=True)).is_dir()
        assert site.asked == ["/a"]

    @pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
    def test_nothing_leads_out_of_an_archive(self, site: Site, get: Get, tmp_path: Path, target: str) -> None:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for content in (made.getvalue(), zip_of(link=target)):
            packed = site.put("a", content)
            message = refusal(get, http(packed.url, packed.sha256, unpack=True), BuildError)
            assert "cannot be unpacked" in message
        assert not [name for name in kept(tmp_path) if not name.startswith("http/")]

    def test_what_is_no_archive_says_so(self, site: Site, get: Get) -> None:
        packed = site.put("a", b"no archive")
        assert "cannot be unpacked" in refusal(get, http(packed.url, packed.sha256, unpack=True), BuildError)


def test_a_cache_that_cannot_be_written_is_the_machines_matter(
    site: Site, get: Get, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    environ["VEP_CACHE_DIR"] = str(tmp_path / "file")
    assert "cannot be put into the cache" in refusal(get, site.put("a", b"x"), MachineError)
