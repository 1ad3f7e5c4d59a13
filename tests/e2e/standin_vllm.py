"""Stands in for vLLM where the real one would take minutes: the same command lines, log lines, endpoints and result
files, with real processes, ports and requests. The source of a wheel that a recipe of the tests installs."""

import argparse
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

VERSION = "0.32.0"
START_S = float(os.environ.get("STANDIN_START_S", "0.3"))
REQUEST_S = 0.005


class Counts:
    """Finished requests, under a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.finished = 0


def handler(model: str, counts: Counts) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body: str, code: int = 200) -> None:
            data = body.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path == "/metrics":
                label = f'engine="0",finished_reason="length",model_name="{model}"'
                self.answer(f"vllm:request_success_total{{{label}}} {float(counts.finished)}\n")
            else:
                self.answer(json.dumps({"version": VERSION}))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(REQUEST_S)
            if os.environ.get("STANDIN_DIES"):
                print("Traceback (most recent call last):\nNotImplementedError: no gather on this device", flush=True)
                os._exit(1)
            with counts.lock:
                counts.finished += 1
            usage = {"prompt_tokens": 1, "completion_tokens": asked["max_tokens"], "total_tokens": 1}
            self.answer(json.dumps({"choices": [{"text": " so"}], "usage": usage}))

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def serve(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    options, _ = parser.parse_known_args(argv)
    # A worker in a session of its own, which nobody ends: what a careless engine leaves behind.
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("\x1b[36m(Worker pid=1)\x1b[0m INFO 11-24 00:00:00 [loader.py:1] Starting to load model x...", flush=True)
    time.sleep(START_S)
    server = ThreadingHTTPServer((options.host, options.port), handler(options.served_model_name, Counts()))
    server.daemon_threads = True
    print("INFO:     Application startup complete.", flush=True)
    server.serve_forever()


def bench(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for name in ("--base-url", "--served-model-name", "--result-dir", "--result-filename"):
        parser.add_argument(name, required=True)
    for name in ("--num-prompts", "--random-output-len"):
        parser.add_argument(name, type=int, required=True)
    options, _ = parser.parse_known_args(argv)
    place = urlsplit(options.base_url)
    began, completed = time.monotonic(), 0
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    for _ in range(options.num_prompts):
        body = json.dumps({"prompt": "x", "max_tokens": options.random_output_len})
        connection.request("POST", "/v1/completions", body)
        answer = connection.getresponse()
        answer.read()
        completed += answer.status == 200
    seconds = time.monotonic() - began
    result = {
        "duration": seconds,
        "completed": completed,
        "num_prompts": options.num_prompts,
        "request_throughput": completed / seconds,
        "output_throughput": completed * options.random_output_len / seconds,
        "median_ttft_ms": 1000 * seconds / completed,
        "p99_ttft_ms": 1000 * seconds / completed,
        "median_tpot_ms": 1.0,
        "p99_tpot_ms": 1.0,
    }
    (Path(options.result_dir) / options.result_filename).write_text(json.dumps(result))


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2:])
    else:
        bench(sys.argv[3:])
