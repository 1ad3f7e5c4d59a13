"""A matrix file, read and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vep_dagger.matrix.checks import check_all
from vep_dagger.matrix.document import Document
from vep_dagger.matrix.problems import Problems
from vep_dagger.matrix.schema import MatrixFile
from vep_dagger.matrix.wording import explain


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix file whose every key and value is right by itself; :func:`vep_dagger.matrix.expand` makes its cells."""

    path: Path
    file: MatrixFile
    document: Document

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Matrix:
        """Reads and checks the file.

        :raises MatrixError: what is wrong with it: a single problem, or all of them as
            :class:`~vep_dagger.matrix.problems.MatrixProblemsError`, in the order of the file.
        """
        return cls.from_document(Document.parse(path))

    @classmethod
    def from_document(cls, document: Document) -> Matrix:
        """Checks a document. Raises as :meth:`load` does."""
        problems = Problems(document)
        file: MatrixFile | None = None
        try:
            file = MatrixFile.model_validate(document.data)
        except ValidationError as error:
            explain(error, problems)
        check_all(document.data, problems)
        problems.raise_if_any()
        assert file is not None
        return cls(Path(document.file), file, document)
