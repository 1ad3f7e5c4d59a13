"""An image registry on a loopback port, which speaks plain HTTP: Debian's ``docker-registry``, in a directory of its
own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

CONFIGURATION = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "{address}"}}
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def registry(program: str, directory: Path) -> Iterator[str]:
    """Its address, once it answers; it is ended at the end."""
    address = f"127.0.0.1:{free_port()}"
    configuration, log = directory / "registry.yml", directory / "registry.log"
    configuration.write_text(CONFIGURATION.format(storage=directory / "storage", address=address))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", str(configuration)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            _wait(address, process, log)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            if httpx.get(f"http://{address}/v2/", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None, f"the registry ended: {log.read_text()}"
            assert time.monotonic() < deadline, f"the registry did not answer within 20 s: {log.read_text()}"
        time.sleep(0.05)
