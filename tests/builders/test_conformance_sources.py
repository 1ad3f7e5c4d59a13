"""What every builder does with sources whose images have a root file system: what is named by its hash is that, or
nothing is built on it.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders.builder_labs import RootLab, read
from vep_dagger.dsl import PLAIN, Build, GitSource, HttpSource, Image, Layer, git, http, image
from vep_dagger.dsl.source import COMMIT_FILE
from vep_dagger.errors import BuildError, VepError

Repository = Callable[..., GitSource]


def image_of(*layers: Layer, **more: Any) -> Image:
    fields: dict[str, Any] = {"recipe": "probe", "tag": "probe1", "release": "1", "base": PLAIN, "build": Build()}
    return Image(layers=layers, device="cpu", **(fields | more))


@pytest.fixture
def repository(tmp_path: Path, needs: Callable[[str, str], str]) -> GitSource:
    """A git remote with a file, a program, and a link."""
    program = needs("git", "apt-get install git")
    directory = tmp_path / "remote"
    directory.mkdir()
    (directory / "file").write_text("of git\n")
    (directory / "tool").write_text("#!/bin/sh\necho tool\n")
    (directory / "tool").chmod(0o755)
    (directory / "link").symlink_to("file")
    environ = {
        **os.environ,
        **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "t"),
        **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "t@example.org"),
        "GIT_CONFIG_GLOBAL": os.devnull,
    }

    def run(*words: str) -> str:
        command = [program, "-C", str(directory), *words]
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q", "-b", "main")
    run("add", ".")
    run("commit", "-q", "-m", "first")
    return git(directory.as_uri(), run("rev-parse", "HEAD"))


def file_of(path: Path, content: bytes, **more: Any) -> HttpSource:
    path.write_bytes(content)
    return http(path.as_uri(), hashlib.sha256(content).hexdigest(), **more)


def archive(lab: RootLab, path: Path) -> HttpSource:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, mode in (("kit/run", 0o755), ("kit/data", 0o644)):
            text = f"#!/bin/sh\necho {lab.fresh}\n".encode()
            member = tarfile.TarInfo(name)
            member.mode, member.size = mode, len(text)
            tar.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("kit/link")
        link.type, link.linkname = tarfile.SYMTYPE, "run"
        tar.addfile(link)
    return file_of(path, content.getvalue(), unpack=True)


def test_a_git_tree_is_copied_with_modes_and_links_and_its_commit_instead_of_its_git_directory(
    root_lab: RootLab, repository: GitSource
) -> None:
    built = root_lab.build(image_of(root_lab.layer("one", Build().copy(repository, "/opt/one/src"))))
    assert root_lab.run(built, "ls", "-A", "/opt/one/src").split() == [COMMIT_FILE, "file", "link", "tool"]
    assert root_lab.run(built, "/opt/one/src/tool") == "tool"
    assert root_lab.run(built, "readlink", "/opt/one/src/link") == "file"
    (source,) = root_lab.manifest(built)["layers"][0]["sources"]
    assert (source["kind"], source["content"]) == ("git", repository.commit)


def test_a_file_and_an_archive_by_sha256(root_lab: RootLab, tmp_path: Path) -> None:
    file, packed = file_of(tmp_path / "f", b"of http\0\xff"), archive(root_lab, tmp_path / "kit.tar.gz")
    build = Build().copy(file, "/opt/one/deep/name").copy(packed, "/opt/one/unpacked")
    built = root_lab.build(image_of(root_lab.layer("one", build)))
    show = root_lab.script("print(open('/opt/one/deep/name', 'rb').read())")
    assert root_lab.run(built, *show) == str(b"of http\0\xff")
    assert root_lab.run(built, "/opt/one/unpacked/kit/link") == root_lab.fresh
    assert root_lab.mode(built, "/opt/one/unpacked/kit/data") == 0o644


def test_a_mount_is_writable_and_no_content(root_lab: RootLab, repository: GitSource, tmp_path: Path) -> None:
    lab = root_lab
    file = file_of(tmp_path / "f", b"a file")
    look = "cd /opt/one/src; ./tool > made; echo more >> file; cat file made /etc/mounted > /opt/one/seen; rm link"
    build = Build().mount(repository, "/opt/one/src").mount(file, "/etc/mounted").run("sh", "-ec", look)
    # What one command leaves in it the next one finds.
    build = build.run("sh", "-ec", "test -e /opt/one/src/made; test ! -e /opt/one/src/link")
    # The same in the image's own chain.
    chain = lab.begin.mount(repository, "/mounted/src").run("sh", "-ec", f"cp /mounted/src/file {lab.place}/x")
    built = lab.build(image_of(lab.layer("one", build), build=chain))
    assert read(lab, built, "/opt/one/seen") == "of git\nmore\ntool\na file"
    assert read(lab, built, f"{lab.place}/x") == "of git"
    gone = lab.script("import os; print([p for p in ('/opt/one/src/file', '/mounted/src/file') if os.path.exists(p)])")
    assert lab.run(built, *gone) == "[]"


def test_the_tree_of_an_image_is_copied_and_mounted(root_lab: RootLab) -> None:
    lab = root_lab
    name, _, digest = lab.settings.plain_base.partition("@")
    source = image(name, digest)
    keep = "cd /opt/one; cmp /mounted/etc/debian_version root/etc/debian_version; rm -rf root/usr root/var"
    # The mount is writable, as that of every source.
    build = Build().mount(source, "/mounted").copy(source, "/opt/one/root").run("touch", "/mounted/etc/written")
    built = lab.build(image_of(lab.layer("one", build.run("sh", "-ec", keep))))
    assert read(lab, built, "/opt/one/root/etc/debian_version") == read(lab, built, "/etc/debian_version")
    assert lab.run(built, *lab.script("import os; print(os.path.exists('/mounted/etc'))")) == "False"
    (entry,) = {(each["kind"], each["content"]) for each in lab.manifest(built)["layers"][0]["sources"]}
    assert entry == ("image", digest)


def test_another_content_than_the_hash_says_is_refused_before_anything_is_built_on_it(
    root_lab: RootLab, tmp_path: Path
) -> None:
    lab = root_lab
    wrong = http(file_of(tmp_path / "f", lab.fresh.encode()).url, "0" * 64)
    ran = Build().copy(wrong, "/opt/one/x").run("sh", "-c", "echo this-was-run")
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(lab.layer("one", ran)))
    message = caught.value.render()
    assert "0" * 64 in message
    assert hashlib.sha256(lab.fresh.encode()).hexdigest() in message
    assert not lab.log.exists() or "this-was-run\n" not in lab.log.read_text()


def test_a_commit_that_the_remote_does_not_have_is_refused(root_lab: RootLab, repository: GitSource) -> None:
    wrong = git(repository.url, "0" * 40)
    with pytest.raises(VepError) as caught:
        root_lab.build(image_of(root_lab.layer("one", Build().copy(wrong, "/opt/one/x"))))
    assert "0" * 40 in caught.value.render()


@pytest.mark.parametrize(
    "source", [git("https://example.org/x.git", None, ref="v1"), http("https://example.org/x", None)]
)
def test_a_source_that_nobody_has_pinned_is_refused(root_lab: RootLab, source: GitSource | HttpSource) -> None:
    image = image_of(root_lab.layer("one", Build().mount(source, "/src").run("true")))
    with pytest.raises(BuildError, match=r"https://example\.org/x"):
        root_lab.builder().refuse(image)


def test_mirrors_say_where_a_source_is_taken_from(root_lab: RootLab, repository: GitSource, tmp_path: Path) -> None:
    lab = root_lab
    file = file_of(tmp_path / "mirrored", lab.fresh.encode())
    lab.change(
        mirrors={
            "https://code.example.org/": tmp_path.as_uri() + "/",
            "https://files.example.org/a/": tmp_path.as_uri() + "/",
        }
    )
    lab.environ["VEP_CACHE_DIR"] = str(tmp_path / "cache-of-this-test")
    build = Build().copy(git("https://code.example.org/remote", repository.commit), "/opt/one/src")
    build = build.copy(http("https://files.example.org/a/mirrored", file.sha256), "/opt/one/file")
    built = lab.build(image_of(lab.layer("one", build)))
    assert read(lab, built, "/opt/one/src/file") + read(lab, built, "/opt/one/file") == f"of git{lab.fresh}"


def test_the_same_content_from_elsewhere_rebuilds_nothing(root_lab: RootLab, tmp_path: Path) -> None:
    lab = root_lab
    here = file_of(tmp_path / "here", lab.fresh.encode())
    there = file_of(tmp_path / "there", lab.fresh.encode())

    def made_of(source: HttpSource) -> Image:
        return image_of(lab.layer("one", Build().copy(source, "/opt/one/x").run("true")))

    assert not lab.build(made_of(here)).cached
    assert lab.build(made_of(there)).cached
