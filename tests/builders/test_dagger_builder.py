"""What the builder for Dagger does of its own, on a real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vep_dagger.builders.base import BuiltImage, BuiltLayer
from vep_dagger.builders.dagger.builder import DaggerBuilder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import PLAIN, Build, Image, Layer
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError

pytestmark = pytest.mark.engine


class Bench:
    """Builds, and looks into what was built."""

    def __init__(self, session: DaggerSession, portal: Any, plain: str, directory: Path) -> None:
        self.session, self.portal = session, portal
        self.fresh = uuid.uuid4().hex
        self.log = directory / "build.log"
        self.heard: list[BuiltLayer] = []
        self.said: list[str] = []
        self.settings = BuildSettings(plain_base=plain, directory=directory, environ=dict(os.environ))

    def change(self, **settings: Any) -> None:
        self.settings = replace(self.settings, **settings)

    def image(self, build: Build, *layers: Layer, tag: str = "probe1") -> Image:
        build = replace(build, steps=(*Build().write("/opt/fresh", self.fresh).steps, *build.steps))
        return Image(recipe="probe", tag=tag, release="1", base=PLAIN, build=build, layers=layers, device="cpu")

    def layer(self, name: str, build: Build, *needs: Layer) -> Layer:
        build = replace(build, steps=(*Build().write(f"/opt/{name}/fresh", self.fresh).steps, *build.steps))
        return Layer(name, f"/opt/{name}", PLAIN, needs, build)

    def build(self, image: Image) -> BuiltImage:
        self.heard.clear()
        builder = DaggerBuilder(self.settings, self.session)
        built: BuiltImage = self.portal.call(
            partial(builder.build, image, self.log, self.said.append, self.heard.append)
        )
        return built

    def file(self, built: BuiltImage, path: str) -> str:
        import dagger

        container = built.handle
        assert isinstance(container, dagger.Container)
        text: str = self.portal.call(container.file(path).contents)
        return text


@pytest.fixture
def bench(dagger_session: DaggerSession, dagger_portal: Any, plain_base: str, tmp_path: Path) -> Bench:
    return Bench(dagger_session, dagger_portal, plain_base, tmp_path)


def states(built: BuiltImage) -> dict[str, str]:
    return {layer.name: layer.state for layer in built.layers}


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def test_the_surroundings_reach_commands_and_are_neither_content_nor_key(bench: Bench, tmp_path: Path) -> None:
    image = bench.image(Build().env(INNER="1").run(*shell("echo $HTTP_PROXY $INNER > /opt/seen")))
    bench.settings.environ.update(HTTP_PROXY="http://me:pass-word@proxy.invalid:1")  # type: ignore[attr-defined]
    first = bench.build(image)
    assert bench.file(first, "/opt/seen") == "http://me:pass-word@proxy.invalid:1 1\n"
    names = [name for name in first.env if name in ("HTTP_PROXY", "INNER", "TRACEPARENT") or name.startswith("OTEL")]
    assert names == []
    bundle = tmp_path / "other.pem"
    bundle.write_text("another bundle\n")
    bench.change(environ={**os.environ, "HTTP_PROXY": "http://other.invalid:2", "SSL_CERT_FILE": str(bundle)})
    again = bench.build(image)
    assert again.cached
    assert bench.file(again, "/opt/seen") == bench.file(first, "/opt/seen")


def test_a_secret_is_nowhere_and_another_value_builds_nothing(bench: Bench) -> None:
    script = shell("echo it is $TOKEN; printf $TOKEN | wc -c > /opt/length; env | grep -c TOKEN")
    image = bench.image(Build().secret("TOKEN").run(*script))
    bench.change(environ={**os.environ, "TOKEN": "first-s3cr3t"})
    built = bench.build(image)
    assert bench.file(built, "/opt/length") == "12\n"
    assert "it is <TOKEN>" in bench.log.read_text()
    bench.change(environ={**os.environ, "TOKEN": "second-long-s3cr3t"})
    assert bench.build(image).cached
    everything = bench.log.read_text() + repr(built) + repr(bench.heard) + repr(bench.said)
    everything += bench.session.log.read_text("utf-8", "replace") if bench.session.log else ""
    assert "s3cr3t" not in everything


def test_layers_that_do_not_name_each_other_are_built_at_the_same_time(bench: Bench) -> None:
    def slow(name: str) -> Layer:
        clock = f"date +%s.%N >> /opt/{name}/clock"
        return bench.layer(name, Build().run(*shell(f"{clock}; sleep 8; {clock}")))

    built = bench.build(bench.image(Build(), slow("one"), slow("two")))
    (begin_1, end_1), (begin_2, end_2) = (
        map(float, bench.file(built, f"/opt/{name}/clock").split()) for name in ("one", "two")
    )
    assert max(begin_1, begin_2) < min(end_1, end_2)
    assert states(built)["one"] == states(built)["two"] == "built"
    assert next(layer.state for layer in bench.heard if layer.name == "one") == "building"
    assert all(layer.seconds >= 8 for layer in built.layers if layer.name in ("one", "two"))


def test_a_failing_step_says_how_to_get_a_shell_there(bench: Bench) -> None:
    layer = bench.layer("broken", Build().run(*shell("echo quite fine")).run(*shell("echo the reason; exit 7")))
    with pytest.raises(BuildError) as caught:
        bench.build(bench.image(Build(), layer))
    error = caught.value
    assert (error.layer, error.code, error.output) == ("broken", 7, ("the reason",))
    assert error.hint is not None
    assert "dagger run -i" in error.hint
    assert [layer.state for layer in bench.heard if layer.name == "broken"][-1] == "failed"


def test_a_layer_that_leaves_nothing_is_told_of(bench: Bench) -> None:
    layer = Layer("empty", "/opt/empty", PLAIN, (), Build().write("/opt/elsewhere", bench.fresh))
    with pytest.raises(BuildError, match="left nothing at /opt/empty"):
        bench.build(bench.image(Build(), layer))


def test_a_base_that_is_not_there_is_named(bench: Bench, loopback_registry: str) -> None:
    bench.change(plain_base=f"{loopback_registry}/no/base@sha256:{'a' * 64}")
    with pytest.raises(MachineError, match=r"no/base@sha256:aaaa.*cannot be had"):
        bench.build(bench.image(Build()))


@pytest.mark.parametrize("where", ["directory", "registry"])
def test_a_layer_that_was_kept_is_taken_and_what_it_needed_is_not_built(
    bench: Bench, tmp_path: Path, loopback_registry: str, where: str
) -> None:
    bench.change(keep=str(tmp_path / "kept") if where == "directory" else f"{loopback_registry}/kept/layers")
    under = bench.layer("under", Build().write("/opt/under/file", "u"))
    made = Build().run(
        *shell("cp /opt/under/file /opt/over/copy; ln -s copy /opt/over/link; chmod 4711 /opt/over/copy")
    )
    over = bench.layer("over", made, under)
    first = bench.build(bench.image(Build(), over))
    assert states(first)["over"] == "built"
    second = bench.build(bench.image(Build(), over))
    assert states(second)["over"] == "taken"
    assert second.cached
    assert bench.file(second, "/opt/over/link") == "u"
    if where == "directory":
        assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(
            f"layer-{layer.key}.tar" for layer in first.layers if layer.name in ("over", "under")
        )


def test_an_image_is_published_with_its_digest_and_a_registry_that_refuses_is_told_of(
    bench: Bench, loopback_registry: str
) -> None:
    bench.change(publish=f"{loopback_registry}/published/probe")
    built = bench.build(bench.image(Build().export(HELLO="you")))
    assert built.published == f"{loopback_registry}/published/probe:probe1@{built.digest}"
    address = f"http://{loopback_registry}/v2/published/probe/manifests/{built.digest}"
    request = urllib.request.Request(address, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["layers"]
    bench.change(publish="127.0.0.1:9/nobody/here")
    with pytest.raises(BuildError, match=r"the registry refused 127\.0\.0\.1:9/nobody/here:probe1"):
        bench.build(bench.image(Build().export(HELLO="you")))


def test_an_exported_archive_is_taken_by_docker(bench: Bench, docker: Docker, tmp_path: Path) -> None:
    bench.change(export=tmp_path / "archives")
    built = bench.build(bench.image(Build().export(HELLO="you")))
    assert built.exported == str(tmp_path / "archives" / "probe1.tar")
    assert [path.name for path in (tmp_path / "archives").iterdir()] == ["probe1.tar"]
    name = "probe:probe1"
    load = subprocess.run(
        [docker.program, "load", "-i", built.exported], env=dict(docker.environ), capture_output=True, text=True
    )
    try:
        assert load.returncode == 0, load.stderr
        shown = subprocess.run(
            [docker.program, "image", "inspect", name], env=dict(docker.environ), capture_output=True, text=True
        )
        assert "HELLO=you" in json.loads(shown.stdout)[0]["Config"]["Env"]
    finally:
        subprocess.run([docker.program, "rmi", name], env=dict(docker.environ), capture_output=True)


def test_all_is_cached_in_another_session(bench: Bench, plain_base: str, tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import anyio, os
        from pathlib import Path
        from vep_dagger.builders.dagger.builder import DaggerBuilder
        from vep_dagger.builders.settings import BuildSettings
        from vep_dagger.dsl import PLAIN, Build, Image, Layer
        from vep_dagger.engines.dagger import open_dagger

        layer = Layer("one", "/opt/one", PLAIN, (), Build().write("/opt/one/x", {bench.fresh!r}).run("sleep", "1"))
        image = Image("probe", "probe1", "1", PLAIN, Build().run("true"), (layer,), device="cpu")

        async def main():
            async with open_dagger(dict(os.environ)) as session:
                builder = DaggerBuilder(BuildSettings(plain_base={plain_base!r}), session)
                built = await builder.build(image, Path({str(tmp_path)!r}) / "log", lambda text: None)
                print(*(layer.state for layer in built.layers if layer.name == "one"))

        anyio.run(main)
        """
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_SESSION")}
    run: Callable[[], subprocess.CompletedProcess[str]] = partial(
        subprocess.run, [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=300
    )
    first, second = run(), run()
    assert (first.stdout.split(), second.stdout.split()) == (["built"], ["cached"]), first.stderr + second.stderr
