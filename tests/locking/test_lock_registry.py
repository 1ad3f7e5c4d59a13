"""Digests of images, of a real registry, and of a stand-in that wants to know who asks."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from tests.locking.conftest import oci_archive
from tests.registry_process import free_port
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.errors import MachineError
from vep_dagger.locking.registry import Tag, resolve_image

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def resolved(ref: str, settings: BuildSettings) -> Tag:
    return anyio.run(resolve_image, ref, settings)


def push(registry: str, name: str, tag: str, word: str) -> tuple[str, str]:
    """An image for one platform under an index; the digests of the index and of the image."""
    root = f"http://{registry}/v2/{name}"
    with httpx.Client(trust_env=False) as client:
        config = json.dumps({"word": word}).encode()
        place = client.post(f"{root}/blobs/uploads/").headers["Location"]
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        client.put(place, params={**parse_qs_flat(place), "digest": digest}, content=config).raise_for_status()
        described = {"mediaType": CONFIG, "digest": digest, "size": len(config)}
        image = put(client, root, {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []})
        platform = {"os": "linux", "architecture": "amd64"}
        entry = {"mediaType": MANIFEST, "digest": image[0], "size": image[1], "platform": platform}
        index = put(client, root, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, tag)
    return index[0], image[0]


def parse_qs_flat(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def put(client: httpx.Client, root: str, document: dict[str, object], tag: str | None = None) -> tuple[str, int]:
    content = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    headers = {"Content-Type": str(document["mediaType"])}
    client.put(f"{root}/manifests/{tag or digest}", content=content, headers=headers).raise_for_status()
    return digest, len(content)


def test_a_tag_is_the_digest_of_its_index_and_holds_its_platforms(
    loopback_registry: str, settings: BuildSettings
) -> None:
    index, image = push(loopback_registry, "lock/one", "1.0", "one")
    tag = resolved(f"{loopback_registry}/lock/one:1.0", settings)
    assert tag.digest == index
    assert tag.holds(index)
    assert tag.holds(image)
    assert not tag.holds(f"sha256:{'0' * 64}")


def test_an_image_is_asked_for_where_mirrors_say(loopback_registry: str, settings: BuildSettings) -> None:
    index, _ = push(loopback_registry, "hub/nvidia/cuda", "12", "cuda")
    mirrored = BuildSettings(environ=settings.environ, mirrors={"docker.io/": f"{loopback_registry}/hub/"})
    assert resolved("nvidia/cuda:12", mirrored).digest == index


def test_a_tag_that_is_not_there_is_told_with_what_the_registry_says(
    loopback_registry: str, settings: BuildSettings
) -> None:
    with pytest.raises(MachineError) as caught:
        resolved(f"{loopback_registry}/lock/none:1", settings)
    assert "MANIFEST_UNKNOWN" in caught.value.what


def test_a_registry_that_does_not_answer_is_told(settings: BuildSettings) -> None:
    with pytest.raises(MachineError, match="cannot be had"):
        resolved(f"127.0.0.1:{free_port()}/x:1", settings)


def test_a_name_with_its_digest_asks_nobody(settings: BuildSettings) -> None:
    assert resolved(f"registry.invalid/x:1@sha256:{'a' * 64}", settings).digest == f"sha256:{'a' * 64}"


def test_an_archive_is_the_image_in_it(settings: BuildSettings, tmp_path: Path) -> None:
    digest = oci_archive(tmp_path / "base.tar", "x")
    assert resolved("oci-archive:base.tar", settings).digest == digest
    with pytest.raises(MachineError, match="no such file"):
        resolved("oci-archive:none.tar", settings)


class Guarded:
    """A registry that sends whoever asks for a token, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.content = b'{"schemaVersion": 2}'
        guarded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                guarded.asked.append((self.path, self.headers.get("Authorization")))
                if self.path.startswith("/token"):
                    self._send(200, b'{"token": "t0ken"}')
                elif self.headers.get("Authorization") == "Bearer t0ken":
                    self._send(200, guarded.content)
                else:
                    self.send_response(401)
                    words = f'Bearer realm="http://{guarded.address}/token",service="s",scope="repository:x/y:pull"'
                    self.send_header("WWW-Authenticate", words)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def _send(self, code: int, content: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", MANIFEST)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    made = Guarded()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_who_has_no_credentials_gets_the_token_of_everybody(guarded: Guarded, settings: BuildSettings) -> None:
    found = resolved(f"{guarded.address}/x/y:1", settings)
    assert found.digest == f"sha256:{hashlib.sha256(guarded.content).hexdigest()}"
    assert ("/token?service=s&scope=repository%3Ax%2Fy%3Apull", None) in guarded.asked


def test_credentials_are_those_of_dockers_own_file(guarded: Guarded, settings: BuildSettings) -> None:
    basic = base64.b64encode(b"me:s3cr3t").decode()
    docker = Path(settings.environ["HOME"]) / ".docker"
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"auths": {guarded.address: {"auth": basic}}}))
    resolved(f"{guarded.address}/x/y:1", settings)
    (token,) = [header for path, header in guarded.asked if path.startswith("/token")]
    assert token == f"Basic {basic}"


def test_a_credential_helper_is_asked(guarded: Guarded, settings: BuildSettings, tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread -r name\necho "{\\"Username\\": \\"$name\\", \\"Secret\\": \\"s3cr3t\\"}"\n')
    helper.chmod(0o755)
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.json").write_text('{"credsStore": "test"}')
    environ = {**settings.environ, "DOCKER_CONFIG": str(config), "PATH": f"{tmp_path}:{settings.environ['PATH']}"}
    resolved(f"{guarded.address}/x/y:1", BuildSettings(environ=environ))
    (token,) = [header for path, header in guarded.asked if path.startswith("/token")]
    assert base64.b64decode((token or "").removeprefix("Basic ")) == f"{guarded.address}:s3cr3t".encode()
