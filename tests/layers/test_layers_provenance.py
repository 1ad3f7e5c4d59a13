"""Which commit a layer was built from: the record of a real tree, as builders fetch it, and the checks that read it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import fetch
from vep_dagger.dsl import Build, Image, git
from vep_dagger.dsl.source import COMMIT_FILE
from vep_dagger.dsl.step import Run
from vep_dagger.layers import aws_ofi_nccl, gdrcopy, kernels, provenance, source_record

OTHER = "1" * 40

FILES = {
    "include/api.h": "#define API 2\n",
    "src/kernels/ops.py": "def op(): ...\n",
    "setup.py": "\n",
    ".gitignore": "ignored\n",
    "ignored": "and committed all the same\n",
    "CHANGELOG.md": "# Changelog\n\n## [master]\n\n## [2.5.1] - 2025-08-04\n",
}

CUTLASS = "third-party/cutlass"


@dataclass(frozen=True)
class Layer:
    """A source as a builder fetches it, and the prefix of a layer that is built from it."""

    commit: str
    source: Path
    prefix: Path

    def record(self, says: str = "") -> subprocess.CompletedProcess[str]:
        build = provenance.recorded(Build(), str(self.prefix), says=says)
        (step,) = build.steps
        assert isinstance(step, Run)
        return self.run(step.argv)

    def check(self, commit: str | None, version: str = "", least: int = 0) -> subprocess.CompletedProcess[str]:
        build = provenance.proven(Build(), "it", str(self.prefix), commit, version=version, least=least)
        return self.run(build.checks[0].argv)

    def run(self, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        words = [sys.executable if word == "python3" else str(self.source) if word == "/src" else word for word in argv]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def install(self, source: str, target: str) -> Path:
        place = self.prefix / target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.source / source, place)
        return place


def committed(place: Path, files: dict[str, str], links: dict[str, str]) -> str:
    def call(*words: str) -> str:
        words = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words)
        return subprocess.run(words, cwd=place, capture_output=True, text=True, check=True).stdout.strip()

    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    call("init", "--quiet")
    call("add", "--all", "--force")
    for path, link in links.items():
        call("update-index", "--add", "--cacheinfo", f"160000,{link},{path}")
    call("commit", "--quiet", "--message", "Zwölf Boxkämpfer\n\nand their gpgsig")
    return call("rev-parse", "HEAD")


def fetched(tmp_path: Path, name: str, commit: str) -> Path:
    settings = BuildSettings(environ={"VEP_CACHE_DIR": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"})
    return anyio.run(fetch, git(f"file://{tmp_path}/{name}", commit, submodules=False), settings, print)


def mount(source: Path, submodule: Path) -> None:
    shutil.rmtree(source / CUTLASS, ignore_errors=True)
    shutil.copytree(submodule, source / CUTLASS)


@pytest.fixture
def made(tmp_path: Path, needs: Callable[[str, str], str]) -> Layer:
    needs("git", "apt-get install git")
    inner = committed(tmp_path / "inner", {"cutlass.h": "// a\n"}, {})
    commit = committed(tmp_path / "upstream", FILES, {CUTLASS: inner})
    # Builders give a copy: the cache's own is nobody's to change.
    source = shutil.copytree(fetched(tmp_path, "upstream", commit), tmp_path / "src", symlinks=True)
    mount(source, fetched(tmp_path, "inner", inner))
    return Layer(commit, source, tmp_path / "prefix")


def test_a_source_is_known_by_its_commit_and_its_files(made: Layer) -> None:
    assert made.record().returncode == 0
    record = json.loads((made.prefix / source_record.RECORD).read_text())

    assert record["commit"] == made.commit
    assert record["files"].keys() == {*FILES, CUTLASS}


def test_a_source_that_is_not_its_commits_ends_the_build(made: Layer) -> None:
    (made.source / "setup.py").write_text("# changed\n")

    done = made.record()

    assert done.returncode == 1
    assert f"is not commit {made.commit}" in done.stderr
    assert not (made.prefix / source_record.RECORD).exists()


def test_another_commit_of_a_submodule_than_the_tree_names_ends_the_build(made: Layer, tmp_path: Path) -> None:
    other = committed(tmp_path / "inner", {"cutlass.h": "// of another release\n"}, {})
    mount(made.source, fetched(tmp_path, "inner", other))

    done = made.record()

    assert done.returncode == 1
    assert f"is not commit {made.commit}, with {CUTLASS} at {other}" in done.stderr


def test_a_submodule_that_is_not_its_commits_ends_the_build(made: Layer) -> None:
    (made.source / CUTLASS / "cutlass.h").write_text("// changed\n")

    done = made.record()

    assert done.returncode == 1
    assert f"{CUTLASS} is not commit " in done.stderr


def test_a_commit_object_of_another_commit_gives_the_source_no_other_name(made: Layer) -> None:
    (made.source / COMMIT_FILE).write_bytes((made.source / COMMIT_FILE).read_bytes() + b"more\n")

    made.record()
    done = made.check(made.commit)

    assert done.returncode == 1
    assert f"the commit that is pinned is {made.commit}" in done.stderr


def test_the_check_tells_another_commit_from_the_pinned_one(made: Layer) -> None:
    made.record()

    good, bad = made.check(made.commit), made.check(OTHER)

    assert (good.returncode, bad.returncode) == (0, 1)
    assert good.stdout.startswith(f"commit {made.commit} tree ")
    assert f"the commit that is pinned is {OTHER}" in bad.stderr


@pytest.mark.parametrize(("version", "code"), [("2.5.1", 0), ("2.5", 1), ("2.5.2", 1)])
def test_the_release_that_the_tree_says_is_held_against_the_tag(made: Layer, version: str, code: int) -> None:
    made.record(gdrcopy.SAYS)

    done = made.check(None, version)

    assert done.returncode == code, done.stderr
    assert "version 2.5.1" in done.stdout


def test_an_installed_file_that_is_not_the_sources_is_told(made: Layer) -> None:
    made.record()
    made.install("include/api.h", "include/api.h")
    module = made.install("src/kernels/ops.py", "kernels/ops.py")
    (made.prefix / "compiled.so").write_bytes(b"of no file")
    good = made.check(made.commit, least=2)
    assert good.returncode == 0, good.stderr
    assert "2 of the installed files are the source's" in good.stdout

    module.write_text("def op(): return 'of another release'\n")

    bad = made.check(made.commit, least=1)
    assert bad.returncode == 1
    assert bad.stderr == "kernels/ops.py is not the source's\n"


def test_a_package_of_which_nothing_was_installed_is_told(made: Layer) -> None:
    made.record()

    assert "there are fewer than 1" in made.check(made.commit, least=1).stderr


def test_every_layer_of_a_git_tree_records_it_before_anything_else_is_run(seed: Callable[..., Image]) -> None:
    recorded = {}
    for layer in seed().layers:
        runs = [step.argv for step in layer.build.steps if isinstance(step, Run)]
        if runs and runs[0][:2] == ("python3", "-c") and runs[0][3] == "record":
            recorded[layer.name] = runs[0][5]

    assert recorded == {
        "gdrcopy": "/opt/gdrcopy",
        "aws_ofi_nccl": "/opt/aws-ofi-nccl",
        "nccl_tests": "/opt/nccl-tests",
        "pplx": "/opt/pplx",
        "deepgemm": "/opt/deepgemm",
        "deepep": "/opt/deepep",
    }


@pytest.mark.parametrize(("release", "code"), [("1.16.3", 0), ("1.16.2", 1), ("", 0)])
def test_the_plugin_says_which_release_it_is(
    tmp_path: Path, needs: Callable[[str, str], str], release: str, code: int
) -> None:
    compiler = needs("cc", "apt-get install gcc libc6-dev")
    text = tmp_path / "plugin.c"
    text.write_text(
        'const char *ncclNetPlugin_v10 = "Initializing aws-ofi-nccl 1.16.3"; int ncclTunerPlugin_v3;\n'
        "void libfabric(void); void use(void) { libfabric(); }\n"
    )
    fabric = tmp_path / "fabric.c"
    fabric.write_text("void libfabric(void) {}\n")
    (tmp_path / "lib").mkdir()
    shared = [compiler, "-shared", "-fPIC", "-o"]
    subprocess.run([*shared, str(tmp_path / "libfabric.so.1"), "-Wl,-soname,libfabric.so.1", str(fabric)], check=True)
    plugin = str(tmp_path / "lib/libnccl-net.so")
    found = ["-Wl,-rpath," + str(tmp_path), str(tmp_path / "libfabric.so.1")]
    subprocess.run([*shared, plugin, str(text), *found], check=True)
    script = aws_ofi_nccl.CHECK.replace(aws_ofi_nccl.PREFIX, str(tmp_path))
    libraries = aws_ofi_nccl.LDD.replace(aws_ofi_nccl.PREFIX, str(tmp_path))

    done = subprocess.run([sys.executable, "-c", script, release], capture_output=True, text=True, check=False)
    ldd = subprocess.run(["sh", "-c", libraries], capture_output=True, text=True, check=False)
    (tmp_path / "libfabric.so.1").unlink()
    missing = subprocess.run(["sh", "-c", libraries], capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert done.stdout == "plugin ncclNetPlugin_v10\nplugin ncclTunerPlugin_v3\nit calls itself aws-ofi-nccl 1.16.3\n"
    assert ldd.returncode == 0
    assert f"libfabric.so.1 => {tmp_path}/libfabric.so.1\n" in ldd.stdout
    assert "0x" not in ldd.stdout, "an address differs each time"
    assert missing.returncode == 1


@pytest.mark.parametrize("script", [aws_ofi_nccl.LDD, kernels.LDD], ids=["plugin", "kernels"])
def test_a_library_that_ldd_cannot_read_fails_its_check(tmp_path: Path, script: str) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libnccl-net.so").write_text("no library\n")
    text = script.replace(aws_ofi_nccl.PREFIX, str(tmp_path))
    lines = [f"torch={tmp_path}" if line.startswith("torch=") else line for line in text.splitlines()]

    done = subprocess.run(["sh", "-c", "\n".join(lines), str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 1
