"""Deployments: image + model + arguments + environment + nodes. One server each, shared by the cells that agree in all
of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from vep_dagger.compat.rules import Selection
from vep_dagger.dsl import Image, key_of
from vep_dagger.dsl.key import Canonical
from vep_dagger.plan.nodes import Layout

OWN_FLAGS = frozenset(
    {
        "host",
        "port",
        "model",
        "served-model-name",
        "revision",
        "tensor-parallel-size",
        "data-parallel-size",
        "enable-expert-parallel",
    }
)
"""Flags of ``vllm serve`` that come from keys of ``[serve]`` and must not be given again among its ``args``."""

OWN_BENCH_FLAGS = frozenset(
    {
        *("backend", "endpoint-type", "base-url", "host", "port", "endpoint", "header"),
        *("model", "tokenizer", "served-model-name", "dataset-name", "random-input-len", "random-output-len"),
        *("num-prompts", "num-warmups", "seed", "request-rate", "max-concurrency", "ignore-eos", "temperature"),
        *("percentile-metrics", "metric-percentiles", "save-result", "result-dir", "result-filename"),
    }
)
"""The same for ``vllm bench serve`` and the keys of ``[[bench]]``."""

SECRETS = {
    "api-key": "leave it out: the requests of vep carry no key",
    "VLLM_API_KEY": "leave it out: the requests of vep carry no key",
    "hf-token": "export HF_TOKEN where vep runs",
}
"""Flags and variables of a server that hold a secret, and what to do instead: commands, environments and logs are
evidence, and people share that."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a server serves, and under which name."""

    source: str
    """A name on the hub, or a directory relative to the matrix file."""
    digest: str | None
    """Of a directory's content; None for a model of the hub."""
    served_name: str


@dataclass(eq=False)
class Deployment:
    """One server, wherever it will run.

    A value that nobody changes, and not a frozen dataclass all the same: a plan can have a hundred thousand of them,
    and those take three times as long to fill.
    """

    slug: str
    """The first cell of the matrix that it serves; its evidence is kept under this name."""
    image: Image
    model: Model
    layout: Layout
    """How it lies on its nodes."""
    args: tuple[str, ...]
    """What follows ``vllm serve MODEL``, but for host and port."""
    env: tuple[tuple[str, str], ...]
    selection: Selection
    """What its log must show and must not, the matrix file's own demands included, and which variables it must not
    get."""

    @property
    def nodes(self) -> int:
        """Machines that it runs on."""
        return self.layout.nodes

    def canonical(self) -> dict[str, Canonical]:
        """All that decides how the server behaves: where the model directory lies does not, what it holds does."""
        return {
            "image": self.image.key,
            "model": self.model.digest or self.model.source,
            "served_model_name": self.model.served_name,
            "nodes": self.nodes,
            "args": self.args,
            "env": [list(pair) for pair in self.env],
            "unset": self.selection.unset,
            # Where there is none, keys are those of before there were any.
            **({"fabric": self.layout.fabric} if self.layout.fabric else {}),
        }

    @cached_property
    def key(self) -> str:
        """sha256 of everything that decides how the server behaves."""
        return key_of("deployment", self.canonical())


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
