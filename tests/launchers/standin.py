"""A stand-in for `vllm serve` (and for its clients): a real process that behaves well or badly, as its arguments
say."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen


def sleep_for_ever() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        time.sleep(60)


def worker() -> None:
    """A child that survives its parent."""
    if os.fork() == 0:
        sleep_for_ever()


def daemon() -> None:
    """A grandchild in a session of its own whose parent is gone."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            sleep_for_ever()
        os._exit(0)
    os.waitpid(child, 0)


def show(path: str) -> None:
    try:
        print(path, "has", Path(path).read_text())
    except OSError as error:
        print(path, "cannot be read:", error.strerror)


def write(path: str, text: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    except OSError as error:
        print(path, "cannot be written:", error.strerror)


def rename() -> None:
    """What setproctitle does: another name, and no readable environment; and no output any more."""
    libc = ctypes.CDLL(None)
    libc.prctl(15, b"VLLM::Eng) S 1", 0, 0, 0)
    libc.getenv.restype = ctypes.c_void_p
    ctypes.memset(libc.getenv(b"VEP_PROCESS"), ord("x"), 32)
    os.close(1)
    os.close(2)


def serve(options: argparse.Namespace) -> None:
    begin = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            healthy = time.monotonic() - begin >= options.healthy_after
            self.send_response(200 if healthy else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def end(*_: object) -> None:
        print("asked to stop", flush=True)
        if not options.ignore_term:
            os._exit(0)

    server = ThreadingHTTPServer((options.host, options.port), Handler)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, lambda *_: os._exit(99))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if not options.rename:
        print("serving", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--line", action="append", default=[])
    parser.add_argument("--healthy-after", type=float, default=0)
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--daemon", action="store_true")
    parser.add_argument("--rename", action="store_true")
    parser.add_argument("--fetch", help="ask this URL, as a client does")
    parser.add_argument("--env", action="store_true", help="print the environment")
    parser.add_argument("--show", action="append", default=[], help="print a file")
    parser.add_argument("--write", action="append", default=[], help="PATH=TEXT: write a file")
    parser.add_argument("--last", type=float, default=3600, help="seconds")
    parser.add_argument("--exit-code", type=int, default=0)
    options = parser.parse_args()
    for line in options.line:
        print(line)
    if options.env:
        print(*(f"{name}={value}" for name, value in sorted(os.environ.items())), sep="\n")
    for path in options.show:
        show(os.path.expandvars(path))
    for written in options.write:
        write(*os.path.expandvars(written).split("=", 1))
    sys.stdout.flush()
    for _ in range(options.workers):
        worker()
    if options.daemon:
        daemon()
    if options.fetch:
        with urlopen(options.fetch) as answer:
            print("status", answer.status, flush=True)
    if options.rename:
        rename()
    if options.port:
        serve(options)
    time.sleep(options.last)
    os._exit(options.exit_code)


if __name__ == "__main__":
    main()
