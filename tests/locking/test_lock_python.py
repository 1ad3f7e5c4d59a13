"""What a Python environment is locked to: with packages of a directory, and no network."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import Alternative
from vep_dagger.dsl.step import Install
from vep_dagger.errors import LockError, MachineError
from vep_dagger.locking.python import resolve_python
from vep_dagger.locking.wheels import admitted
from vep_dagger.plan.locking import PythonRequest

Resolve = Callable[..., list[str]]


@pytest.fixture
def links(tmp_path: Path) -> Path:
    directory = tmp_path / "links"
    directory.mkdir()
    return directory


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def resolve(tmp_path: Path, links: Path, said: list[str], uv_cache: Path) -> Resolve:
    """Resolve alternatives (or the requirements of one) on a machine that has the directory of packages alone."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(links),
        "UV_CACHE_DIR": str(uv_cache),
        "PIP_CONFIG_FILE": os.devnull,
    }

    def of(
        *ways: str | Alternative,
        python: str = "3.12",
        platform: str = "linux/amd64",
        mirrors: dict[str, str] | None = None,
        excluded: tuple[str, ...] = (),
        **more: str,
    ) -> list[str]:
        found = tuple(way for way in ways if isinstance(way, Alternative))
        found = found or (Alternative(tuple(str(way) for way in ways)),)
        step = Install("/venv", found, excluded)
        settings = BuildSettings(environ=environ | more, mirrors=mirrors or {})
        return anyio.run(resolve_python, PythonRequest(step, python, platform), settings, said.append).packages

    return of


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


