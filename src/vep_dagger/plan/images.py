"""The images of cells. A matrix can have a hundred thousand cells and few different images, so each is made once."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from vep_dagger.compat import Compat
from vep_dagger.dsl import Image, Impossible, Recipe
from vep_dagger.errors import CompatError, MatrixError
from vep_dagger.matrix import Cell, Matrix
from vep_dagger.matrix.cell import thaw
from vep_dagger.matrix.lock import Lock
from vep_dagger.plan.locking import locked
from vep_dagger.plan.pin_words import pin_error
from vep_dagger.plan.places import pin_place


class Images:
    """Makes each image once, and finds it again by the identity of its pins: cells that agree in them share them
    (:class:`vep_dagger.matrix.cell.Settings`)."""

    def __init__(self, matrix: Matrix, recipe: Recipe[Any], compat: Compat, lock: Lock | None) -> None:
        self._matrix = matrix
        self._lock = lock
        self._recipe = recipe
        self._compat = compat
        self._images: dict[int, Image] = {}
        self._impossible: dict[int, str] = {}
        self.recipes_own: dict[str, list[Image]] = {}
        """The images as the recipe made them, by the keys that they have with the lock."""
        self.warnings: dict[str, str] = {}
        """By the vLLM release that they are about."""

    def of(self, cell: Cell) -> Image:
        """The image of the cell's pins. Raises Impossible if they are known not to work together, and MatrixError for
        pins that the recipe does not take.
        """
        pins = id(cell.settings.pins)
        if pins in self._impossible:
            raise Impossible(self._impossible[pins])
        if pins not in self._images:
            self._images[pins] = self._make(cell)
        return self._images[pins]

    def _make(self, cell: Cell) -> Image:
        pins = cell.settings.pins
        try:
            own = self._recipe.image({name: thaw(value) for name, value in pins})
        except ValidationError as error:
            raise pin_error(self._matrix, self._recipe, cell, error) from None
        except Impossible as reason:
            self._impossible[id(pins)] = str(reason)
            raise
        image = locked(own, self._lock) if self._lock else own
        self.recipes_own.setdefault(image.key, []).append(own)
        if self._matrix.file.serve is None:
            return image  # nobody asks what its vLLM does, or whether it has one
        try:
            release = self._compat.release(image.release)
        except CompatError as error:
            raise MatrixError(error.what, where=pin_place(self._matrix, cell, "vllm"), hint=error.hint) from None
        if release.known_as:
            self.warnings[image.release] = (
                f"vLLM {image.release} is not known here: it is used as {release.known_as}, "
                "so what proves a backend may be out of date"
            )
        return image
