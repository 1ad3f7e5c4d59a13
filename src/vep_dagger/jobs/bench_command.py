"""The command line of ``vllm bench serve``: every option that matters is given, since defaults change between
releases."""

from __future__ import annotations

from pathlib import Path

from vep_dagger.compat.rules import BenchFlags
from vep_dagger.matrix.schema import Workload
from vep_dagger.plan.deployment import flags

PERCENTILES = "50,90,99"

WARMUP_SEED = 1_000_000
"""Added to the seed of a warm-up, so that no measured repeat sends prompts that a prefix cache has seen."""


def bench_command(
    load: Workload,
    release: BenchFlags,
    *,
    url: str,
    model: str,
    served_model_name: str,
    result: Path,
    seed: int,
    num_prompts: int,
) -> list[str]:
    """One run of a workload. Each repeat has a seed of its own, the same in every cell: no repeat profits from the
    prompts of another, and cells are compared on equal prompts."""
    command = ["vllm", "bench", "serve", release.backend, release.api]
    command += ["--base-url", url, "--endpoint", "/v1/completions"]
    command += ["--model", model, "--tokenizer", model, "--served-model-name", served_model_name]
    command += ["--dataset-name", load.dataset]
    command += ["--random-input-len", str(load.input_len), "--random-output-len", str(load.output_len)]
    command += ["--random-range-ratio", "0.0", "--random-prefix-len", "0"]
    command += ["--num-prompts", str(num_prompts), "--seed", str(seed)]
    command += [
        "--request-rate",
        "inf" if load.request_rate is None else f"{load.request_rate:g}",
        "--burstiness",
        "1.0",
    ]
    if load.max_concurrency is not None:
        command += ["--max-concurrency", str(load.max_concurrency)]
    if load.ignore_eos:
        command.append("--ignore-eos")
    if release.temperature:
        command += ["--temperature", f"{load.temperature:g}"]
    command += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", PERCENTILES, "--disable-tqdm"]
    command += ["--save-result", "--result-dir", str(result.parent), "--result-filename", result.name]
    return command + list(flags(tuple(sorted(_frozen(load)))))


def _frozen(load: Workload) -> list[tuple[str, object]]:
    return [(name, tuple(value) if isinstance(value, list) else value) for name, value in load.args.items()]
