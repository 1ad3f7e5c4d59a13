from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.builders.builder_labs import KINDS, Lab, OwnCacheLab, RootLab, kinds

MakeWheel = Callable[..., Path]


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """A directory of wheels, the only place where packages come from."""
    directory = tmp_path / "links"
    directory.mkdir()
    return directory


@pytest.fixture
def make_wheel(links: Path) -> MakeWheel:
    """Put a small pure-Python wheel into the directory of wheels."""

    def make(
        name: str,
        version: str = "1.0",
        *,
        needs: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
        to: Path = links,
    ) -> Path:
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        content = {
            f"{module}/__init__.py": f"VERSION = {version!r}\n",
            f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            **(files or {}),
        }
        content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
        file = to / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as wheel:
            for path, text in content.items():
                wheel.writestr(path, text)
        return file

    return make


@pytest.fixture(scope="session")
def sources_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vep-cache")


@pytest.fixture
def surroundings(links: Path, uv_cache: Path, sources_cache: Path, tmp_path: Path) -> dict[str, str]:
    """Variables of a machine without a network, whose packages lie in the directory of wheels."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(links),
        "UV_CACHE_DIR": str(uv_cache),
        "VEP_CACHE_DIR": str(sources_cache),
        "PIP_CONFIG_FILE": os.devnull,
        "SECRET_TOKEN": "s3cr3t-value",
    }


def _open(request: pytest.FixtureRequest, directory: Path, environ: dict[str, str]) -> Iterator[Any]:
    made = KINDS[request.param].make(request, directory, environ)
    yield made
    made.close()


@pytest.fixture(params=kinds())
def lab(request: pytest.FixtureRequest, tmp_path: Path, surroundings: dict[str, str]) -> Iterator[Lab]:
    """A builder under test, with a way to look into what it has built."""
    yield from _open(request, tmp_path, surroundings)


@pytest.fixture(params=kinds("root"))
def root_lab(request: pytest.FixtureRequest, tmp_path: Path, surroundings: dict[str, str]) -> Iterator[RootLab]:
    """The same for builders whose images have a root file system."""
    yield from _open(request, tmp_path, surroundings)


@pytest.fixture(params=kinds("own-cache"))
def own_lab(request: pytest.FixtureRequest, tmp_path: Path, surroundings: dict[str, str]) -> Iterator[OwnCacheLab]:
    """The same for builders that keep their results in a directory of ours."""
    yield from _open(request, tmp_path, surroundings)
