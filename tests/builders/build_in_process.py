"""Builds one image in a process of its own: see VenvLab.process."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import anyio

from vep_dagger.builders.venv.builder import VenvBuilder


def main(order: str) -> None:
    cache, environ, image, log = pickle.loads(Path(order).read_bytes())
    builder = VenvBuilder(cache, environ=environ, min_free_bytes=0)

    def say(line: str) -> None:
        print(line, flush=True)

    built = anyio.run(builder.build, image, log, say)
    print("cached" if built.cached else "built", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
