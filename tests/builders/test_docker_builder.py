"""What the builder for Docker does beyond what every builder does: on the daemon of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import pytest

from vep_dagger.builders.base import BuiltImage, BuiltLayer
from vep_dagger.builders.docker.builder import DockerBuilder
from vep_dagger.builders.docker.published import RegistryBuilder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import PLAIN, Alternative, Build, Image, Layer, git
from vep_dagger.dsl import image as image_source
from vep_dagger.dsl.step import Install
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError

SECRET = "s3cr3t-value-of-a-test"


class Bench:
    """A builder, and what it said. ``salt`` is in every image, so that nothing of it is cached already."""

    def __init__(self, directory: Path, docker: Docker, plain: str) -> None:
        self.log = directory / "images" / "build.log"
        self.docker = docker
        self.settings = BuildSettings(
            plain_base=plain, network="host", environ={**os.environ, "SECRET_TOKEN": SECRET}, directory=directory
        )
        self.salt = uuid.uuid4().hex
        self.told: list[BuiltLayer] = []
        self.said: list[str] = []
        self.names: list[str] = []

    def image(self, *layers: Layer, build: Build | None = None, tag: str = "probe1") -> Image:
        return Image("docker-probe", tag, "1", PLAIN, build or Build(), layers)

    def layer(self, name: str, *script: str, needs: tuple[Layer, ...] = ()) -> Layer:
        text = "; ".join([f": {self.salt}; mkdir -p /opt/{name}", *script])
        return Layer(name, f"/opt/{name}", PLAIN, needs, Build().run("sh", "-ec", text))

    def build(self, image: Image, **settings: object) -> BuiltImage:
        builder = DockerBuilder(replace(self.settings, **settings), self.docker)  # type: ignore[arg-type]
        built = anyio.run(builder.build, image, self.log, self.said.append, self.told.append)
        self.names.append(built.location)
        return built

    def states(self, built: BuiltImage) -> dict[str, str]:
        return {layer.name: layer.state for layer in built.layers}

    def do(self, *words: str) -> str:
        done = subprocess.run(
            [self.docker.program, *words], env=dict(self.docker.environ), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def bench(tmp_path: Path, docker: Docker, plain_base: str) -> Iterator[Bench]:
    made = Bench(tmp_path, docker, plain_base)
    yield made
    for name in dict.fromkeys(made.names):
        subprocess.run([docker.program, "image", "rm", "--force", name], capture_output=True, check=False)


def test_a_second_build_finds_the_image_and_a_changed_step_builds_what_needs_it(bench: Bench) -> None:
    one, other = bench.layer("one", "date > /opt/one/x"), bench.layer("other", "echo 1 > /opt/other/x")
    user = bench.layer("user", "cp /opt/one/x /opt/user/x", needs=(one,))
    first = bench.build(bench.image(one, other, user))
    assert not first.cached
    assert {bench.states(first)[name] for name in ("one", "other", "user")} == {"built"}
    again = bench.build(bench.image(one, other, user))
    assert again.cached
    assert set(bench.states(again).values()) == {"cached"}
    assert again.location == first.location
    changed = bench.layer("one", "date +%N > /opt/one/x")
    later = bench.build(bench.image(changed, other, replace(user, needs=(changed,))))
    assert bench.states(later) == {"one": "built", "other": "cached", "user": "built", "image": "built"}


def test_an_image_without_its_name_is_put_together_from_cached_steps(bench: Bench) -> None:
    made = bench.image(bench.layer("one", "echo 1 > /opt/one/x"))
    bench.build(made)
    bench.do("image", "rm", bench.do("image", "inspect", "--format", "{{index .RepoTags 0}}", bench.names[0]).strip())
    again = bench.build(made)
    assert again.cached
    assert "CACHED" in bench.log.read_text()


def test_another_name_for_a_cache_builds_nothing(bench: Bench) -> None:
    step = ("sh", "-c", f": {bench.salt}; date > /etc/probe")
    bench.build(bench.image(build=Build().cache("one-name", "/cache").run(*step)))
    assert bench.build(bench.image(build=Build().cache("another", "/cache").run(*step))).cached


def test_a_failed_step_says_where_and_how_to_look_and_its_context_stays(bench: Bench) -> None:
    made = bench.layer("torn", "echo fine")
    steps = made.build.run("sh", "-c", "echo the reason; exit 7")
    with pytest.raises(BuildError) as caught:
        bench.build(bench.image(replace(made, build=steps)))
    error = caught.value
    assert (error.layer, error.code, error.output) == ("torn", 7, ("the reason",))
    assert error.hint is not None
    assert "docker run -it" in error.hint
    assert [layer.state for layer in bench.told if layer.name == "torn"][-1] == "failed"
    found = re.search(r"-f (\S+) (\S+) &&", error.hint)
    assert found is not None
    target = f"vep-debug-{bench.salt}"
    environment = {**bench.docker.environ, "DOCKER_BUILDKIT": "1"}
    command = [bench.docker.program, "build", "--network=host", "-q", "-t", target, "-f", *found.groups()]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    bench.names.append(target)
    bench.do("run", "--rm", "--network=host", target, "test", "-d", "/opt/torn")


def test_a_layer_that_leaves_nothing_at_its_prefix_is_told(bench: Bench) -> None:
    made = bench.layer("empty", "rmdir /opt/empty")
    with pytest.raises(BuildError, match="'empty' left nothing at /opt/empty"):
        bench.build(bench.image(made))


def test_nothing_of_the_build_leaks_into_the_image(bench: Bench) -> None:
    chain = (
        Build().workdir("/srv").env(INNER="1").secret("SECRET_TOKEN")
        .run("sh", "-c", f": {bench.salt}; echo $INNER; echo told $SECRET_TOKEN").export(OUTER="2")
    )  # fmt: skip
    built = bench.build(bench.image(build=chain))
    config = bench.do("image", "inspect", built.location)
    history = bench.do("history", "--no-trunc", built.location)
    assert {name for name in built.env if name != "PATH"} == {"OUTER"}
    assert '"WorkingDir": ""' in config
    assert "told <SECRET_TOKEN>" in bench.log.read_text()
    assert SECRET not in config + history + bench.log.read_text() + "".join(bench.said)
    left = bench.do("run", "--rm", "--network=host", built.location, "sh", "-c", "ls -A /run /srv; echo $0")
    assert "vep" not in left
    assert "secrets" not in left


def test_no_context_stays_when_all_went_well(bench: Bench) -> None:
    bench.build(bench.image(bench.layer("one")))
    assert [path.name for path in bench.log.parent.iterdir()] == ["build.log"]


def test_a_base_that_cannot_be_had_is_named_with_what_docker_said(bench: Bench, loopback_registry: str) -> None:
    ref = f"{loopback_registry}/nothing/here:1"
    with pytest.raises(MachineError) as caught:
        bench.build(bench.image(bench.layer("one")), plain_base=ref)
    assert ref in caught.value.what
    assert "mirrors" in (caught.value.hint or "")


def test_what_is_not_pinned_is_refused_without_an_engine() -> None:
    builder = DockerBuilder(BuildSettings(), None)
    source = git("https://example.org/kit.git", None, ref="main")
    loose = Layer("loose", "/opt/loose", PLAIN, (), Build().mount(source, "/src").run("true"))
    with pytest.raises(BuildError, match="'loose'"):
        builder.refuse(Image("probe", "p", "1", PLAIN, Build(), (loose,)))
    with pytest.raises(BuildError, match="has no digest"):
        builder.refuse(Image("probe", "p", "1", image_source("debian:12"), Build()))


def test_an_image_goes_to_a_registry_and_into_an_archive_and_comes_back(
    bench: Bench, loopback_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python = Build().python(">=3.11").install("six", parts=(("six",),))
    lock = [replace(step, locked=()) if isinstance(step, Install) else step for step in python.steps]
    one = bench.layer("one", "echo 1 > /opt/one/x")
    made = bench.image(one, build=replace(python, steps=tuple(lock)), tag=f"t-{bench.salt[:8]}")
    repository = f"{loopback_registry}/probe"
    built = bench.build(made, publish=repository, export=Path("out"))
    assert built.published == f"{repository}:{made.tag}@{built.digest}"
    assert built.exported == str(Path("out") / f"{made.tag}.tar")
    with tarfile.open(built.exported) as archive:
        assert {"oci-layout", "index.json", "manifest.json"} <= set(archive.getnames())
    bench.do("image", "rm", "--force", built.location)
    taker = RegistryBuilder(replace(bench.settings, published=repository), bench.docker)
    taken = anyio.run(taker.build, made, bench.log, bench.said.append)
    assert (taken.location, taken.digest, taken.published) == (built.location, built.digest, built.published)
    assert {layer.state for layer in taken.layers} == {"taken"}
    # The published image itself says how large its layers are, and its Python environment.
    told = [(layer.name, layer.key, layer.size_bytes, layer.parts) for layer in built.layers]
    assert [(layer.name, layer.key, layer.size_bytes, layer.parts) for layer in taken.layers] == told
    sizes = {name: size for name, _, size, _ in told}
    assert sizes["one"] is not None
    assert sizes["environment"] == sum(next(parts for name, _, _, parts in told if name == "environment").values()) > 0
    other = replace(made, build=Build().run("true"))
    with pytest.raises(BuildError, match="was made of something else"):
        anyio.run(taker.build, other, bench.log, bench.said.append)


def test_a_registry_that_refuses_is_told_with_the_way_in(bench: Bench) -> None:
    with pytest.raises(BuildError) as caught:
        # Port 9 of this machine: nobody listens there.
        bench.build(bench.image(bench.layer("one")), publish="127.0.0.1:9/me/probe")
    assert "127.0.0.1:9/me/probe:probe1" in caught.value.what
    assert "docker login 127.0.0.1:9" in (caught.value.hint or "")


@pytest.mark.parametrize("place", ["registry", "directory"])
def test_kept_layers_are_taken_and_not_built(
    bench: Bench, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    keep = str(tmp_path / "kept")
    if place == "registry":
        keep = f"{request.getfixturevalue('loopback_registry')}/kept"
    one = bench.layer("one", "date +%N > /opt/one/x", "chmod 700 /opt/one")
    bench.build(bench.image(one), keep=keep)
    kept = bench.do("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=dev.vep.key").split()
    for name in kept:
        if ":layer-" in name and name.startswith(("vep/kept", keep)):
            bench.do("image", "rm", "--force", name)
    user = bench.layer("user", "cp /opt/one/x /opt/user/x", needs=(one,))
    built = bench.build(bench.image(one, user), keep=keep)
    assert bench.states(built) == {"one": "taken", "user": "built", "image": "built"}
    mode = bench.do("run", "--rm", "--network=host", built.location, "stat", "-c", "%a", "/opt/one")
    assert mode.strip() == "700"


def cancelled(bench: Bench, made: Image) -> None:
    """Build an image, and cancel that when its step says that it runs."""

    def begun() -> bool:
        text = bench.log.read_text() if bench.log.exists() else ""
        return re.search(r"^#\d+ [\d.]+ begun", text, re.MULTILINE) is not None

    async def main() -> None:
        async with anyio.create_task_group() as group:
            builder = DockerBuilder(bench.settings, bench.docker)
            group.start_soon(builder.build, made, bench.log, bench.said.append)
            with anyio.fail_after(60):
                while not begun():  # noqa: ASYNC110 - the daemon wakes nobody here
                    await anyio.sleep(0.1)
            group.cancel_scope.cancel()

    anyio.run(main)


def gone(word: str, running: Callable[[], str]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if word not in running():
            return True
        time.sleep(0.2)
    return False


def processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_cancelling_ends_the_step_in_the_daemon_and_leaves_no_context(bench: Bench) -> None:
    word = f"sleep 31.{int(bench.salt[:6], 16)}"
    cancelled(bench, bench.image(bench.layer("slow", "echo begun", word)))
    assert gone(word, processes)
    assert [path.name for path in bench.log.parent.iterdir()] == ["build.log"]


def test_a_client_that_is_killed_is_no_fault_of_the_recipe(bench: Bench, tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text(
        f'#!/bin/sh\nif [ "$1" = build ]; then echo "#1 [internal] load build definition"; kill -9 $$; fi\n'
        f'exec {bench.docker.program} "$@"\n'
    )
    client.chmod(0o755)
    builder = DockerBuilder(bench.settings, replace(bench.docker, program=str(client)))
    with pytest.raises(MachineError, match="no step had failed"):
        anyio.run(builder.build, bench.image(bench.layer("one")), bench.log, bench.said.append)


def test_a_full_disk_is_the_machines_fault(bench: Bench) -> None:
    with pytest.raises(MachineError, match="no space left"):
        bench.build(bench.image(bench.layer("one", "echo 'x: No space left on device'; exit 1")))
    eager = DockerBuilder(bench.settings, bench.docker, min_free_bytes=1 << 62)
    with pytest.raises(MachineError, match="no space left"):
        anyio.run(eager.ready, bench.image(bench.layer("new")))


def test_an_image_that_is_there_needs_no_space(bench: Bench) -> None:
    made = bench.image(bench.layer("one"))
    bench.build(made)
    anyio.run(DockerBuilder(bench.settings, bench.docker, min_free_bytes=1 << 62).ready, made)


def test_an_image_of_another_platform_is_not_begun(bench: Bench) -> None:
    foreign = replace(bench.image(), platform="linux/s390x")
    with pytest.raises(MachineError, match="builds for"):
        anyio.run(DockerBuilder(bench.settings, bench.docker).ready, foreign)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """A page of links to the files of a directory, at an address of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_further_places_are_looked_for_where_mirrors_have_them_and_another_mirror_builds_nothing_anew(
    bench: Bench, make_wheel: Callable[..., Path]
) -> None:
    page = make_wheel("vep-mirrored").parent
    way = Alternative(("vep-mirrored",), indexes=("https://whl.invalid/cpu/",))
    environ = {**bench.settings.environ, "UV_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    build = Build().env(SALT=bench.salt).python(">=3.11").install(way)
    with served(page) as address:
        built = bench.build(bench.image(build=build), environ=environ, mirrors={"https://whl.invalid/cpu/": address})
    assert built.packages == {"vep-mirrored": "1.0"}
    # Nobody answers there any more: what is installed comes from Docker's cache.
    more = bench.image(build=build.write("/more", "of it"), tag="probe2")
    mirrors = {"https://whl.invalid/": "http://127.0.0.1:9/"}
    assert bench.build(more, environ=environ, mirrors=mirrors).packages == {"vep-mirrored": "1.0"}
