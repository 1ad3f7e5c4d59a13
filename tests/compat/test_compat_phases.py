from __future__ import annotations

import re
import time

import pytest

from vep_dagger.compat import Compat, PhaseRule
from vep_dagger.matrix.schema import Deadlines

ORDER = ["weights", "compile", "warmup", "capture", "ready"]


def shown(compat: Compat, version: str, line: str) -> list[PhaseRule]:
    return [rule for rule in compat.phases(version) if any(re.search(pattern, line) for pattern in rule.patterns)]


def test_every_release_has_the_phases_that_have_deadlines_in_one_order(compat: Compat) -> None:
    orders = {version: [rule.phase for rule in compat.phases(version)] for version in compat.releases}
    # These two warm up their kernels after the capture.
    assert {version for version, order in orders.items() if order != ORDER} == {"0.10.1", "0.10.1.1"}
    assert orders["0.10.1"] == orders["0.10.1.1"] == ["weights", "compile", "capture", "warmup", "ready"]
    assert set(ORDER) < set(Deadlines.model_fields)


@pytest.mark.parametrize(
    ("phase", "versions", "line"),
    [
        ("weights", ("0.9.0", "0.33.0"), "INFO 11-24 00:10:20 [a.py:1] Starting to load model /models/m..."),
        ("weights", ("0.21.0", "0.33.0"), "INFO 11-24 00:10:20 [model_runner.py:392] Loading model from scratch..."),
        ("weights", ("0.9.0", "0.33.0"), "Loading safetensors checkpoint shards:  12% Completed | 20/163 [00:09"),
        ("weights", ("0.9.0", "0.33.0"), "INFO 11-24 00:10:20 [a.py:1] Loading weights took 0.42 seconds"),
        ("compile", ("0.9.0", "0.33.0"), "Using cache directory: /c/torch_compile_cache/a for vLLM's torch.compile"),
        ("compile", ("0.9.0", "0.33.0"), "Dynamo bytecode transform time: 1.81 s"),
        ("compile", ("0.9.0", "0.12.0"), "Compiling a graph for general shape takes 20.1 s"),
        ("compile", ("0.14.0", "0.33.0"), "Compiling a graph for compile range (1, 2048) takes 14.18 s"),
        ("compile", ("0.27.0", "0.32.0"), "Warming up model for the compilation..."),
        ("warmup", ("0.9.0", "0.17.0"), "torch.compile takes 19.57 s in total"),
        ("warmup", ("0.18.0", "0.33.0"), "torch.compile took 19.57 s in total"),
        ("warmup", ("0.18.0", "0.33.0"), "Initial profiling/warmup run took 33.00 s"),
        ("warmup", ("0.18.0", "0.33.0"), "Profiling CUDA graph memory: PIECEWISE=51 (largest=512)"),
        ("warmup", ("0.10.1", "0.13.0"), "DeepGemm(fp8_gemm_nt) warmup (W=torch.Size([4096, 7168])):  42%|####"),
        ("warmup", ("0.10.2", "0.13.0"), "DeepGemm(m_grouped_fp8_gemm_nt_contiguous) warmup (W=torch.Size([32])): 9%"),
        ("warmup", ("0.14.0", "0.33.0"), "DeepGEMM warmup:  58%|#####8    | 331/569 [07:00<05:02,  1.27s/it]"),
        ("warmup", ("0.31.0", "0.33.0"), "JIT kernel warmup (12 compile keys):  25%|##5       | 1/4 [00:01<00:03]"),
        ("capture", ("0.9.0", "0.9.2"), "Capturing CUDA graph shapes:  43%|####      | 29/67 [00:13<00:16,  2.25it/s]"),
        ("capture", ("0.10.1", "0.33.0"), "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  31%|███▏ | 16/51"),
        ("capture", ("0.9.0", "0.33.0"), "Graph capturing finished in 12 secs, took 1.23 GiB"),
        ("ready", ("0.9.0", "0.17.0"), "init engine (profile, create kv cache, warmup model) took 46.51 seconds"),
        ("ready", ("0.21.0", "0.33.0"), "init engine (profile, create kv cache, warmup model) took 46.51 s (compi"),
        ("ready", ("0.9.0", "0.17.0"), "Starting vLLM API server 0 on http://127.0.0.1:8000"),
        ("ready", ("0.18.0", "0.33.0"), "Starting vLLM server on http://127.0.0.1:8000"),
        ("ready", ("0.9.0", "0.33.0"), "INFO:     Application startup complete."),
    ],
)  # fmt: skip
def test_a_line_shows_its_phase_and_no_other(compat: Compat, phase: str, versions: tuple[str, ...], line: str) -> None:
    for version in versions:
        (rule,) = shown(compat, version, line)
        assert rule.phase == phase
        if re.search(r"\d%", line):
            assert rule.progress is not None
            found = re.search(rule.progress, line)
            assert found is not None
            assert found["percent"] == re.findall(r"(\d+)%", line)[0]


@pytest.mark.parametrize(
    "line",
    [
        "No available shared memory broadcast block found in 60 seconds. This typically happens when",
        "Rank 0: Torch profiler disabled for CUDA graph capture",
        "CUDA graph memory profiling is enabled (default since v0.21.0).",
        "Skipping CuTeDSL warmup because no compile units were requested.",
        "Estimated CUDA graph memory: 0.62 GiB total",
        "compilation_config={'mode': <CompilationMode.VLLM_COMPILE: 3>, 'cudagraph_capture_sizes': [1, 2, 4]}",
    ],
)
def test_an_ordinary_line_shows_no_phase(compat: Compat, line: str) -> None:
    for version in ("0.9.0", "0.10.1.1", "0.26.0", "0.33.0"):
        assert shown(compat, version, line) == []


def test_every_pattern_is_a_regular_expression_that_takes_linear_time(compat: Compat) -> None:
    patterns = set()
    for version in compat.releases:
        for phase in compat.phases(version):
            patterns |= {*phase.patterns, *([phase.progress] if phase.progress else [])}
        for backend in (None, *compat.backends):
            for switch in (None, True, False):
                for device in ("cuda", "cpu"):
                    found = compat.select(
                        version, all2all=backend, deep_gemm=switch, data_parallel=2, expert_parallel=True, device=device
                    )
                    patterns |= {rule.pattern for rule in (*found.demanded, *found.forbidden)}
        for on in (True, False):
            found = compat.sampler(version, on)
            patterns |= {rule.pattern for rule in (*found.demanded, *found.forbidden)}
    assert len(patterns) > 60
    texts = [
        unit * 20_000
        for unit in ("DeepGemm ", "Using a ", "Using DEEPGEMM ", "Loading a ", "Capturing CUDA graph ", "[EP Rank 1")
    ]
    for pattern in patterns:
        compiled = re.compile(pattern)
        began = time.perf_counter()
        for text in texts:
            compiled.search(text)
        assert time.perf_counter() - began < 2.0, pattern
