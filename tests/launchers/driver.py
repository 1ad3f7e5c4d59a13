"""A stand-in for `vep`: starts one server in the folder that it is given, says who is who, and waits to be ended."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import anyio

from vep_dagger.builders.base import BuiltImage
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.process import ProcessLauncher

STANDIN = Path(__file__).with_name("standin.py")


async def main(directory: Path, *options: str) -> None:
    argv = (sys.executable, str(STANDIN), "--host", "{host}", "--port", "{port}", *options)
    spec = ServerSpec("cell-1", argv, {}, (), directory, directory / "server.log")
    image = BuiltImage("k", "venv", "here", (), 0.0, True, {})
    async with ProcessLauncher(grace_s=1.0).start(image, spec) as server:
        guarded = server.guarded
        print(json.dumps({"marker": guarded.marker, "guard": guarded.guard_pid, "pid": guarded.pid}), flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    # In a background job it would be ignored, here and in what is started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    anyio.run(main, Path(sys.argv[1]), *sys.argv[2:])
