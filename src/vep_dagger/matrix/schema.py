"""What a matrix file may say: every table and key, with its meaning, as strict models.

The JSON Schema for editors is made from these models (:mod:`vep_dagger.matrix.jsonschema`), and ``docs/matrix.md``
explains each key.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from vep_dagger.matrix.values import arg_value, axis_kind, pin_value, scalar_value

Scalar: TypeAlias = Annotated[bool | int | float | str, BeforeValidator(scalar_value)]
PinTable: TypeAlias = Annotated[dict[str, str | int | bool | list[str]], Field(min_length=1)]
PinValue: TypeAlias = Annotated[str | PinTable, BeforeValidator(pin_value)]
ArgList: TypeAlias = Annotated[list[str], Field(min_length=1)]
ArgValue: TypeAlias = Annotated[bool | int | float | str | ArgList, BeforeValidator(arg_value)]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Nodes = Annotated[int, Field(ge=1, json_schema_extra={"maximum": 64})]
"""The plan holds the upper limit, where it can say what works."""
Port = Annotated[int, Field(ge=1, le=65535)]

Fabric: TypeAlias = Literal["efa", "infiniband", "tcp"]
"""The network between the nodes of a server."""

RPC_PORT = 13345

Metric: TypeAlias = Literal[
    "request_throughput", "output_throughput", "total_token_throughput",
    "mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms",
    "mean_tpot_ms", "median_tpot_ms", "p99_tpot_ms",
    "mean_itl_ms", "median_itl_ms", "p99_itl_ms",
]  # fmt: skip
"""The figures of ``vllm bench serve`` that can be gated on or picked by: throughputs in 1/s, latencies in ms."""

METRICS: tuple[str, ...] = get_args(Metric)


class Table(BaseModel):
    """Base of every table of the file: strict, frozen, no unknown keys, no numbers that JSON lacks."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class ServeChanges(Table):
    """What an axis' choice may change of [serve]; a key that is left out stays as it is."""

    model: Text | None = Field(
        default=None, description="A model's name on the hub, or a directory that starts with . or /."
    )
    revision: Text | None = Field(default=None, description="The model's commit on the hub.")
    tensor_parallel: Count | None = Field(default=None, description="GPUs that share each layer.")
    data_parallel: Count | None = Field(default=None, description="Copies of the attention layers, over all nodes.")
    expert_parallel: bool | None = Field(default=None, description="Whether the experts are spread over all GPUs.")
    nodes: Nodes | None = Field(default=None, description="Machines that the server runs on, 64 at most.")
    fabric: Fabric | None = Field(default=None, description="The network between the nodes.")


class Choice(Table):
    """One choice of a named axis: what it sets in its cells."""

    pins: dict[Name, PinValue] = Field(default_factory=dict, description="Pins by name.")
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables of the server.")
    args: dict[Name, ArgValue] = Field(default_factory=dict, description="Flags of `vllm serve`.")
    serve: ServeChanges = Field(default_factory=ServeChanges, description="Keys of [serve].")
    all2all: Text | None = Field(default=None, description="The expert-parallel all-to-all backend.")
    deep_gemm: bool | None = Field(default=None, description="Whether DeepGEMM's kernels must be used.")


