"""Nodes: how one server lies on several machines, and the command that each must run.

Every node runs ``vllm serve`` with an equal share of the data-parallel ranks. The first, the head, has the API server;
the others are headless and connect to it (``vllm/entrypoints/cli/serve.py``, the same flags in 0.9.0 to 0.33.0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vep_dagger.matrix.schema import RPC_PORT, Fabric
from vep_dagger.plan.fabrics import needs_of

if TYPE_CHECKING:
    from vep_dagger.plan.deployment import Deployment

MAX_NODES = 64

HEAD = "{head}"
"""Stands for an address of the first node that the others reach; who starts the nodes fills it in."""

GIVEN = (
    "--data-parallel-size-local",
    "--data-parallel-address",
    "--data-parallel-rpc-port",
    "--data-parallel-start-rank",
    "--headless",
)
"""The flags that make nodes one server."""

LAYOUT_FLAGS = frozenset(
    {
        *(flag.removeprefix("--") for flag in GIVEN),
        *("data-parallel-rank", "data-parallel-backend"),
        *("data-parallel-hybrid-lb", "data-parallel-external-lb", "data-parallel-multi-port-external-lb"),
        *("nnodes", "node-rank", "master-addr", "master-port"),
    }
)
"""Flags that would lay a server of several nodes out in another way."""

RANK_FLAGS = {
    "pipeline-parallel-size": "pipeline_parallel",
    "prefill-context-parallel-size": "prefill_context_parallel",
}
"""Flags that give every data-parallel rank more GPUs, as tensor_parallel does, and what they are in a :class:`Layout`.
vLLM's world size is the product of the three (``vllm/config/parallel.py``, ``ParallelConfig.__post_init__``, 0.27.0 and
0.32.0); ``decode-context-parallel-size`` shares the GPUs of tensor_parallel out, and adds none."""

_HEAD_ONLY = "--api-server-count"
"""A headless node has no API server, and refuses to start with this flag."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a server is spread over machines."""

    nodes: int = 1
    data_parallel: int = 1
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    prefill_context_parallel: int = 1
    rpc_port: int = RPC_PORT
    """Where the head listens for the engines of the other nodes."""
    fabric: Fabric | None = None

    @classmethod
    def of(cls, serve: Mapping[str, Any]) -> Layout:
        """The layout that keys of ``[serve]`` and :func:`rank_degrees` ask for; whether it can be is :meth:`fault`'s to
        say."""
        return cls(**{name: serve[name] for name in cls.__dataclass_fields__ if name in serve})

    @property
    def local(self) -> int:
        """Data-parallel ranks of each node."""
        return self.data_parallel // self.nodes

    @property
    def workers(self) -> int:
        """Worker processes of each node; on GPUs each has one GPU."""
        return self.local * self.tensor_parallel * self.pipeline_parallel * self.prefill_context_parallel

    def fault(self, device: str, port: int | None) -> tuple[str, str, str] | None:
        """The key of ``[serve]`` that is wrong, why, and what works; None for a layout that can be.

        A server without a GPU may have several nodes: its ranks talk over TCP in any case.
        """
        if self.nodes > MAX_NODES:
            return "nodes", f"nodes = {self.nodes} is too many", f"a server has 1 to {MAX_NODES} nodes"
        if self.nodes == 1:
            if self.fabric:
                why = f"fabric = {self.fabric!r} is of the network between nodes, and this server has one node"
                return "fabric", why, "set fabric together with nodes, in a named axis, or leave it out"
            return None
        if self.data_parallel % self.nodes:
            return (
                "nodes",
                f"data_parallel = {self.data_parallel} cannot be spread evenly over nodes = {self.nodes}",
                f"{self._nearest()}. The GPUs of one data-parallel rank (tensor_parallel) are always of one node",
            )
        if device == "cpu" and self.fabric not in (None, "tcp"):
            why = f"fabric = {self.fabric!r} is for GPUs, and the image's device is cpu"
            return "fabric", why, "its ranks talk over TCP: leave fabric out"
        if self.rpc_port == port:
            why = f"rpc_port = {port} is the port of the API server too"
            return "rpc_port", why, "the head listens on both: give them different numbers"
        return None

    def _nearest(self) -> str:
        less = self.data_parallel // self.nodes * self.nodes
        more = less + self.nodes
        return f"data_parallel = {f'{less} or {more}' if less else more} can; or exclude this combination"


@dataclass(frozen=True, slots=True)
class NodeContainer:
    """What the container of a node needs of its machine."""

    gpus: int
    devices: tuple[str, ...]
    """Device files; a star stands for every one of that name."""
    ulimits: tuple[tuple[str, int], ...]
    """-1 is no limit."""
    ipc: str
    """``host``: the ranks of a node share memory, of which a container has 64 MiB otherwise."""
    host_network: bool
    """Whether it must have the machine's own network: nodes connect to each other on ports that vLLM chooses."""


@dataclass(frozen=True, slots=True)
class NodeCommand:
    """What one node runs."""

    rank: int
    """The node's number; 0 is the head."""
    start_rank: int
    """The first of its data-parallel ranks."""
    local: int
    """How many of them it has."""
    headless: bool
    argv: tuple[str, ...]
    """The whole command, inside the image; ``{head}``, ``{host}`` and ``{port}`` are left to fill in."""
    env: tuple[tuple[str, str], ...]
    """Variables on top of the image's; the same on every node."""
    container: NodeContainer


def rank_degrees(args: Iterable[tuple[str, object]]) -> dict[str, int]:
    """What flags among ``args`` say of the GPUs of each rank, as keys of a :class:`Layout`. Raises ValueError with the
    name of one whose value is no number of GPUs."""
    degrees: dict[str, int] = {}
    for name, value in args:
        if key := RANK_FLAGS.get(name.replace("_", "-")):
            text = str(value)
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(name)
            degrees[key] = int(text)
    return degrees


def node_commands(deployment: Deployment) -> tuple[NodeCommand, ...]:
    """The command of each node, the head first."""
    layout = deployment.layout
    needs = needs_of(layout.fabric)
    container = NodeContainer(
        gpus=layout.workers if deployment.image.device == "cuda" else 0,
        devices=needs.devices,
        ulimits=needs.ulimits,
        ipc="host",
        host_network=layout.nodes > 1,
    )
    return tuple(
        NodeCommand(
            rank=rank,
            start_rank=rank * layout.local,
            local=layout.local,
            headless=rank > 0,
            argv=_argv(deployment, rank),
            env=deployment.env,
            container=container,
        )
        for rank in range(layout.nodes)
    )


def _argv(deployment: Deployment, rank: int) -> tuple[str, ...]:
    model, layout = deployment.model, deployment.layout
    start = ("vllm", "serve", model.source)
    served = ("--served-model-name", model.served_name)
    api = ("--host", "{host}", "--port", "{port}")
    if layout.nodes == 1:
        return (*start, *api, *served, *deployment.args)
    local, address, port, start_rank, headless = GIVEN
    joined = (local, str(layout.local), address, HEAD, port, str(layout.rpc_port))
    if rank == 0:
        # A start rank of its own, 0 too, would make newer releases balance the load in another way ("hybrid").
        return (*start, *api, *served, *deployment.args, *joined)
    own = (start_rank, str(rank * layout.local), headless)
    return (*start, *served, *_without_api_servers(deployment.args), *joined, *own)


def _without_api_servers(args: tuple[str, ...]) -> tuple[str, ...]:
    if _HEAD_ONLY not in args:
        return args
    at = args.index(_HEAD_ONLY)
    return args[:at] + args[at + 2 :]
