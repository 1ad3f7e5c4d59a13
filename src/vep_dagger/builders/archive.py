"""OCI archives: one tar file that holds an image (image-layout of the OCI image specification), and docker's own
``manifest.json`` beside it, so that every ``docker load`` takes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vep_dagger.errors import BuildError

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_INDEXES = (_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_LONGEST_JSON = 64 << 20


def docker_save_to_oci(saved: Path, target: Path, tag: str) -> str:
    """Turn what ``docker save`` wrote for one image into an OCI archive at ``target``, which ``docker load`` takes too;
    the digest of the image's manifest (``sha256:…``).

    ``tag`` is the name that the image gets in the archive: ``name:tag`` or a tag alone. Blocks. Raises BuildError for a
    file that is none of docker's.
    """
    aside = target.with_name(f".{target.name}.aside")
    try:
        with _reading(saved) as source, tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as made:
            (entry,) = _json(source, "manifest.json", saved)
            config = _member(source, entry["Config"], saved).read()
            writer = _Writer(made)
            layers = [writer.layer(source, name, saved) for name in entry["Layers"]]
            manifest = {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": writer.blob(config, _CONFIG),
                "layers": layers,
            }
            described = writer.blob(_dump(manifest), _MANIFEST)
            writer.text("oci-layout", _dump({"imageLayoutVersion": "1.0.0"}))
            writer.text("index.json", _dump({"schemaVersion": 2, "manifests": [described | _named(tag)]}))
            writer.text("manifest.json", _dump(_docker_manifest(manifest, tag)))
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return str(described["digest"])


def make_loadable(archive: Path, name: str) -> None:
    """Let an OCI archive say that its image is called ``name`` (``repository:tag``), to every tool: in the index's
    annotations, and in docker's ``manifest.json``, which ``docker load`` of any age takes. The digest stays.

    What is said anew is put behind what is there, since of two files of one name in a tar the later one counts; nothing
    is copied. Nothing is done if the archive says so already. Blocks. Raises BuildError.
    """
    with _reading(archive) as opened:
        if "manifest.json" in opened.getnames():
            known = _json(opened, "manifest.json", archive)
            if [each.get("RepoTags") for each in known] == [[name]]:
                return
        manifest = _image_manifest(opened, archive)[1]
        index = _json(opened, "index.json", archive)
    for entry in index["manifests"]:
        if not _is_attestation(entry):
            entry["annotations"] = entry.get("annotations", {}) | _named(name)["annotations"]
    with tarfile.open(archive, "a", format=tarfile.PAX_FORMAT) as made:
        writer = _Writer(made)
        writer.text("index.json", _dump(index))
        writer.text("manifest.json", _dump(_docker_manifest(manifest, name)))


def manifest_digest(archive: Path) -> str:
    """The digest (``sha256:…``) of the image manifest in an OCI archive. Blocks. Raises BuildError."""
    with _reading(archive) as opened:
        return _image_manifest(opened, archive)[0]


class _Writer:
    """Writes blobs, each once, and texts, with nothing in the headers that is not content."""

    def __init__(self, made: tarfile.TarFile) -> None:
        self._made = made
        self._blobs: set[str] = set()

    def text(self, name: str, content: bytes) -> None:
        header = tarfile.TarInfo(name)
        header.size = len(content)
        self._made.addfile(header, io.BytesIO(content))

    def blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        return self._add(hashlib.sha256(content).hexdigest(), len(content), io.BytesIO(content), media_type)

    def layer(self, source: tarfile.TarFile, name: str, saved: Path) -> dict[str, Any]:
        digest, size, kind = hashlib.sha256(), 0, _LAYER
        content = _member(source, name, saved)
        while chunk := content.read(_CHUNK):
            if not size and chunk.startswith(_GZIP):
                kind = f"{_LAYER}+gzip"
            digest.update(chunk)
            size += len(chunk)
        content.seek(0)
        return self._add(digest.hexdigest(), size, content, kind)

    def _add(self, digest: str, size: int, content: IO[bytes], media_type: str) -> dict[str, Any]:
        if digest not in self._blobs:
            header = tarfile.TarInfo(f"blobs/sha256/{digest}")
            header.size = size
            self._made.addfile(header, content)
            self._blobs.add(digest)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _named(tag: str) -> dict[str, Any]:
    annotations = {"org.opencontainers.image.ref.name": tag.rpartition(":")[2]}
    if ":" in tag:
        annotations["io.containerd.image.name"] = tag
    return {"annotations": annotations}


def _docker_manifest(manifest: dict[str, Any], name: str) -> list[dict[str, Any]]:
    paths = [f"blobs/{each['digest'].replace(':', '/')}" for each in (manifest["config"], *manifest["layers"])]
    return [{"Config": paths[0], "RepoTags": [name] if ":" in name else None, "Layers": paths[1:]}]


def _image_manifest(opened: tarfile.TarFile, archive: Path) -> tuple[str, dict[str, Any]]:
    """The digest and the content of the one image's manifest."""
    index = _json(opened, "index.json", archive)
    while True:
        entries = [each for each in index.get("manifests", []) if not _is_attestation(each)]
        if len(entries) != 1:
            raise BuildError(f"it holds {len(entries)} images, and one is meant", where=str(archive))
        digest = str(entries[0]["digest"])
        content = _json(opened, f"blobs/{digest.replace(':', '/')}", archive)
        if content.get("mediaType", entries[0].get("mediaType")) not in _INDEXES:
            return digest, content
        index = content


def _is_attestation(entry: dict[str, Any]) -> bool:
    """BuildKit puts such beside an image, as if they were of an unknown platform."""
    return "vnd.docker.reference.type" in entry.get("annotations", {})


def _json(opened: tarfile.TarFile, name: str, archive: Path) -> Any:
    try:
        return json.loads(_member(opened, name, archive).read(_LONGEST_JSON))
    except ValueError as error:
        raise BuildError(f"{name} in it is no JSON: {error}", where=str(archive)) from None


def _member(opened: tarfile.TarFile, name: str, archive: Path) -> IO[bytes]:
    try:
        found = opened.extractfile(name)
    except KeyError:
        found = None
    if found is None:
        raise BuildError(f"it is no archive of an image: there is no {name} in it", where=str(archive))
    return found


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:") as opened:
            yield opened
    except (OSError, tarfile.TarError) as error:
        raise BuildError(f"the archive cannot be read: {error}", where=str(archive)) from None


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
