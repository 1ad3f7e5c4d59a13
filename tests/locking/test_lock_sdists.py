"""What builds a source distribution is locked too: with packages of directories and of indexes on loopback."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from tests.builders.sdists import backend, hash_of, make_sdist
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import PLAIN, Alternative, Build, Image
from vep_dagger.dsl.step import Install
from vep_dagger.errors import LockError
from vep_dagger.locking.python import Resolved, resolve_python
from vep_dagger.locking.sdist import build_system
from vep_dagger.matrix.lock import Lock, PythonEntry
from vep_dagger.plan.locking import PythonRequest, locked, requests

MakeWheel = Callable[..., Path]
Resolve = Callable[..., Resolved]


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def resolve(environ: dict[str, str], links: Path, uv_cache: Path, said: list[str], tmp_path: Path) -> Resolve:
    """Resolve requirements on a machine that has the directory of packages alone, unless variables say otherwise."""
    own = {
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(links),
        "UV_CACHE_DIR": str(uv_cache),
        "PIP_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }

    def of(
        *requirements: str, indexes: tuple[str, ...] = (), mirrors: dict[str, str] | None = None, **more: str
    ) -> Resolved:
        step = Install("/venv", (Alternative(requirements, indexes=indexes),))
        settings = BuildSettings(environ=environ | own | more, mirrors=mirrors or {}, directory=tmp_path)
        return anyio.run(resolve_python, PythonRequest(step, "3.12", "linux/amd64"), settings, said.append)

    return of


def line(file: Path) -> str:
    """A file as a lock has it."""
    name, version, *_ = file.name.removesuffix(".tar.gz").split("-")
    return f"{name.replace('_', '-')}=={version} {hash_of(file)}"


def test_what_builds_a_source_distribution_is_locked_with_its_hash(
    resolve: Resolve, links: Path, make_wheel: MakeWheel, said: list[str]
) -> None:
    helper, ready = make_wheel("vep-helper"), make_wheel("vep-ready")
    tool = make_wheel("vep-backend", "2.0", needs=("vep-helper",), files=backend("2.0"))
    make_wheel("vep-backend", "3.0", files=backend("3.0"))
    app = make_sdist(links, "vep-app", requires=("vep-backend<3",))
    found = resolve("vep-app", "vep-ready")
    assert found.packages == [line(app), line(ready)]
    assert found.build == {"vep-app": [line(tool), line(helper)]}
    assert "vep-app 1.0 has no wheel: resolving what builds it" in said


def test_where_all_packages_have_wheels_nothing_is_said_of_builds(
    resolve: Resolve, links: Path, make_wheel: MakeWheel
) -> None:
    make_wheel("vep-app")
    make_sdist(links, "vep-app")
    assert resolve("vep-app").build == {}


def test_what_builds_the_tools_that_have_no_wheel_is_locked_as_well(
    resolve: Resolve, links: Path, make_wheel: MakeWheel
) -> None:
    inner = make_wheel("vep-inner")
    tool = make_sdist(links, "vep-backend", requires=("vep-inner",))
    make_sdist(links, "vep-app")
    assert resolve("vep-app").build == {"vep-app": [line(tool), line(inner)]}


def test_each_source_distribution_has_its_own_tools(resolve: Resolve, links: Path, make_wheel: MakeWheel) -> None:
    old, new = (make_wheel("vep-backend", each, files=backend(each)) for each in ("1.0", "2.0"))
    make_sdist(links, "vep-one", requires=("vep-backend==1.0",))
    make_sdist(links, "vep-two", requires=("vep-backend==2.0",))
    make_sdist(links, "vep-none", requires=())
    assert resolve("vep-one", "vep-two", "vep-none").build == {
        "vep-none": [],
        "vep-one": [line(old)],
        "vep-two": [line(new)],
    }


@pytest.mark.parametrize("files", [{}, {"pyproject.toml": "[project]\nname = 'vep-app'\nversion = '1.0'\n"}])
def test_setuptools_builds_what_does_not_say_what_does(
    resolve: Resolve, links: Path, make_wheel: MakeWheel, files: dict[str, str]
) -> None:
    setuptools = make_wheel("setuptools", "75.0")
    make_sdist(links, "vep-app", requires=None, files=files)
    assert resolve("vep-app").build == {"vep-app": [line(setuptools)]}


def test_what_a_build_asks_for_as_it_runs_is_locked_as_well(
    resolve: Resolve, links: Path, make_wheel: MakeWheel
) -> None:
    tool, extra = make_wheel("vep-backend", files=backend("1.0")), make_wheel("vep-extra")
    make_sdist(links, "vep-app", asks=("vep-extra",))
    assert resolve("vep-app").build == {"vep-app": [line(tool), line(extra)]}


def test_what_a_build_would_take_from_this_machine_is_locked_as_well(
    resolve: Resolve, links: Path, make_wheel: MakeWheel
) -> None:
    asks = "import shutil\ndef get_requires_for_build_wheel(settings=None):\n    return FOUND\n"
    found = '[] if shutil.which("sh") else ["vep-extra"]'
    tool = make_wheel("vep-backend", files={"vep_backend/__init__.py": asks.replace("FOUND", found)})
    extra = make_wheel("vep-extra")
    make_sdist(links, "vep-app")
    assert resolve("vep-app").build == {"vep-app": [line(tool), line(extra)]}


def test_a_build_that_needs_programs_of_this_machine_to_be_asked_has_them(
    resolve: Resolve, links: Path, make_wheel: MakeWheel
) -> None:
    asks = "import subprocess\ndef get_requires_for_build_wheel(settings=None):\n"
    asks += "    subprocess.run(['sh', '-c', 'exit'], check=True)\n    return ['vep-extra']\n"
    tool = make_wheel("vep-backend", files={"vep_backend/__init__.py": asks})
    extra = make_wheel("vep-extra")
    make_sdist(links, "vep-app")
    assert resolve("vep-app").build == {"vep-app": [line(tool), line(extra)]}


def test_a_build_that_cannot_be_asked_has_what_it_says_itself_and_that_is_told(
    resolve: Resolve, links: Path, make_wheel: MakeWheel, said: list[str]
) -> None:
    broken = make_wheel("vep-backend", files={"vep_backend/__init__.py": "raise RuntimeError('no device')"})
    make_sdist(links, "vep-app")
    assert resolve("vep-app").build == {"vep-app": [line(broken)]}
    (told,) = [each for each in said if "could not be asked" in each]
    assert told.startswith("the build of vep-app 1.0 could not be asked what else it needs: ")


def test_a_source_distribution_that_nobody_could_build_is_refused(resolve: Resolve, links: Path) -> None:
    make_sdist(links, "vep-app", requires=None, files={"pyproject.toml": "[build-system]\nbuild-backend = 'x'\n"})
    with pytest.raises(LockError, match="a table build-system without a list of requirements"):
        resolve("vep-app")


def test_a_file_that_is_no_source_distribution_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vep_app-1.0.tar.gz"
    file.write_bytes(b"no archive")
    with pytest.raises(LockError, match="cannot be read"):
        build_system(file, file.as_uri())


def test_a_tool_that_nobody_has_is_an_error_that_names_what_it_is_for(
    resolve: Resolve, links: Path, make_wheel: MakeWheel
) -> None:
    make_sdist(links, "vep-app", requires=("vep-lost>=2",))
    make_wheel("vep-lost", "1.0")
    with pytest.raises(LockError, match=r"what builds vep-app 1\.0 cannot be locked: .*vep-lost") as caught:
        resolve("vep-app")
    assert "\n" not in caught.value.what


def test_tools_are_found_in_further_places_through_the_mirrors(
    resolve: Resolve, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    tool = make_wheel("vep-backend", files=backend("1.0"), to=mirror)
    make_sdist(mirror, "vep-app")
    found = resolve("vep-app", indexes=("https://example.org/w/",), mirrors={"https://example.org/w/": f"{mirror}/"})
    assert found.build == {"vep-app": [line(tool)]}


@contextmanager
def index(links: Path, password: str = "", wrong: str = "") -> Iterator[str]:
    """A package index on loopback with the files of a directory, which may ask for a password of ``me``; what it says
    of the file ``wrong`` is not so. Gives its host.
    """
    expected = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if password and self.headers.get("Authorization") != expected:
                self._answer(401, b"")
                return
            kind, name = self.path.strip("/").split("/")
            if kind == "files":
                self._answer(200, (links / name).read_bytes() + (b"changed" if name == wrong else b""))
                return
            files = [each for each in sorted(links.iterdir()) if each.name.startswith(name.replace("-", "_") + "-")]
            rows = (f'<a href="/files/{each.name}#sha256={hash_of(each)[7:]}">{each.name}</a>' for each in files)
            self._answer(200 if files else 404, "".join(rows).encode())

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            if code == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("way", ["address", "variables"])
def test_an_index_with_a_password_is_asked_with_it_and_it_stays_hidden(
    resolve: Resolve, tmp_path: Path, make_wheel: MakeWheel, said: list[str], way: str
) -> None:
    place = tmp_path / "served"
    place.mkdir()
    tool, app = make_wheel("vep-backend", files=backend("1.0"), to=place), make_sdist(place, "vep-app")
    with index(place, "pass word") as host:
        named = {"UV_DEFAULT_INDEX": f"own=http://{host}/simple"}
        told = {
            "address": {"UV_DEFAULT_INDEX": f"http://me:pass%20word@{host}/simple"},
            "variables": {**named, "UV_INDEX_OWN_USERNAME": "me", "UV_INDEX_OWN_PASSWORD": "pass word"},
        }
        found = resolve("vep-app", UV_OFFLINE="0", UV_FIND_LINKS="", **told[way])
        assert found == Resolved([line(app)], {"vep-app": [line(tool)]})
        assert not [each for each in said if "pass" in each]


def test_a_source_distribution_that_is_not_what_the_index_says_is_refused(
    resolve: Resolve, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    place = tmp_path / "served"
    place.mkdir()
    make_wheel("vep-backend", files=backend("1.0"), to=place)
    app = make_sdist(place, "vep-app")
    with index(place, wrong=app.name) as host, pytest.raises(LockError, match="is not what the index says") as caught:
        resolve("vep-app", UV_OFFLINE="0", UV_FIND_LINKS="", UV_DEFAULT_INDEX=f"http://{host}/simple")
    assert hash_of(app)[7:] in caught.value.what


def test_the_lock_alone_gives_an_installation_what_builds_it(tmp_path: Path) -> None:
    image = Image("own", "own", "1", PLAIN, Build().python("3.12").install("vep-app"), device="cpu")
    (request,) = requests([image]).values()
    digest = {name: f"sha256:{name * 64}" for name in "abc"}
    plain = request.entry("environment").model_copy(update={"packages": [f"vep-app==1.0 {digest['a']}"]})

    def through_a_file(entry: PythonEntry) -> Lock:
        path = tmp_path / "matrix.lock"
        path.write_text(Lock.made([entry]).text())
        return Lock.load(path)

    def with_tools(*lines: str) -> Lock:
        return through_a_file(plain.model_copy(update={"build": {"vep-app": list(lines)}}))

    locks = [
        through_a_file(plain),
        with_tools(),
        with_tools(f"vep-backend==1.0 {digest['b']}"),
        with_tools(f"vep-backend==1.0 {digest['c']}"),
    ]
    assert len({lock.digest for lock in locks}) == len({locked(image, lock).key for lock in locks}) == 4
    step = locked(image, locks[2]).build.steps[-1]
    assert isinstance(step, Install)
    assert step.locked is not None
    (tool,) = step.locked[0].build or ()
    assert (tool.name, tool.version, tool.hashes) == ("vep-backend", "1.0", (digest["b"],))
