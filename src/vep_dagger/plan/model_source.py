"""The model that a server loads: a name on the hub, or a directory beside the matrix file."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE_FILE_LIMIT_BYTES = 16 * 2**20
"""Files up to this size enter the digest with their content, larger ones (weights) with name and size: a plan must not
read hundreds of gigabytes each time, and what tells two models of one shape apart is in the small files beside the
weights."""


def is_directory_name(model: str) -> bool:
    """Whether ``model`` names a directory (it starts with ``.`` or ``/``) rather than a model of the hub."""
    return model.startswith((".", "/"))


def directory_digest(directory: Path) -> str:
    """sha256 over the files of a model directory: names, and contents or sizes. Raises OSError."""
    digest = hashlib.sha256(b"vep:model:1\n")
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(directory).as_posix()}\0{size}\0".encode())
        if size <= WHOLE_FILE_LIMIT_BYTES:
            digest.update(file.read_bytes())
    return digest.hexdigest()
