"""What is particular to servers inside Dagger, on a real engine: what its exec needs, and how it can be lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.errors import LaunchError, MachineError, UsageError
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.dagger.launcher import DaggerLauncher
from vep_dagger.launchers.ports import PortError, reserved
from vep_dagger.processes.leftovers import find
from vep_dagger.processes.procfs import process

if TYPE_CHECKING:
    from dagger import Container

    from vep_dagger.engines.dagger import DaggerSession

SERVE = """
import http.server, sys
print("serving", flush=True)
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def built(container: Container) -> BuiltImage:
    return BuiltImage(uuid.uuid4().hex * 2, "dagger", "an image", (), 0.0, True, {}, handle=container)


def launcher(session: DaggerSession | None, **environ: str) -> DaggerLauncher:
    return DaggerLauncher(BuildSettings(environ={"PATH": os.environ["PATH"]} | environ), session, grace_s=0.5)


@pytest.fixture
def serving(spec: ServerSpec) -> ServerSpec:
    return replace(spec, argv=("python3", "-c", SERVE, "{host}", "{port}"))


async def until(true: Callable[[], Any], limit_s: float = 30.0) -> None:
    with anyio.fail_after(limit_s):
        while not true():  # noqa: ASYNC110 (what is waited for is another process')
            await anyio.sleep(0.05)


def test_what_dagger_cannot_do_is_refused_before_anything_is_touched() -> None:
    here = launcher(None)
    here.refuse(1, "127.0.0.1", None)
    with pytest.raises(UsageError, match="on one node, and it wants 2") as caught:
        here.refuse(2, "127.0.0.1", None)
    assert "EFA" in (caught.value.hint or "")
    with reserved("127.0.0.1", None) as port, pytest.raises(PortError):
        here.refuse(1, "127.0.0.1", port)


@pytest.mark.anyio
async def test_an_image_of_another_builder_or_no_engine_is_said(spec: ServerSpec) -> None:
    image = BuiltImage("k" * 64, "venv", "an image", (), 0.0, True, {})
    with pytest.raises(MachineError, match="no Dagger engine is open") as caught:
        async with launcher(None).start(image, spec):
            pass
    assert "--builder dagger" in (caught.value.hint or "")


@pytest.mark.anyio
async def test_an_image_without_python_is_said_at_once(
    own_dagger_session: DaggerSession, plain_base: str, spec: ServerSpec
) -> None:
    bare = own_dagger_session.client.container().from_(plain_base).with_env_variable("PATH", "/nowhere")
    with anyio.fail_after(60), pytest.raises(LaunchError, match="python3") as caught:
        async with launcher(own_dagger_session).start(built(bare), spec):
            pass
    assert "need a python3 (3.9 or later)" in (caught.value.hint or "")


@pytest.mark.anyio
async def test_an_exec_that_is_killed_takes_the_server_with_it_and_the_log_has_the_reason(
    own_dagger_session: DaggerSession, plain_base: str, serving: ServerSpec
) -> None:
    base = own_dagger_session.client.container().from_(plain_base)
    async with launcher(own_dagger_session).start(built(base), serving) as server:
        await until(lambda: "serving" in serving.log.read_text() if serving.log.exists() else False)
        guards = [process(pid) for pid in find(server.marker)]
        agents = {each.parent for each in guards if each} - {each.pid for each in guards if each}
        assert len(agents) == 1
        os.kill(agents.pop(), signal.SIGKILL)
        with anyio.fail_after(60):
            assert await server.wait() == -9
        assert "vep: the exec in Dagger ended: " in serving.log.read_text()
        with pytest.raises(LaunchError, match="the exec in Dagger ended"):
            await server.run(("true",), serving.directory / "client.log", {})
        assert (await server.stop(5)).exit_code is None
    assert find(server.marker) == []


VEP = """
import os, sys
import anyio
from dataclasses import replace
from pathlib import Path
from vep_dagger.engines.dagger import open_dagger
from vep_dagger.launchers.base import ServerSpec
from tests.launchers.test_dagger_launcher import SERVE, built, launcher

async def main():
    base, directory = sys.argv[1], Path(sys.argv[2])
    spec = ServerSpec("killed", ("python3", "-c", SERVE, "{host}", "{port}"), {}, (), directory, directory / "log")
    async with open_dagger(dict(os.environ)) as session:
        image = built(session.client.container().from_(base))
        async with launcher(session).start(image, spec) as server:
            print(server.marker, flush=True)
            await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.anyio
async def test_nothing_outlives_a_vep_that_is_killed(
    own_dagger_session: DaggerSession, plain_base: str, tmp_path: Path
) -> None:
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", VEP, plain_base, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as vep:
        assert vep.stdout
        marker = (await anyio.to_thread.run_sync(vep.stdout.readline)).strip()
        assert len(find(marker)) >= 2
        vep.kill()
    await until(lambda: find(marker) == [])


@pytest.mark.anyio
async def test_an_engine_without_gpus_says_what_it_needs(
    own_dagger_session: DaggerSession, plain_base: str, serving: ServerSpec
) -> None:
    base = own_dagger_session.client.container().from_(plain_base)
    with pytest.raises(MachineError, match="gives no GPU") as caught:
        async with launcher(own_dagger_session).start(built(base), replace(serving, gpus=True)):
            pytest.skip("needs an engine without GPUs: this one has some")
    assert "_EXPERIMENTAL_DAGGER_GPU_SUPPORT" in (caught.value.hint or "")
