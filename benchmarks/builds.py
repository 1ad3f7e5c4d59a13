"""Eight cells over a stack of ten layers: what is built, and how long it takes, on Dagger, on Docker with our
Containerfile, and on Docker with one linear Dockerfile a cell as people write it by hand.

Each way is measured from nothing (every pin has a number of this run in it, so that no engine knows any of it), again
with nothing to do, and after a change of the first pin. Real compilers; each layer takes some seconds.
``python -m benchmarks.builds [--network host] [--skip-dagger]``, on a machine with Docker; the Dagger part needs an
engine. ``VEP_PLAIN_BASE`` names the base.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import anyio

from benchmarks.measure import VEP, machine, median, run_once, side_by_side, verdict
from benchmarks.stack.recipe import NEEDS, commands, source
from vep_dagger.engines.docker import find_docker
from vep_dagger.plan import load_plan

ROOT = Path(__file__).parents[1]
AXES = ("c", "f", "j")
"""The layers that cells differ in: of the bottom, the middle and the top."""
EXTRA_S = 1.0
"""What a build with nothing to do may cost beyond an empty pipeline under ``dagger run``."""


def matrix_text(folder: Path, pins: dict[str, str], axes: dict[str, list[str]]) -> str:
    """The matrix file of all cells."""
    recipe = os.path.relpath(ROOT / "benchmarks" / "stack" / "recipe.py", folder)
    table = "".join(f'{name} = "{version}"\n' for name, version in pins.items() if name not in axes)
    rows = "".join(f"{name} = {json.dumps(versions)}\n" for name, versions in axes.items())
    return f'recipe = "{recipe}:stack"\n\n[pins]\n{table}\n[axes]\n{rows}\n[serve]\nmodel = "none/none"\n'


def dockerfile(base: str, versions: dict[str, str]) -> str:
    """The same stack as one chain, in the order of the letters."""
    lines = [f"FROM {base}"]
    for name in NEEDS:
        lines.append(f"COPY {name}-{versions[name]}.c /opt/{name}/{name}.c")
        lines += ["RUN " + " ".join(argv) for argv in commands(name)]
        lines.append(f"RUN echo /opt/{name} >> /etc/ld.so.conf.d/stack.conf && ldconfig")
    return "\n".join(lines) + "\n"


class Ways:
    """The three ways to build all cells, each as a function of the pins."""

    def __init__(self, folder: Path, base: str, network: str | None, axes: dict[str, list[str]]) -> None:
        self._folder, self._base, self._axes = folder, base, axes
        self._network = ["--network", network] if network else []
        self._env = {**os.environ, "VEP_PLAIN_BASE": base, "DOCKER_BUILDKIT": "1"}
        self._docker = anyio.run(find_docker, dict(os.environ)).program
        self._runs = 0

    def by_vep(self, pins: dict[str, str], builder: str) -> tuple[float, int, int]:
        """Wall seconds, layers built, layers found."""
        self._runs += 1
        matrix = self._folder / "matrix.toml"
        matrix.write_text(matrix_text(self._folder, pins, self._axes), encoding="utf-8")
        out = self._folder / f"run-{self._runs}"
        timing = run_once(
            [VEP, "build", str(matrix), "--builder", builder, *self._network, "--out", str(out)], env=self._env
        )
        if timing.exit_code:
            sys.exit(f"vep build --builder {builder} exited with {timing.exit_code}: see {out}")
        states = [
            layer["state"]
            for record in out.glob("images/*/build.json")
            for layer in json.loads(record.read_text(encoding="utf-8"))["layers"]
            if layer["name"] in NEEDS
        ]
        return timing.wall_s, states.count("built"), len(states) - states.count("built")

    def by_hand(self, pins: dict[str, str]) -> float:
        """Wall seconds of one ``docker build`` a cell, one after the other."""
        context = self._folder / "linear"
        context.mkdir(exist_ok=True)
        began = time.perf_counter()
        for choice in product(*self._axes.values()):
            versions = pins | dict(zip(self._axes, choice, strict=True))
            for name, version in versions.items():
                (context / f"{name}-{version}.c").write_text(source(name, version), encoding="utf-8")
            (context / "Dockerfile").write_text(dockerfile(self._base, versions), encoding="utf-8")
            timing = run_once([self._docker, "build", *self._network, "-q", str(context)], env=self._env)
            if timing.exit_code:
                sys.exit("a docker build by hand failed")
        return time.perf_counter() - began


def main() -> int:
    """Print the table; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="the network of docker's build steps")
    parser.add_argument("--axes", type=int, default=3, help="cells are 2 to the power of this")
    parser.add_argument("--skip-dagger", action="store_true")
    given = parser.parse_args()
    base = os.environ.get("VEP_PLAIN_BASE") or sys.exit("name the base in VEP_PLAIN_BASE, with its digest")
    number = f"{time.time():.0f}"
    ok = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        axes = {letter: [f"1.{number}", f"2.{number}"] for letter in AXES[: given.axes]}
        pins = dict.fromkeys(NEEDS, f"1.{number}")
        changed = pins | {"a": f"2.{number}"}
        ways = Ways(folder, base, given.network, axes)
        (folder / "matrix.toml").write_text(matrix_text(folder, pins, axes), encoding="utf-8")
        plan = load_plan(folder / "matrix.toml")
        different = len(plan.layers)
        print(f"{len(plan.cells)} cells, {len(NEEDS)} layers, {different} different keys ({machine()})")
        builders = ["docker"] if given.skip_dagger else ["dagger", "docker"]
        for title, versions in (("from nothing", pins), ("nothing to do", pins), ("first pin changed", changed)):
            hand = ways.by_hand(versions)
            print(f"{title}: linear Dockerfiles {hand:.1f} s")
            for builder in builders:
                seconds, built, found = ways.by_vep(versions, builder)
                print(
                    f"{title}: --builder {builder} {seconds:.1f} s ({seconds / hand:.2f}), {built} built, {found} found"
                )
                if title == "from nothing":
                    ok = verdict(f"{builder}: layers built beyond the keys", built - different, 1, "") and ok
    if not given.skip_dagger:
        ok = nothing_to_do() and ok
    return 0 if ok else 1


EMPTY = """
import anyio, dagger
async def main():
    async with dagger.connection():
        await dagger.dag.version()
anyio.run(main)
"""


def nothing_to_do() -> bool:
    """``dagger run`` of the pipeline with nothing to do, against an empty one: a Python program that only connects.

    Against ``dagger run true`` it is told too: most of that difference is the import of Dagger's library.
    """
    run = ["dagger", "run", "--progress=plain"]
    pipeline = [sys.executable, "pipelines/build.py", "--matrix", "examples/hello/matrix.toml"]
    timings = side_by_side(
        {
            "true": [*run, "true"],
            "empty": [*run, sys.executable, "-c", EMPTY],
            "pipeline": [*run, *pipeline],
        },
        5,
        cwd=ROOT,
    )
    wall = {name: median(found) for name, found in timings.items()}
    print("nothing to do: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in wall.items()))
    return verdict("nothing to do beyond an empty pipeline", wall["pipeline"] - wall["empty"], EXTRA_S, "s")


if __name__ == "__main__":
    sys.exit(main())
