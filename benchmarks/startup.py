"""``vep --help`` against ``python -c pass``: at most 150 ms more."""

from __future__ import annotations

import sys

from benchmarks.measure import VEP, machine, median, side_by_side, verdict

LIMIT_S = 0.150
RUNS = 15


def main() -> int:
    """Print the figures; 1 if the limit is missed."""
    print(f"vep --help ({machine()})")
    found = side_by_side({"python": [sys.executable, "-c", "pass"], "vep": [VEP, "--help"]}, RUNS)
    print(f"        python -c pass {median(found['python']):.3f} s, vep --help {median(found['vep']):.3f} s")
    return 0 if verdict("difference", median(found["vep"]) - median(found["python"]), LIMIT_S, "s") else 1


if __name__ == "__main__":
    sys.exit(main())
