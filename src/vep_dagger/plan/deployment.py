"""Deployments: image + model + arguments + environment + nodes. One server each, shared by the cells that agree in all
of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from vep_dagger.compat.rules import LineRule
from vep_dagger.dsl import Image, key_of

OWN_FLAGS = frozenset(
    {
        "host",
        "port",
        "model",
        "served-model-name",
        "tensor-parallel-size",
        "data-parallel-size",
        "enable-expert-parallel",
    }
)
"""Flags of ``vllm serve`` that come from keys of ``[serve]`` and must not be given again among its ``args``."""


@dataclass(frozen=True)
class Deployment:
    """One server, wherever it will run. ``args`` is what follows ``vllm serve MODEL``, but for host and port."""

    slug: str
    """The first cell of the matrix that it serves; its evidence is kept under this name."""
    image: Image
    model: str
    """A name on the hub, or a directory relative to the matrix file."""
    model_digest: str | None
    served_model_name: str
    nodes: int
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    unset: tuple[str, ...]
    demanded: tuple[LineRule, ...]
    forbidden: tuple[LineRule, ...]

    @cached_property
    def key(self) -> str:
        """sha256 over all that decides how the server behaves: where the model directory lies does not, what it holds
        does."""
        return key_of(
            "deployment",
            {
                "image": self.image.key,
                "model": self.model_digest or self.model,
                "served_model_name": self.served_model_name,
                "nodes": self.nodes,
                "args": self.args,
                "env": [list(pair) for pair in self.env],
                "unset": self.unset,
            },
        )


def flags(args: tuple[tuple[str, object], ...]) -> tuple[str, ...]:
    """Arguments of a command line from a table: ``true`` gives ``--flag``, ``false`` gives ``--no-flag``, a list
    repeats its values.

    >>> flags((("max_num_seqs", 8), ("enforce-eager", True), ("enable-prefix-caching", False)))
    ('--max-num-seqs', '8', '--enforce-eager', '--no-enable-prefix-caching')
    """
    line: list[str] = []
    for name, value in args:
        flag = flag_name(name)
        if isinstance(value, bool):
            line.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            line += [f"--{flag}", *(str(item) for item in value)]
        else:
            line += [f"--{flag}", str(value)]
    return tuple(line)


def flag_name(name: str) -> str:
    """A flag as the command line spells it: ``max_num_seqs`` is ``max-num-seqs``; dots of nested options stay."""
    return name.replace("_", "-")
