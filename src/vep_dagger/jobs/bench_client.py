"""Runs inside the image, beside the server: carries out a list of ``vllm bench serve`` commands, one after the other.

Importing vLLM takes many seconds and is the same for every repeat, so it is done once: each command then runs in a fork
of this process, which has just what a new ``vllm`` process has after its imports. Started as
``python bench_client.py SPEC REPORT``, with nothing but the standard library and the image's own vLLM.

``SPEC`` is JSON: ``{"metrics": URL, "items": [{"argv": [...], "log": path, "timeout_s": n}]}``. ``REPORT`` gets a line
of JSON for each command: exit code (None after the timeout), seconds, and the server's request counters before and
after. The first command that fails ends the list.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.metadata
import json
import os
import signal
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

COMMANDS = (
    "benchmark.main",
    "benchmark.serve",
    "benchmark.latency",
    "benchmark.throughput",
    "benchmark.startup",
    "benchmark.sweep",
)
PRELOADED = (
    *(f"vllm.entrypoints.cli.{name}" for name in (*COMMANDS, "collect_env", "launch", "openai", "run_batch", "serve")),
    "vllm.benchmarks.serve",
    "transformers.models.auto.tokenization_auto",
)


def counters(url: str) -> str:
    """The lines of ``/metrics`` that count finished requests."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            lines = answer.read().decode("utf-8", "replace").splitlines()
    except (OSError, http.client.HTTPException):
        return ""
    return "\n".join(line for line in lines if line.startswith("vllm:request_success_total"))


def preload() -> None:
    """Import what ``vllm bench serve`` imports only when it is called. A module that a release lacks costs nothing but
    its time later."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def child(command: Callable[[], object], argv: list[str], log: str) -> NoReturn:
    """Become ``vllm`` with these arguments; never returns."""
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = list(argv)
        try:
            result = command()
            code = result if isinstance(result, int) else 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(pid: int, timeout_s: float) -> int | None:
    """The exit code of ``pid``, or None if it had to be killed for being late."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> int:
    """Load the command once, then run the list."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="vllm")
    command = entry.load()
    preload()
    with Path(sys.argv[2]).open("a", encoding="utf-8") as report:
        for item in spec["items"]:
            before, began = counters(spec["metrics"]), time.monotonic()
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork() or child(command, item["argv"], item["log"])
            code = wait(pid, item["timeout_s"])
            line = {
                "exit_code": code,
                "seconds": time.monotonic() - began,
                "before": before,
                "after": counters(spec["metrics"]),
            }
            print(json.dumps(line), file=report, flush=True)
            if code != 0:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
