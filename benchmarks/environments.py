"""The second release's environment against the first's, both from empty caches: less than a third of its time.

Downloads some gigabytes. ``python -m benchmarks.environments [FOLDER]``; the folder must be on the disk that is meant.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import VEP, machine, run_once, verdict

LIMIT = 1 / 3
MATRIX = Path(__file__).parents[1] / "examples" / "cpu" / "matrix.toml"
FIRST, SECOND = "vllm=0.32.0", "vllm=0.27.0"


def main() -> int:
    """Print the figures; 1 if the limit is missed."""
    print(f"two environments from empty caches ({machine()})")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        env = {**os.environ, "UV_CACHE_DIR": f"{folder}/uv", "VEP_CACHE_DIR": f"{folder}/vep"}
        timings = [
            run_once([VEP, "build", str(MATRIX), "-k", cell, "--out", f"{folder}/{number}"], env=env)
            for number, cell in enumerate((FIRST, SECOND))
        ]
    if any(timing.exit_code for timing in timings):
        print("a build failed")
        return 1
    first, second = (timing.wall_s for timing in timings)
    print(f"        first {first:.1f} s, second {second:.1f} s")
    return 0 if verdict("second / first", second / first, LIMIT, "of it") else 1


if __name__ == "__main__":
    sys.exit(main())
