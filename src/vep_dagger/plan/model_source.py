"""The model that a server loads: a name on the hub, or a directory beside the matrix file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Cell, Matrix
from vep_dagger.plan.deployment import Model
from vep_dagger.plan.places import serve_place

WHOLE_FILE_LIMIT_BYTES = 16 * 2**20
"""Files up to this size enter the digest with their content, larger ones (weights) with name and size: a plan must not
read hundreds of gigabytes each time, and what tells two models of one shape apart is in the small files beside the
weights."""


def model_of(matrix: Matrix, cell: Cell, serve: Mapping[str, Any]) -> Model:
    """The model of a cell whose ``[serve]`` is ``serve``. Raises MatrixError for a directory that cannot be read."""
    source = serve["model"]
    digest = _read_digest(matrix, cell, source) if is_directory_name(source) else None
    name = serve.get("served_model_name") or (Path(source).name if digest else source)
    return Model(source, digest, name)


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


def _read_digest(matrix: Matrix, cell: Cell, model: str) -> str:
    directory = matrix.path.parent / model
    place = serve_place(matrix, cell, "model")
    if not (directory / "config.json").is_file():
        missing = "does not exist" if not directory.exists() else "holds no config.json"
        raise MatrixError(
            f"the model directory {model} {missing}",
            where=place,
            hint="paths are relative to the matrix file; a model of the hub is written without a leading . or /",
        )
    try:
        return directory_digest(directory)
    except OSError as error:
        raise MatrixError(f"the model directory {model} cannot be read: {error.strerror}", where=place) from None
