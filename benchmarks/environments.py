"""The second release's environment against the first's, from empty caches: less than a third of its time.

Both are built by one ``vep build`` of the CPU example, as a matrix has it; the seconds are those of the build records.
Downloads some gigabytes. ``python -m benchmarks.environments [FOLDER]``; the folder must be on the disk that is meant.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import VEP, machine, run_once, verdict

LIMIT = 1 / 3
MATRIX = Path(__file__).parents[1] / "examples" / "cpu" / "matrix.toml"


def main() -> int:
    """Print the figures; 1 if the limit is missed."""
    print(f"two environments from empty caches ({machine()})")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        env = {**os.environ, "UV_CACHE_DIR": f"{folder}/uv", "VEP_CACHE_DIR": f"{folder}/vep"}
        timing = run_once([VEP, "build", str(MATRIX), "--out", f"{folder}/run"], env=env)
        if timing.exit_code:
            print("a build failed")
            return 1
        records = [
            json.loads(file.read_text(encoding="utf-8")) for file in Path(folder).glob("run/images/*/build.json")
        ]
    first, second = (record["seconds"] for record in sorted(records, key=lambda record: record["started"]))
    print(f"        first {first:.1f} s, second {second:.1f} s")
    return 0 if verdict("second / first", second / first, LIMIT, "of it") else 1


if __name__ == "__main__":
    sys.exit(main())
