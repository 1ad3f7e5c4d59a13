"""``vep plan`` of 100,000 cells, the whole process: limits 2 s and 500 MB."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import VEP, Timing, machine, run_once, verdict

LIMIT_S = 2.0
LIMIT_MB = 500.0
RUNS = 3


def matrix() -> str:
    """Ten choices on each of five axes, list and named; every cell is a server of its own."""
    lines = ['recipe = "vllm-ep"', "[axes]", "data_parallel = [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]"]
    for axis in ("seqs", "batched", "memory", "blocks"):
        lines.append(f"[axes.{axis}]")
        lines += [f'{axis}{n} = {{ args = {{ "{axis}-flag" = {n} }} }}' for n in range(10)]
    lines += ["[[exclude]]", "data_parallel = 2", 'seqs = "seqs0"', 'batched = "batched0"']
    lines += [
        "[pins]",
        'vllm = "0.11.0"',
        "[serve]",
        'model = "deepseek-ai/DeepSeek-R1-0528"',
        "expert_parallel = true",
    ]
    lines += ["[[bench]]", 'name = "short"', "input_len = 128", "output_len = 128", "num_prompts = 1000"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the figures; 1 if a limit is missed."""
    print(f"vep plan of 100,000 cells ({machine()})")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "matrix.toml"
        file.write_text(matrix(), encoding="utf-8")
        timings: list[Timing] = [run_once([VEP, "plan", str(file)]) for _ in range(RUNS)]
    if any(timing.exit_code for timing in timings):
        print("vep plan failed")
        return 1
    best = min(timings, key=lambda timing: timing.wall_s)
    print(f"        wall {', '.join(f'{timing.wall_s:.2f}' for timing in timings)} s, CPU {best.cpu_s:.2f} s")
    seconds = verdict("wall", best.wall_s, LIMIT_S, "s")
    memory = verdict("peak memory", max(timing.peak_mib for timing in timings) * 1.048576, LIMIT_MB, "MB")
    return 0 if seconds and memory else 1


if __name__ == "__main__":
    sys.exit(main())
