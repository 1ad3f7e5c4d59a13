"""An explanation as plain data: what ``vep explain --json`` prints. ``docs/explain.md`` explains each field."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
"""Raised when a reader of an older document could misunderstand a newer one."""

State: TypeAlias = Literal["same", "inputs", "needs", "only-a", "only-b", "unknown"]


class Part(BaseModel):
    """Base of every object of the document: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Change(Part):
    """One input that is not the same on both sides."""

    where: str = Field(description="The step (its number in the layer's chain, from 1), or empty for the whole.")
    what: str = Field(description="Which of its inputs: an argument, a variable, a commit, a package …")
    a: str | None = Field(description="None where A has nothing of it.")
    b: str | None = Field(description="None where B has nothing of it.")


class Difference(Part):
    """One layer of both sides, the chain of the Python environment, or the image that is put together of them."""

    name: str
    state: State
    a: str | None = Field(description="The key in A.")
    b: str | None = Field(description="The key in B.")
    changes: list[Change] = Field(description="Its own inputs that differ.")
    because: list[str] = Field(description="What it stands on or needs, near or far, whose own inputs differ.")
    notes: list[str] = Field(description="What is called otherwise and is the same: tags of one commit, say.")


class SideDoc(Part):
    """One of the two that are compared."""

    asked: str = Field(description="As it was written on the command line.")
    what: str = Field(description="What that is, in words.")
    cell: str | None
    image: str | None = Field(description="The image's key; None for a cell that cannot be.")
    tag: str | None
    impossible: str | None = Field(description="Why the cell cannot be.")


class ServerDifference(Part):
    """The servers of two cells."""

    a: str = Field(description="The deployment's key in A.")
    b: str = Field(description="The deployment's key in B.")
    changes: list[Change]


class Explanation(Part):
    """Why A and B differ."""

    format: int = FORMAT
    a: SideDoc
    b: SideDoc
    layers: list[Difference] = Field(description="Each layer of either, after what it needs.")
    environment: Difference | None = Field(description="The image's own chain of steps; None where it is not recorded.")
    image: Difference | None = Field(description="The image; None where a side has none.")
    variables: list[Change] = Field(description="Variables of whoever runs the image; they follow from the layers.")
    system: list[Change] = Field(
        description="Packages of the distribution that differ, which no key holds; of two manifests that have them."
    )
    server: ServerDifference | None = Field(description="None where a side serves nothing, or is a record of keys.")
    rebuilt: list[str] = Field(description="Layers of B that A has not: what is built to go from A to B.")
    shared: list[str] = Field(description="Layers of B that A has too.")

    @property
    def same(self) -> bool:
        """Whether one image and one server do for both."""
        served = self.server is None or self.server.a == self.server.b
        return self.image is not None and self.image.state == "same" and served
