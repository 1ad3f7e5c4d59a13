"""A stand-in for `vep` with Docker: starts one server in the folder that it is given, says who is who, and waits to be
ended."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import anyio

from vep_dagger.builders.base import BuiltImage
from vep_dagger.engines.docker import find_docker
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.docker.launcher import DockerLauncher

STANDIN = Path(__file__).with_name("standin.py")


async def main(directory: Path, *words: str) -> None:
    base, *options = words
    docker = await find_docker(dict(os.environ))
    argv = ("python3", str(STANDIN), "--host", "{host}", "--port", "{port}", *options)
    spec = ServerSpec(
        "cell-1", argv, {}, (), directory, directory / "server.log", mounts=(STANDIN.parent,), shared=directory
    )
    image = BuiltImage("f" * 64, "docker", base, (), 0.0, True, {})
    async with DockerLauncher(docker=docker, grace_s=1.0).start(image, spec) as server:
        print(json.dumps({"name": server.container.name, "guard": server.guarded.guard_pid}), flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    anyio.run(main, Path(sys.argv[1]), *sys.argv[2:])
