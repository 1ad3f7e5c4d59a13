"""The matrix file: read, checked, expanded into cells, and cells chosen from it.

matrix = Matrix.load("matrix.toml")
cells = select(expand(matrix, known_pins={"vllm"}), "pplx and not dg0")
"""

from __future__ import annotations

from vep_dagger.matrix.cell import Cell, Settings
from vep_dagger.matrix.document import Document
from vep_dagger.matrix.expand import expand
from vep_dagger.matrix.load import Matrix
from vep_dagger.matrix.problems import MatrixProblemsError
from vep_dagger.matrix.schema import MatrixFile
from vep_dagger.matrix.select import select

__all__ = ["Cell", "Document", "Matrix", "MatrixFile", "MatrixProblemsError", "Settings", "expand", "select"]
