"""What runs the jobs of a matrix: ``vep build``, ``vep smoke``, ``vep bench``, ``vep run``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vep_dagger.cli.options import MATRIX, running
from vep_dagger.console.ending import heed_signals, way_on

if TYPE_CHECKING:
    from vep_dagger.jobs.run import Stage
    from vep_dagger.workflow import Options, Outcome


@click.command()
@MATRIX
@running
def build(matrix: Path, **options: Any) -> None:
    """Build the images."""
    _run(matrix, "build", **options)


@click.command()
@MATRIX
@running
def smoke(matrix: Path, **options: Any) -> None:
    """Build, then prove that each server is what its cell says."""
    _run(matrix, "smoke", **options)


@click.command()
@MATRIX
@running
def bench(matrix: Path, **options: Any) -> None:
    """Build, smoke, then measure."""
    _run(matrix, "bench", **options)


@click.command()
@MATRIX
@running
def run(matrix: Path, **options: Any) -> None:
    """All of it: build, smoke, bench, and the report."""
    _run(matrix, "bench", **options)


def _run(matrix: Path, stage: Stage, *, as_json: bool, **options: Any) -> None:
    from vep_dagger.workflow import Options

    begun: list[str] = []

    def again() -> str | None:
        words = ["vep", _command(stage), str(matrix), "--out", *begun[:1], *_again(options), "--resume"]
        return shlex.join(words) if begun else None

    with way_on(again):
        outcome = _carry_out(Options(matrix, stage, **options), begun.append, as_json=as_json)
    if not as_json:
        from vep_dagger.console.choose import console
        from vep_dagger.console.outcome import print_outcome

        print_outcome(outcome.summary, outcome.report[0], console(sys.stdout), stage)
    sys.exit(0 if outcome.passed else 1)


def _again(options: Mapping[str, Any]) -> list[str]:
    """The options that a run must be resumed with."""
    flags = {"compat": "--compat", "launcher": "--launcher", "published": "--from"}
    flags |= {name: f"--{name}" for name in ("network", "keep", "publish", "export")}
    given = {flag: options[name] for name, flag in flags.items() if options.get(name)}
    if options["builder"] != "venv":
        given["--builder"] = options["builder"]
    words = [word for flag, value in given.items() for word in (flag, str(value))]
    return [*words, "--locked"] if options["locked"] else words


def _command(stage: Stage) -> str:
    return click.get_current_context().command.name or stage


def _carry_out(options: Options, begun: Callable[[str], None], *, as_json: bool) -> Outcome:
    import anyio

    from vep_dagger.console.choose import shown
    from vep_dagger.workflow import run as run_workflow

    heed_signals()
    with shown(sys.stdout, begun, as_json=as_json) as emit:
        return anyio.run(run_workflow, options, emit)
