from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from vep_dagger.builders.archive import docker_save_to_oci, make_loadable, manifest_digest
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError

SKOPEO = "apt-get install skopeo"


class Daemon:
    """Docker, as a person uses it, and an image of its own that is gone afterwards."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self.name = f"vep-test-archive:{uuid.uuid4().hex[:12]}"

    def do(self, *words: str) -> str:
        answer = anyio.run(self._docker.ask, *words)
        assert answer.code == 0, answer.err
        return answer.out.strip()

    def has(self, name: str) -> bool:
        return anyio.run(self._docker.ask, "image", "inspect", name).code == 0

    def build(self, context: Path) -> None:
        """Two files, one of them a program, and a variable; the same content twice, as a layer of its own."""
        context.mkdir()
        (context / "text").write_text("text\n")
        (context / "program").write_text("#!/bin/sh\n")
        (context / "program").chmod(0o755)
        (context / "Dockerfile").write_text(
            "FROM scratch\nCOPY text /a/\nCOPY program /b/\nCOPY text /a/\nENV WORD=content\nLABEL dev.vep.key=abc\n"
        )
        command = [self._docker.program, "build", "--quiet", "--tag", self.name, str(context)]
        subprocess.run(command, env=self._docker.build_environment, capture_output=True, check=True, timeout=120)

    def members(self, name: str, directory: Path) -> dict[str, int]:
        """The files of an image with their modes."""
        container = self.do("create", name, "none")
        try:
            self.do("export", "--output", str(directory / "root.tar"), container)
        finally:
            self.do("rm", container)
        with tarfile.open(directory / "root.tar") as root:
            return {
                each.name: each.mode & 0o7777 for each in root if each.isfile() and each.name.startswith(("a/", "b/"))
            }


@pytest.fixture
def daemon(docker: Docker) -> Iterator[Daemon]:
    made = Daemon(docker)
    yield made
    if made.has(made.name):
        made.do("image", "rm", "--force", made.name)


@pytest.fixture
def saved(daemon: Daemon, tmp_path: Path) -> Path:
    """What ``docker save`` writes of an image that the daemon has not any more."""
    daemon.build(tmp_path / "context")
    daemon.do("save", "--output", str(tmp_path / "saved.tar"), daemon.name)
    daemon.do("image", "rm", "--force", daemon.name)
    return tmp_path / "saved.tar"


def skopeo(needs: Callable[[str, str], str], *words: str) -> str:
    command = [needs("skopeo", SKOPEO), "--insecure-policy", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_an_image_of_docker_becomes_an_archive_that_skopeo_and_docker_take(
    saved: Path, daemon: Daemon, tmp_path: Path, needs: Callable[[str, str], str]
) -> None:
    archive = tmp_path / "image.tar"
    digest = docker_save_to_oci(saved, archive, daemon.name)
    assert manifest_digest(archive) == digest

    seen: dict[str, Any] = json.loads(skopeo(needs, "inspect", f"oci-archive:{archive}"))
    assert seen["Digest"] == digest
    assert seen["Labels"] == {"dev.vep.key": "abc"}
    assert "WORD=content" in seen["Env"]
    skopeo(needs, "copy", f"oci-archive:{archive}", f"dir:{tmp_path / 'copied'}")

    assert not daemon.has(daemon.name)
    daemon.do("load", "--input", str(archive))
    assert "WORD=content" in daemon.do("image", "inspect", "--format", "{{json .Config.Env}}", daemon.name)
    assert daemon.members(daemon.name, tmp_path) == {"a/text": 0o644, "b/program": 0o755}


def test_the_same_image_gives_the_same_archive(saved: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    assert docker_save_to_oci(saved, one, "v1") == docker_save_to_oci(saved, two, "v1")
    assert one.read_bytes() == two.read_bytes()


def test_an_archive_of_another_tool_is_made_loadable(
    saved: Path, daemon: Daemon, tmp_path: Path, needs: Callable[[str, str], str]
) -> None:
    # As skopeo writes it: layers compressed, and nothing of docker's.
    archive = tmp_path / "image.tar"
    skopeo(needs, "copy", f"docker-archive:{saved}", f"oci-archive:{archive}:v1")
    with tarfile.open(archive) as opened:
        assert "manifest.json" not in opened.getnames()
    digest = manifest_digest(archive)
    make_loadable(archive, "other:1")
    make_loadable(archive, daemon.name)
    content = archive.read_bytes()
    make_loadable(archive, daemon.name)
    assert archive.read_bytes() == content
    with tarfile.open(archive) as opened:
        index = opened.extractfile("index.json")
        assert index is not None
        (entry,) = json.load(index)["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == daemon.name
    assert manifest_digest(archive) == digest
    assert json.loads(skopeo(needs, "inspect", f"oci-archive:{archive}"))["Digest"] == digest
    daemon.do("load", "--input", str(archive))
    assert daemon.members(daemon.name, tmp_path) == {"a/text": 0o644, "b/program": 0o755}
    assert not daemon.has("other:1")


def test_an_archive_that_dagger_exported_gets_its_name(
    dagger_session: DaggerSession, dagger_portal: BlockingPortal, daemon: Daemon, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    container = dagger_session.client.container().with_new_file("/a/text", "text\n")
    dagger_portal.call(container.export, str(archive))
    digest = manifest_digest(archive)
    make_loadable(archive, daemon.name)
    assert manifest_digest(archive) == digest
    daemon.do("load", "--input", str(archive))
    assert daemon.members(daemon.name, tmp_path) == {"a/text": 0o644}


def write(archive: Path, files: dict[str, Any]) -> Path:
    with tarfile.open(archive, "w") as made:
        for name, value in files.items():
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            header = tarfile.TarInfo(name)
            header.size = len(content)
            made.addfile(header, io.BytesIO(content))
    return archive


def blob(value: Any) -> tuple[str, str, bytes]:
    """Digest, path and content."""
    content = json.dumps(value).encode()
    name = hashlib.sha256(content).hexdigest()
    return f"sha256:{name}", f"blobs/sha256/{name}", content


def test_the_image_is_found_behind_an_index_and_beside_attestations(tmp_path: Path) -> None:
    digest, path, content = blob({"schemaVersion": 2, "config": {}, "layers": []})
    inner_digest, inner_path, inner = blob(
        {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"digest": digest},
                {"digest": "sha256:0", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
            ],
        }
    )
    index = {"manifests": [{"digest": inner_digest, "mediaType": "application/vnd.oci.image.index.v1+json"}]}
    archive = write(tmp_path / "a.tar", {"index.json": index, path: content, inner_path: inner})
    assert manifest_digest(archive) == digest


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there is no index.json in it"),
        ({"index.json": b"?"}, "is no JSON"),
        ({"index.json": {"manifests": []}}, "it holds 0 images"),
        ({"index.json": {"manifests": [{"digest": "sha256:0"}, {"digest": "sha256:1"}]}}, "it holds 2 images"),
        ({"index.json": {"manifests": [{"digest": "sha256:0"}]}}, "there is no blobs/sha256/0 in it"),
    ],
)
def test_what_is_no_archive_of_one_image_is_refused(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    archive = write(tmp_path / "a.tar", files)
    with pytest.raises(BuildError, match=words) as caught:
        manifest_digest(archive)
    assert caught.value.where == str(archive)


def test_a_file_that_is_no_archive_at_all_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "saved.tar").write_bytes(b"no archive" * 1000)
    for what in (tmp_path / "saved.tar", tmp_path / "missing.tar"):
        with pytest.raises(BuildError, match="cannot be read"):
            docker_save_to_oci(what, tmp_path / "image.tar", "v1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved.tar"]