class Include(Table):
    """One [[include]]: the choices that it is for, and what it sets there, as a choice of a named axis does."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    pins: dict[Name, PinValue] = Field(default_factory=dict, description="Pins by name.")
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables of the server.")
    args: dict[Name, ArgValue] = Field(default_factory=dict, description="Flags of `vllm serve`.")
    serve: ServeChanges = Field(default_factory=ServeChanges, description="Keys of [serve].")
    all2all: Scalar | None = Field(
        default=None, description="The choice of the axis of this name; without one, the backend."
    )
    deep_gemm: Scalar | None = Field(
        default=None, description="The choice of the axis of this name; without one, the switch."
    )


class Serve(Table):
    """The server of every cell, before its axes change it."""

    model: Text = Field(
        description="A model's name on the hub, or a directory (relative to the matrix file) that starts with . or /."
    )
    revision: Text | None = Field(default=None, description="The model's commit on the hub.")
    served_model_name: Text | None = Field(
        default=None, description="The name that requests use; the model's by default."
    )
    tensor_parallel: Count = Field(default=1, description="GPUs that share each layer.")
    data_parallel: Count = Field(default=1, description="Copies of the attention layers, over all nodes.")
    expert_parallel: bool = Field(default=False, description="Whether the experts are spread over all GPUs.")
    nodes: Nodes = Field(default=1, description="Machines that the server runs on, 64 at most.")
    fabric: Fabric | None = Field(
        default=None, description="The network between the nodes: sets what its transports and containers need."
    )
    rpc_port: Port = Field(
        default=RPC_PORT, description="The port of the first node that the engines of the others connect to."
    )
    all2all: Text | None = Field(default=None, description="The expert-parallel all-to-all backend.")
    deep_gemm: bool | None = Field(default=None, description="Whether DeepGEMM's kernels must be used.")
    host: Text = Field(default="127.0.0.1", description="The address that the server listens on.")
    port: Port | None = Field(default=None, description="A fixed port; a free one by default.")
    args: dict[Name, ArgValue] = Field(
        default_factory=dict,
        description="Flags of `vllm serve`: true gives --flag, false --no-flag, a list repeats its values.",
    )
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables of the server.")


class Deadlines(Table):
    """Seconds that a server may stay in one phase of its start, by what its log shows, and that other work may take."""

    launch: Seconds = Field(default=600, description="From the process' start to the first phase that the log shows.")
    weights: Seconds = Field(default=1800, description="Loading weights.")
    compile: Seconds = Field(default=1200, description="torch.compile.")
    warmup: Seconds = Field(default=1800, description="Kernel warm-up, DeepGEMM's compilation included.")
    capture: Seconds = Field(default=1200, description="Capturing CUDA graphs.")
    ready: Seconds = Field(default=180, description="From the last phase to /health.")
    total: Seconds = Field(default=5400, description="From the process' start to /health, whatever the phases.")
    request: Seconds = Field(default=120, description="One request of the smoke test.")
    stop: Seconds = Field(default=60, description="A clean stop, before it is forced.")


class Smoke(Table):
    """What must be true of a server before it is measured."""

    prompts: Annotated[list[Text], Field(min_length=1)] = Field(
        default=["The capital of France is", "1, 2, 3, 4,", "def main():"],
        description="Each is sent as a greedy completion.",
    )
    max_tokens: Count = Field(default=16, description="Tokens of each answer.")
    demand: list[Text] = Field(default_factory=list, description="Further text that the log must show.")
    forbid: list[Text] = Field(default_factory=list, description="Further text that the log must not show.")
    deadlines: Deadlines = Field(default_factory=Deadlines)


class Workload(Table):
    """One [[bench]]: a workload of `vllm bench serve`. Every option that matters is given to it explicitly."""

    name: Name = Field(description="Its name in reports, and of its files.")
    dataset: Literal["random"] = Field(default="random", description="Where prompts come from: random tokens.")
    input_len: Count = Field(description="Tokens of a prompt.")
    output_len: Count = Field(description="Tokens of an answer.")
    num_prompts: Count = Field(description="Requests of one repeat.")
    ignore_eos: bool = Field(default=True, description="Whether answers go on to output_len, whatever the model says.")
    repeats: Count = Field(default=3, description="How often it is measured on one server.")
    warmup_prompts: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Requests before the first repeat, measured by nobody; 0 for as many as num_prompts."
    )
    request_rate: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Requests per second; all at once by default."
    )
    max_concurrency: Count | None = Field(default=None, description="Requests in flight at most; no limit by default.")
    temperature: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="The sampling temperature; 0 is greedy."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Decides the random prompts.")
    timeout: Seconds = Field(default=3600, description="Seconds that one repeat may take.")
    args: dict[Name, ArgValue] = Field(default_factory=dict, description="Further flags of `vllm bench serve`.")


class Pick(Table):
    """What makes a cell the best, and which cells it is compared with."""

    maximize: Metric | None = Field(
        default=None, description="The figure that must be high: output_throughput by default."
    )
    minimize: Metric | None = Field(default=None, description="The figure that must be low.")
    workload: Name | None = Field(default=None, description="The [[bench]] that decides; the first by default.")
    baseline: dict[Name, Scalar] = Field(default_factory=dict, description="The choices of the baseline's cells.")

    @property
    def goal(self) -> tuple[Metric, Literal["higher", "lower"]]:
        """The figure that decides, and which of two is better."""
        if self.minimize is not None:
            return self.minimize, "lower"
        return self.maximize or "output_throughput", "higher"


ListAxis: TypeAlias = Annotated[list[Scalar], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
NamedAxis: TypeAlias = Annotated[dict[Name, Choice], Field(min_length=1)]
Axis: TypeAlias = Annotated[
    Annotated[ListAxis, Tag("list")] | Annotated[NamedAxis, Tag("table")], Discriminator(axis_kind)
]


class MatrixFile(Table):
    """The whole file."""

    recipe: Text = Field(description="A built-in recipe's name, or path/to/file.py:function.")
    pins: dict[Name, PinValue] = Field(
        default_factory=dict, description="The versions of every cell, before its axes change them."
    )
    mirrors: dict[str, str] = Field(
        default_factory=dict, description="URL prefixes and what to use instead; never part of a key."
    )
    axes: dict[Name, Axis] = Field(
        default_factory=dict,
        description="A list of values of a pin, a key of [serve], all2all or deep_gemm; or a table of named choices.",
    )
    include: list[Include] = Field(default_factory=list, description="Extends the cells that it fits, or adds one.")
    exclude: list[dict[Name, Scalar]] = Field(
        default_factory=list, description="Removes the cells that have all these choices."
    )
    serve: Serve | None = Field(
        default=None, description="The server of every cell, before its axes change it; without it, nothing is served."
    )
    smoke: Smoke = Field(default_factory=Smoke)
    bench: list[Workload] = Field(
        default_factory=list, description="Workloads; each is measured on the server of each cell."
    )
    gates: dict[Metric, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="Limits that a pick must hold: latencies at most, throughputs at least."
    )
    pick: Pick = Field(default_factory=Pick)
