"""``plain_base.py [--push HOST:PORT]``: a small Debian that images can be built on, made by mmdebstrap. Needs no image
registry. Prints its reference: ``oci-archive:PATH``, or with ``--push`` its name in that registry, with digest.

It uses the standard library only. The base is made once and kept in the user's cache; another list of packages makes
another one.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "gcc", "libc6-dev", "libnuma1", "make", "python3")
"""Certificates, a C compiler and make for layers; a Python and libnuma for environments with vLLM for CPUs."""

HOW = "apt-get install mmdebstrap, or name a Debian image with Python, gcc and make in VEP_PLAIN_BASE"
NAME = "vep-plain-base"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE_S = 600


class CannotMakeError(Exception):
    """There is no way to make it here; says why."""


def archive(directory: Path) -> Path:
    """The OCI archive in ``directory``, made if it is not there. Raises CannotMakeError."""
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    target = directory / f"{NAME}-{SUITE}-{key}.tar"
    if target.exists():
        return target
    if shutil.which("mmdebstrap") is None:
        raise CannotMakeError("there is no mmdebstrap")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of two checkouts at once make it once
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=str(directory)) as work:
                made = _make(Path(work))
                made.rename(target)
    return target


def _make(work: Path) -> Path:
    root = work / "root.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise CannotMakeError(f"mmdebstrap did not end within {DEADLINE_S} s") from None
    if done.returncode:
        said = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise CannotMakeError(f"mmdebstrap exited with {done.returncode}: {said}")
    layout = work / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    plain = _sha256(root)
    packed = work / "root.tar.gz"
    # No time and no name in the gzip header: the same tar gives the same digest.
    with root.open("rb") as source, packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, 0) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    layer = {"mediaType": LAYER, "digest": f"sha256:{_sha256(packed)}", "size": packed.stat().st_size}
    packed.rename(blobs / _sha256(packed))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(blobs, CONFIG, config),
        "layers": [layer],
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [_blob(blobs, MANIFEST, manifest)]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    made = work / "archive.tar"
    with tarfile.open(str(made), "w") as tar:
        for name in ("oci-layout", "index.json", "blobs"):
            tar.add(str(layout / name), arcname=name)
    return made


def push(file: Path, registry: str) -> str:
    """Put the archive's image into a registry that speaks plain HTTP; its name there, with digest. Raises
    CannotMakeError."""
    base = f"http://{registry}/v2/{NAME}"
    with tarfile.open(str(file)) as tar:

        def read(digest: str) -> bytes:
            member = tar.extractfile(f"blobs/sha256/{digest.partition(':')[2]}")
            assert member is not None, "an archive of ours holds what its index names"
            return member.read()

        index = tar.extractfile("index.json")
        assert index is not None, "an archive of ours has an index"
        digest = json.load(index)["manifests"][0]["digest"]
        manifest = json.loads(read(digest))
        for blob in (manifest["config"], *manifest["layers"]):
            place = _send(f"{base}/blobs/uploads/", "POST", b"", "application/octet-stream")
            mark = "&" if "?" in place else "?"
            _send(f"{place}{mark}digest={blob['digest']}", "PUT", read(blob["digest"]), "application/octet-stream")
        _send(f"{base}/manifests/{SUITE}", "PUT", read(digest), MANIFEST)
    return f"{registry}/{NAME}@{digest}"


def _send(url: str, method: str, body: bytes, kind: str) -> str:
    """Where the registry says that what was sent is."""
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    # A registry of this machine: a proxy for the outside knows nothing of it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return str(answer.headers.get("Location", ""))
    except (urllib.error.URLError, OSError) as error:
        raise CannotMakeError(f"{method} {url}: {error}") from None


def _blob(blobs: Path, kind: str, value: object) -> dict[str, object]:
    content = json.dumps(value, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        for part in iter(lambda: source.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def cache_directory() -> Path:
    """Where it is kept: below the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vep-dagger" / "tests"


def main() -> int:
    """The command: prints the reference; exits with 3 where there can be none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--push", metavar="HOST:PORT", help="a registry that speaks plain HTTP")
    registry = parser.parse_args().push
    try:
        made = archive(cache_directory())
        print(push(made, registry) if registry else f"oci-archive:{made}")
    except CannotMakeError as error:
        print(f"plain_base: {error}; {HOW}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
