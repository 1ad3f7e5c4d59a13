"""The compatibility data: loading it, and a look-up that was made before. Limits 30 ms and 20 µs."""

from __future__ import annotations

import sys
import time

from benchmarks.measure import machine, verdict
from vep_dagger.compat import Compat

LOAD_LIMIT_MS = 30.0
LOOK_UP_LIMIT_US = 20.0
LOOK_UPS = 10_000


def main() -> int:
    """Print the figures; 1 if a limit is missed."""
    print(f"compatibility data ({machine()})")
    began = time.perf_counter()
    compat = Compat.load()
    load_ms = 1e3 * (time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(LOOK_UPS):
        compat.select(
            "0.26.0",
            all2all="allgather_reducescatter",
            deep_gemm=False,
            data_parallel=8,
            expert_parallel=True,
            device="cuda",
        )
    look_up_us = 1e6 * (time.perf_counter() - began) / LOOK_UPS
    loads = verdict("load", load_ms, LOAD_LIMIT_MS, "ms")
    looks_up = verdict("repeated look-up", look_up_us, LOOK_UP_LIMIT_US, "µs")
    return 0 if loads and looks_up else 1


if __name__ == "__main__":
    sys.exit(main())
