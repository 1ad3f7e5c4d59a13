"""The Docker launcher's own: its command line, its failures, files of root, and a daemon that goes away."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import LaunchError, MachineError, UsageError, VepError
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.compiled import volume_name
from vep_dagger.launchers.docker.failure import not_started, said
from vep_dagger.launchers.docker.launcher import DockerLauncher, written_by_others
from vep_dagger.launchers.docker.line import container_name, hf_cache
from vep_dagger.launchers.docker.server import by_signal

pytestmark = pytest.mark.anyio

SAYS = """#!/bin/sh
case "$1" in
run) echo "$SAID" >&2; exit 125;;
exec) echo "Error: No such container" >&2; exit 1;;
*) echo "Error: No such container" >&2; exit 1;;
esac
"""


@pytest.fixture
def refusing(tmp_path: Path) -> Callable[[str], Docker]:
    """A docker that starts no container, and gives this as its reason."""

    def make(said: str) -> Docker:
        program = tmp_path / "docker"
        program.write_text(SAYS)
        program.chmod(0o755)
        return Docker(str(program), "1", {**os.environ, "SAID": said})

    return make


@pytest.fixture
def image(docker: Docker, pulled_base: str) -> Iterator[BuiltImage]:
    made = BuiltImage(uuid.uuid4().hex * 2, "docker", pulled_base, (), 0.0, True, {})
    yield made
    subprocess.run([docker.program, "volume", "rm", "--force", volume_name(made)], capture_output=True, check=False)


async def fails(launcher: DockerLauncher, image: BuiltImage, spec: ServerSpec) -> VepError:
    with pytest.raises(VepError) as caught:
        async with launcher.start(image, spec):
            pass
    assert list(spec.directory.glob(".vep-*")) == []
    return caught.value


async def test_the_line_has_what_a_server_of_gpus_needs_and_names_the_run(
    docker: Docker, image: BuiltImage, spec: ServerSpec, model: Path, tmp_path: Path, runtime: Path
) -> None:
    docker = replace(docker, environ=dict(os.environ))
    argv = ("sh", "-c", "sleep 60", "{port}")
    async with DockerLauncher(docker=docker, grace_s=0.2).start(image, replace(spec, argv=argv)) as server:
        words = server.command
        labels = await docker.ask("inspect", "--format", "{{json .Config.Labels}}", server.container.name)
        port = server.url.rpartition(":")[2]
    assert words[:2] == (docker.program, "run")
    assert {"--ipc=host", "--init"} <= set(words)
    pairs = set(pairwise(words))
    assert ("--publish", f"127.0.0.1:{port}:{port}") in pairs
    assert ("--volume", f"{runtime}/huggingface:/root/.cache/huggingface") in pairs
    assert ("--volume", f"{tmp_path}:{tmp_path}") in pairs
    assert ("--volume", f"{model}:{model}:ro") in pairs
    assert ("--workdir", str(spec.directory)) in pairs
    assert words[-6:] == ("--entrypoint=", image.location, "sh", "-c", "sleep 60", port)
    assert f'"dev.vep.run":"{tmp_path}"' in labels.out
    assert server.container.name.startswith("vep-cell-1-")
    assert "--gpus" not in words


async def test_without_a_gpu_runtime_docker_is_quoted_and_the_toolkit_named(
    docker: Docker, image: BuiltImage, spec: ServerSpec
) -> None:
    asked = replace(spec, argv=("sleep", "60"), gpus=True)
    launcher = DockerLauncher(docker=docker)
    if (await docker.ask("info", "--format", "{{.Runtimes}}")).out.count("nvidia"):
        pytest.skip("needs Docker without the NVIDIA runtime: it is installed here")
    error = await fails(launcher, image, asked)
    assert isinstance(error, MachineError)
    assert "could not select device driver" in error.what
    assert "NVIDIA Container Toolkit" in (error.hint or "")


async def test_an_image_that_was_removed_is_not_pulled_in_silence(
    docker: Docker, image: BuiltImage, spec: ServerSpec
) -> None:
    gone = replace(image, location="vep-no-such-image:1")
    error = await fails(DockerLauncher(docker=docker), gone, replace(spec, argv=("true",)))
    assert "No such image" in error.what
    assert "build it again" in (error.hint or "")


@pytest.mark.parametrize(
    ("reason", "kind", "hint"),
    [
        ("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", MachineError, "docker info"),
        ("docker: Error response from daemon: no space left on device.", LaunchError, "system df"),
        ("docker: Error response from daemon: network nowhere not found.", LaunchError, "docker network ls"),
        ("docker: Error response from daemon: something new.", LaunchError, None),
    ],
)
async def test_what_docker_says_is_quoted_with_what_to_do(
    refusing: Callable[[str], Docker],
    make_image: Callable[..., BuiltImage],
    spec: ServerSpec,
    reason: str,
    kind: type[VepError],
    hint: str | None,
) -> None:
    error = await fails(DockerLauncher(docker=refusing(reason)), make_image(), spec)
    assert type(error) is kind
    assert error.what.removeprefix("docker did not start the container: ") in reason
    assert (hint is None) == (error.hint is None)
    assert (hint or "") in (error.hint or "")


async def test_a_daemon_that_goes_away_under_a_server_is_an_error_that_says_what_to_do(
    docker: Docker, image: BuiltImage, spec: ServerSpec, tmp_path: Path
) -> None:
    program = tmp_path / "docker"
    program.write_text(
        f'#!/bin/sh\nif [ -e "{tmp_path}/gone" ]; then echo "Cannot connect to the Docker daemon" >&2; exit 1; fi\n'
        f'[ "$1" = run ] || exec "{docker.program}" "$@"\n'
        f'until [ -e "{tmp_path}/gone" ]; do sleep 0.05; done & "{docker.program}" "$@" & wait $!; '
        f'wait; echo "docker: unexpected EOF." >&2; exit 125\n'
    )
    program.chmod(0o755)
    launcher = DockerLauncher(docker=replace(docker, program=str(program)), grace_s=0.2)
    name = ""
    try:
        with pytest.raises(LaunchError) as caught:  # noqa: PT012 - what raises is the end of it
            async with launcher.start(image, replace(spec, argv=("sleep", "60"))) as server:
                name = server.container.name
                (tmp_path / "gone").touch()
                await docker.ask("kill", name)
                with anyio.fail_after(10):
                    await server.wait()
        messages = [str(caught.value), str(caught.value.__context__)]
        assert any("docker lost the container while it ran: unexpected EOF" in message for message in messages)
        assert f"docker rm --force {name}" in str(caught.value)
        assert (spec.directory / f".vep-container-{name}").exists()
    finally:
        await docker.ask("rm", "--force", name)


async def test_a_server_without_a_network_is_refused_before_anything_is_touched() -> None:
    with pytest.raises(UsageError, match="cannot be reached"):
        DockerLauncher(BuildSettings(network="none")).refuse(1, "127.0.0.1", None)


async def test_without_an_open_engine_nothing_starts(make_image: Callable[..., BuiltImage], spec: ServerSpec) -> None:
    assert isinstance(await fails(DockerLauncher(), make_image(), spec), MachineError)


async def test_a_path_with_a_colon_is_refused_by_name(
    docker: Docker, image: BuiltImage, spec: ServerSpec, tmp_path: Path
) -> None:
    odd = tmp_path / "12:30"
    odd.mkdir()
    error = await fails(DockerLauncher(docker=docker), image, replace(spec, directory=odd, shared=odd))
    assert (error.where, "colon" in error.what) == (str(odd), True)


async def test_a_model_that_is_not_there_is_named_and_not_made(
    docker: Docker, image: BuiltImage, spec: ServerSpec, tmp_path: Path
) -> None:
    error = await fails(DockerLauncher(docker=docker), image, replace(spec, mounts=(tmp_path / "gone",)))
    assert error.where == str(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


async def test_a_file_that_the_surroundings_name_is_lent(
    docker: Docker, image: BuiltImage, spec: ServerSpec, tmp_path: Path
) -> None:
    authority = tmp_path / "our-ca.pem"
    authority.write_text("of the company")
    given = replace(docker, environ={**os.environ, "SSL_CERT_FILE": str(authority)})
    argv = ("sh", "-c", "echo $SSL_CERT_FILE has $(cat $SSL_CERT_FILE); sleep 60")
    async with DockerLauncher(docker=given, grace_s=0.2).start(image, replace(spec, argv=argv)):
        with anyio.fail_after(5):
            while "has" not in spec.log.read_text():  # noqa: ASYNC110 - what is waited for is another process'
                await anyio.sleep(0.05)
    assert "/run/vep/lent/SSL_CERT_FILE has of the company" in spec.log.read_text()


def test_files_of_others_are_found_from_the_top(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    assert written_by_others(tmp_path, os.geteuid()) == []
    assert written_by_others(tmp_path, os.geteuid() + 1) == [tmp_path / "a"]


async def test_what_root_has_written_is_given_to_the_user_of_vep(
    docker: Docker, image: BuiltImage, spec: ServerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getegid", lambda: 12346)
    argv = ("sh", "-c", f"mkdir -p {tmp_path}/made/deep; echo x > {tmp_path}/made/deep/file; sleep 60")
    async with DockerLauncher(docker=docker, grace_s=0.2).start(image, replace(spec, argv=argv)):
        with anyio.fail_after(5):
            while not (tmp_path / "made/deep/file").exists():  # noqa: ASYNC110 - as above
                await anyio.sleep(0.05)
    status = (tmp_path / "made" / "deep" / "file").stat()
    assert (status.st_uid, status.st_gid) == (12345, 12346)
    assert "vep: files" not in spec.log.read_text()


def test_the_hugging_face_cache_is_made_where_it_is_named(tmp_path: Path) -> None:
    places = hf_cache({"HF_HOME": str(tmp_path / "hf"), "HF_HUB_CACHE": str(tmp_path / "hub")})
    assert places == {
        "/root/.cache/huggingface": tmp_path / "hf",
        "/root/.cache/huggingface/hub": tmp_path / "hub",
    }
    assert all(path.is_dir() for path in places.values())


def test_names_are_docker_s_and_never_the_same_twice() -> None:
    one, other = container_name("vllm0.10.1.1-pplx+DG [x]"), container_name("vllm0.10.1.1-pplx+DG [x]")
    assert one.startswith("vep-vllm0.10.1.1-pplx-dg-x-")
    assert one != other


@pytest.mark.parametrize(("code", "signalled"), [(0, 0), (7, 7), (137, -9), (143, -15), (128, 128)])
def test_codes_are_those_of_processes(code: int, signalled: int) -> None:
    assert by_signal(code) == signalled


def test_a_program_that_is_missing_is_told_from_other_failures() -> None:
    reason = said(["of the server", "[FATAL tini (7)] exec vllm failed: No such file or directory"])
    assert reason is not None
    assert not_started(reason, "cell-1", "sha256:1", "vllm").what == "the program 'vllm' is not in the image sha256:1"
    assert said(["nothing of docker's"]) is None
