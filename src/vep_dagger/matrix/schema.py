"""What a matrix file may say: every table and key, with its meaning, as strict models.

The JSON Schema for editors is made from these models (:mod:`vep_dagger.matrix.jsonschema`), and ``docs/matrix.md`` explains each key.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Scalar: TypeAlias = bool | int | float | str
PinValue: TypeAlias = str | dict[str, str | int | bool | list[str]]
ArgValue: TypeAlias = bool | int | float | str | list[str]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0, strict=False)]
Count = Annotated[int, Field(ge=1)]

Metric: TypeAlias = Literal[
    "request_throughput", "output_throughput", "total_token_throughput",
    "mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms",
    "mean_tpot_ms", "median_tpot_ms", "p99_tpot_ms",
    "mean_itl_ms", "median_itl_ms", "p99_itl_ms",
]  # fmt: skip
"""The figures of ``vllm bench serve`` that can be gated on or picked by: throughputs in 1/s, latencies in milliseconds."""


class Table(BaseModel):
    """Base of every table of the file: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class ServeChanges(Table):
    """What an axis' choice may change of ``[serve]``; a key that is left out stays as it is."""

    model: str | None = None
    revision: str | None = None
    tensor_parallel: Count | None = None
    data_parallel: Count | None = None
    expert_parallel: bool | None = None
    nodes: Count | None = None


class Choice(Table):
    """One choice of a named axis, and the further keys of an ``[[include]]``: what it sets in its cells."""

    pins: dict[Name, PinValue] = Field(default_factory=dict, description="Pins by name.")
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables of the server.")
    args: dict[Name, ArgValue] = Field(default_factory=dict, description="Flags of `vllm serve`.")
    serve: ServeChanges = Field(default_factory=ServeChanges, description="Keys of [serve].")
    all2all: str | None = Field(default=None, description="The expert-parallel all-to-all backend.")
    deep_gemm: bool | None = Field(default=None, description="Whether DeepGEMM's kernels must be used.")


class Serve(Table):
    """The server of every cell, before its axes change it."""

    model: str = Field(description="A model's name on the hub, or a directory (relative to the matrix file) that starts with . or /.")
    revision: str | None = Field(default=None, description="The model's commit on the hub.")
    served_model_name: str | None = Field(default=None, description="The name that requests use; the model's by default.")
    tensor_parallel: Count = 1
    data_parallel: Count = 1
    expert_parallel: bool = False
    nodes: Count = 1
    all2all: str | None = None
    deep_gemm: bool | None = None
    host: str = Field(default="127.0.0.1", description="The address that the server listens on.")
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(default=None, description="A fixed port; a free one by default.")
    args: dict[Name, ArgValue] = Field(
        default_factory=dict, description="Flags of `vllm serve`: true gives --flag, false --no-flag, a list repeats its values."
    )
    env: dict[EnvName, str] = Field(default_factory=dict, description="Variables of the server.")


class Deadlines(Table):
    """How long a server may stay in one phase of its start, by what its log shows, and how long other things may take. Seconds."""

    launch: Seconds = Field(default=180, description="From the process' start to the first phase that the log shows.")
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

    prompts: Annotated[list[str], Field(min_length=1)] = Field(
        default=["The capital of France is", "1, 2, 3, 4,", "def main():"], description="Each is sent as a greedy completion."
    )
    max_tokens: Count = 16
    demand: list[str] = Field(default_factory=list, description="Further text that the log must show.")
    forbid: list[str] = Field(default_factory=list, description="Further text that the log must not show.")
    parity: Literal["off", "report", "gate"] = Field(
        default="report", description="Whether greedy answers must agree between the cells of one model."
    )
    deadlines: Deadlines = Field(default_factory=Deadlines)


class Workload(Table):
    """One ``[[bench]]``: a workload of ``vllm bench serve``. Every option that matters is given to it explicitly."""

    name: Name
    dataset: Literal["random"] = "random"
    input_len: Count = Field(description="Tokens of a prompt.")
    output_len: Count = Field(description="Tokens of an answer.")
    num_prompts: Count
    ignore_eos: bool = True
    repeats: Count = 3
    warmup_prompts: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Requests before the first repeat, measured by nobody; 0 for as many as num_prompts."
    )
    request_rate: Annotated[float, Field(gt=0, strict=False)] | None = Field(
        default=None, description="Requests per second; all at once by default."
    )
    max_concurrency: Count | None = None
    temperature: Annotated[float, Field(ge=0, strict=False)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0
    timeout: Seconds = Field(default=3600, description="Seconds that one repeat may take.")
    args: dict[Name, ArgValue] = Field(default_factory=dict, description="Further flags of `vllm bench serve`.")


class Pick(Table):
    """What makes a cell the best, and which cells it is compared with."""

    maximize: Metric | None = None
    minimize: Metric | None = None
    workload: Name | None = Field(default=None, description="The [[bench]] that decides; the first by default.")
    baseline: dict[Name, Scalar] = Field(default_factory=dict, description="The choices of the baseline's cells.")


class MatrixFile(Table):
    """The whole file."""

    recipe: str = Field(description="A built-in recipe's name, or path/to/file.py:function.")
    pins: dict[Name, PinValue] = Field(default_factory=dict)
    mirrors: dict[str, str] = Field(default_factory=dict, description="URL prefixes and what to use instead; never part of a key.")
    axes: dict[Name, list[Scalar] | dict[Name, Choice]] = Field(default_factory=dict)
    include: list[dict[str, Scalar | dict[str, object]]] = Field(default_factory=list)
    exclude: list[dict[Name, Scalar]] = Field(default_factory=list)
    serve: Serve
    smoke: Smoke = Field(default_factory=Smoke)
    bench: list[Workload] = Field(default_factory=list)
    gates: dict[Metric, Annotated[float, Field(gt=0, strict=False)]] = Field(
        default_factory=dict, description="Limits that a pick must hold: latencies at most, throughputs at least."
    )
    pick: Pick = Field(default_factory=Pick)
