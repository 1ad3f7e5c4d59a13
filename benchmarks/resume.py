"""A finished run, resumed, against ``vep --help``: at most 1 s more. ``python -m benchmarks.resume MATRIX RUN``.

``RUN`` is the directory of a finished run of ``MATRIX``; nothing in it changes.
"""

from __future__ import annotations

import sys

from benchmarks.measure import VEP, machine, median, side_by_side, verdict

LIMIT_S = 1.0
RUNS = 7


def main() -> int:
    """Print the figures; 1 if the limit is missed."""
    matrix, run = sys.argv[1:3]
    print(f"a finished run, resumed ({machine()})")
    again = [VEP, "run", matrix, "--out", run, "--resume"]
    found = side_by_side({"help": [VEP, "--help"], "resume": again}, RUNS)
    if any(timing.exit_code for timing in found["resume"]):
        print("the resumed run did not pass")
        return 1
    print(f"        vep --help {median(found['help']):.3f} s, resumed {median(found['resume']):.3f} s")
    return 0 if verdict("difference", median(found["resume"]) - median(found["help"]), LIMIT_S, "s") else 1


if __name__ == "__main__":
    sys.exit(main())