def wheel(directory: Path, name: str, version: str, tag: str = "py3-none-any", needs: tuple[str, ...] = ()) -> str:
    """Make a wheel; its hash as a lock has it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    file = directory / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {need}\n" for need in needs))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return _hash(file)


def source(directory: Path, name: str, version: str) -> str:
    """Make a source distribution whose metadata is final (PEP 643); its hash as a lock has it."""
    file = directory / f"{name}-{version}.tar.gz"
    texts = {"PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n", "pyproject.toml": "[project]\n"}
    texts["pyproject.toml"] += f'name = "{name}"\nversion = "{version}"\n[build-system]\nrequires = []\n'
    with tarfile.open(file, "w:gz") as archive:
        for path, text in texts.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return _hash(file)


def _hash(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def test_all_that_is_needed_is_named_in_order_with_the_hash_of_its_file(resolve: Resolve, links: Path) -> None:
    app = wheel(links, "vep-app", "1.0", needs=("vep-Lib>=1", "vep-unwanted"))
    lib = wheel(links, "vep-lib", "1.2")
    assert resolve("vep-app", excluded=("vep-unwanted",)) == [f"vep-app==1.0 {app}", f"vep-lib==1.2 {lib}"]


def test_wheels_that_fit_the_platform_and_the_python_are_kept_and_no_others(resolve: Resolve, links: Path) -> None:
    hashes = {
        tag: wheel(links, "vep-native", "1.0", tag)
        for tag in (
            "cp311-cp311-manylinux_2_28_x86_64",
            "cp312-cp312-manylinux_2_28_x86_64",
            "cp312-cp312-manylinux_2_17_aarch64",
            "cp312-cp312-manylinux_2_39_x86_64",
            "cp312-cp312-musllinux_1_2_x86_64",
            "cp312-cp312-win_amd64",
            "cp313-cp313-manylinux2014_x86_64",
            "cp313-cp313t-manylinux2014_x86_64",
            "cp39-abi3-manylinux2014_x86_64",
        )
    }
    source(links, "vep_native", "1.0")

    def kept(*tags: str) -> list[str]:
        return [" ".join(("vep-native==1.0", *sorted(hashes[tag] for tag in tags)))]

    assert resolve("vep-native") == kept("cp312-cp312-manylinux_2_28_x86_64", "cp39-abi3-manylinux2014_x86_64")
    assert resolve("vep-native", platform="linux/arm64") == kept("cp312-cp312-manylinux_2_17_aarch64")
    assert resolve("vep-native", python=">=3.12,<3.14") == kept(
        "cp312-cp312-manylinux_2_28_x86_64", "cp313-cp313-manylinux2014_x86_64", "cp39-abi3-manylinux2014_x86_64"
    )


def test_a_source_distribution_counts_only_where_no_wheel_fits(resolve: Resolve, links: Path) -> None:
    wheel(links, "vep-both", "1.0")
    source(links, "vep_both", "1.0")
    wheel(links, "vep-source", "1.0", "cp312-cp312-win_amd64")
    alone = source(links, "vep_source", "1.0")
    found = dict(line.split(" ", 1) for line in resolve("vep-both", "vep-source"))
    assert found["vep-source==1.0"] == alone
    assert found["vep-both==1.0"] != _hash(links / "vep_both-1.0.tar.gz")


def test_the_first_alternative_that_resolves_is_taken_and_the_others_are_told_of(
    resolve: Resolve, links: Path, said: list[str]
) -> None:
    wheel(links, "vep-app", "1.0", needs=("vep-torchy==2.0+cpu",))
    wheel(links, "vep-torchy", "2.0")
    cpu = Alternative(("vep-app", "vep-torchy==2.0+cpu"), note="the CPU build")
    ordinary = Alternative(("vep-app", "vep-torchy==2.0"), overrides=("vep-torchy==2.0",))
    assert [line.split(" ")[0] for line in resolve(cpu, ordinary)] == ["vep-app==1.0", "vep-torchy==2.0"]
    assert [line.partition(":")[0] for line in said] == ["passed over the CPU build"]


def test_further_places_are_looked_for_where_the_mirrors_say(resolve: Resolve, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    wheel(mirror, "vep-torchy", "2.0+cpu")
    way = Alternative(("vep-torchy",), indexes=("https://example.org/whl/",))
    found = resolve(way, mirrors={"https://example.org/whl/": f"{mirror}/"})
    assert [line.split(" ")[0] for line in found] == ["vep-torchy==2.0+cpu"]


def test_the_same_request_has_the_same_answer(resolve: Resolve, links: Path) -> None:
    for name in ("vep-c", "vep-a", "vep-b"):
        wheel(links, name, "1.0")
    assert resolve("vep-c", "vep-a", "vep-b") == resolve("vep-b", "vep-c", "vep-a")


def test_what_cannot_be_had_is_an_error_of_one_line_that_names_it(resolve: Resolve, links: Path) -> None:
    wheel(links, "vep-app", "1.0", needs=("vep-lost>=2",))
    wheel(links, "vep-lost", "1.0")
    with pytest.raises(LockError, match="vep-lost") as caught:
        resolve("vep-app")
    assert "\n" not in caught.value.what
    assert caught.value.where == "vep-app"


def test_an_index_that_does_not_answer_is_the_machines_affair_and_its_password_stays_hidden(resolve: Resolve) -> None:
    index = "http://me:pass-word@127.0.0.1:9/simple"
    with pytest.raises(MachineError, match="cannot be reached") as caught:
        resolve("vep-app", UV_OFFLINE="0", UV_DEFAULT_INDEX=index, UV_HTTP_RETRIES="0")
    assert "pass-word" not in str(caught.value)


def test_a_package_from_an_address_cannot_be_locked(resolve: Resolve, tmp_path: Path) -> None:
    wheel(tmp_path, "vep-app", "1.0")
    with pytest.raises(LockError, match="vep-app comes from an address"):
        resolve(f"vep-app @ file://{tmp_path}/vep_app-1.0-py3-none-any.whl")


def test_a_request_without_a_python_or_for_another_system_is_refused(resolve: Resolve) -> None:
    for python in ("", "nonsense", "<3"):
        with pytest.raises(LockError, match="admits no Python"):
            resolve("vep-app", python=python)
    with pytest.raises(LockError, match="linux/riscv64"):
        resolve("vep-app", platform="linux/riscv64")


@pytest.mark.parametrize(
    ("python", "lowest", "minors"),
    [
        ("3.12", "3.12.0", (12,)),
        ("3.12.4", "3.12.4", (12,)),
        (">=3.11.3,<3.14", "3.11.3", (11, 12, 13)),
        ("~=3.12.2", "3.12.2", (12,)),
    ],
)
def test_the_lowest_python_of_a_request_is_resolved_for(python: str, lowest: str, minors: tuple[int, ...]) -> None:
    found = admitted(python)
    assert found is not None
    assert (found.lowest, found.minors) == (lowest, minors)
