"""One cell by ``vep`` against the same server and bench started by hand: within 3 % and 2 s.

By hand means: ``vllm serve`` in the environment that ``vep`` has built, a look at ``/health`` five times a second, one
``vllm bench serve`` for the warm-up and for each repeat, SIGTERM, and waiting for the end. ``vep`` does the same and
also proves the server and writes the evidence. In turn, by hand first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.measure import VEP, machine, run_once

RUNS = 2
MATRIX = Path(__file__).parents[1] / "examples" / "cpu" / "matrix.toml"
CELL = "vllm0.32.0-seqs8"


def by_hand(server: list[str], clients: list[list[str]], env: dict[str, str], folder: Path) -> float:
    """Seconds from the start of the server to its end."""
    began = time.perf_counter()
    with (folder / "by-hand.log").open("ab") as log:
        process = subprocess.Popen(server, stdout=log, stderr=log, env=env)
        port = server[server.index("--port") + 1]
        while not healthy(f"http://127.0.0.1:{port}/health"):
            time.sleep(0.2)
        for client in clients:
            subprocess.run(client, stdout=log, stderr=log, env=env, check=True)
        process.send_signal(signal.SIGTERM)
        process.wait()
    return time.perf_counter() - began


def healthy(url: str) -> bool:
    """Whether it answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> int:
    """Print the figures; 1 if the limit is missed."""
    print(f"cell {CELL} ({machine()})")
    seconds: dict[str, list[float]] = {"by hand": [], "vep": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "example"
        # The first run gives the commands, and leaves warm caches to all that follow.
        run_once([VEP, "bench", str(MATRIX), "-k", CELL, "--out", str(run)])
        smoke = json.loads((run / "cells" / CELL / "smoke.json").read_text(encoding="utf-8"))
        spec = json.loads((run / "cells" / CELL / "bench-short" / "client.json").read_text(encoding="utf-8"))
        plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
        server = smoke["server"]["command"]
        program = server[0]
        clients = [[program, *item["argv"][1:]] for item in spec["items"]]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "PYTHON"))}
        env |= plan["images"][0]["env"] | plan["deployments"][0]["env"]
        for number in range(RUNS):
            seconds["by hand"].append(by_hand(server, clients, env, folder))
            out = folder / f"vep-{number}"
            seconds["vep"].append(run_once([VEP, "bench", str(MATRIX), "-k", CELL, "--out", str(out)]).wall_s)
    for name, found in seconds.items():
        print(f"        {name:8} {', '.join(f'{value:.1f}' for value in found)} s")
    hand, vep = (min(found) for found in seconds.values())
    allowed = hand * 1.03 + 2
    holds = vep <= allowed
    print(f"{'holds' if holds else 'MISSED':7} vep {vep:.1f} s, by hand {hand:.1f} s (limit {allowed:.1f} s)")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
