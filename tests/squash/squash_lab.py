"""Small OCI archives, as builders export them, made by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CREATED_S = 1_700_000_000
TIME_S = 1_600_000_000


def file(path: str, text: str = "", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(path)
    content = text.encode()
    made.size, made.mode, made.mtime, made.uid, made.uname = len(content), mode, TIME_S, 1234, "someone"
    return made, content


def entry(path: str, kind: bytes, target: str = "", mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(path)
    made.type, made.linkname, made.mode, made.mtime = kind, target, mode, TIME_S
    return made, b""


def directory(path: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(path, tarfile.DIRTYPE, mode=mode)


Layer = Iterable[tuple[tarfile.TarInfo, bytes]]


def archive(path: Path, *layers: Layer, config: Mapping[str, Any] | None = None, compressed: bool = False) -> Path:
    """An OCI archive of these layers, the lowest first."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    packed = [_packed(layer) for layer in layers]
    described = [blob(gzip.compress(each, mtime=0) if compressed else each) for each in packed]
    document = {"created": "2023-11-14T22:13:20.123456789Z", "config": dict(config or {})}
    own = blob(json.dumps(document).encode())
    manifest = blob(json.dumps({"config": own, "layers": described}).encode())
    places = [f"blobs/{each['digest'].replace(':', '/')}" for each in (own, *described)]
    texts = {
        "index.json": {"schemaVersion": 2, "manifests": [manifest]},
        "manifest.json": [{"Config": places[0], "RepoTags": None, "Layers": places[1:]}],
    }
    with tarfile.open(path, "w") as made:
        for name, content in (blobs | {name: json.dumps(text).encode() for name, text in texts.items()}).items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            made.addfile(header, io.BytesIO(content))
    return path


def _packed(layer: Layer) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as packed:
        for header, content in layer:
            packed.addfile(header, io.BytesIO(content))
    return made.getvalue()
