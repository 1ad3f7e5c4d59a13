from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders.conftest import links, make_wheel  # noqa: F401 - fixtures
from tests.cli.conftest import CommandLine
from tests.locking.lock_lab import Files, LockLab, Repository
from vep_dagger.builders.settings import BuildSettings


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return {"PATH": os.environ["PATH"], "HOME": str(home), "VEP_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture
def settings(environ: dict[str, str], tmp_path: Path) -> BuildSettings:
    return BuildSettings(environ=environ, directory=tmp_path)


@pytest.fixture
def repository(tmp_path: Path, needs: Callable[[str, str], str]) -> Repository:
    needs("git", "apt-get install git")
    return Repository(tmp_path / "repository")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    directory = tmp_path / "files"
    directory.mkdir()
    made = Files(directory)
    yield made
    made.close()


def oci_archive(path: Path, word: str) -> str:
    """An archive of an image without layers; its digest."""
    import hashlib

    manifest = json.dumps({"schemaVersion": 2, "layers": [], "word": word}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": f"sha256:{digest}"}]}).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in (("index.json", index), (f"blobs/sha256/{digest}", manifest)):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return f"sha256:{digest}"


@pytest.fixture
def lab(
    tmp_path: Path,
    repository: Repository,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> LockLab:
    folder = tmp_path / "work"
    folder.mkdir()
    repository.commit("one")
    repository.git("tag", "v1")
    files.put("data-1.tar", b"data")
    oci_archive(folder / "base.tar", "one")
    return LockLab(folder, repository, files, folder / "base.tar")


@pytest.fixture
def vep(
    lab: LockLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line in the lab's directory."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "line").mkdir()
    line = CommandLine(tmp_path / "line", monkeypatch, capsys)
    line.folder, line.matrix = lab.matrix.parent, lab.matrix
    monkeypatch.chdir(lab.matrix.parent)
    return line
