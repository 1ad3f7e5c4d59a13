from __future__ import annotations

from collections.abc import Callable

import pytest

from vep_dagger.matrix import Cell, Document, Matrix, expand

Load = Callable[..., Matrix]
Expand = Callable[..., tuple[Cell, ...]]

HEAD = 'recipe = "r"\n'
TAIL = '\n[serve]\nmodel = "m"\n'


@pytest.fixture(scope="session")
def load() -> Load:
    """Reads the text of a matrix file; the recipe and the model are added."""

    def run(text: str) -> Matrix:
        return Matrix.from_document(Document.from_bytes((HEAD + text + TAIL).encode()))

    return run


@pytest.fixture(scope="session")
def cells(load: Load) -> Expand:
    """The cells of the text of a matrix file, for a recipe with the given pins."""

    def run(text: str, *pins: str) -> tuple[Cell, ...]:
        return expand(load(text), pins or ("vllm", "nccl", "fruit", "animal"))

    return run
