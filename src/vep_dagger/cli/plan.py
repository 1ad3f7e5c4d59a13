"""What is known of cells before anything is built: ``vep plan``, ``vep explain``, ``vep containerfile``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from vep_dagger.cli.options import CELL, COMPAT, JSON, LOCKED, MATRIX, OF_MATRIX, ONLY


@click.command()
@MATRIX
@ONLY
@COMPAT
@LOCKED
@JSON
def plan(matrix: Path, only: str | None, compat: Path | None, locked: bool, as_json: bool) -> None:
    """Show cells, layers, images, jobs, and what is impossible."""
    from vep_dagger.plan import load_plan

    made = load_plan(matrix, only=only, overlay=compat)
    if locked:
        from vep_dagger.locking.check import refuse_unlocked

        refuse_unlocked(made)
    if as_json:
        click.echo(made.document().model_dump_json(indent=1))
        return
    from vep_dagger.console.choose import console
    from vep_dagger.console.plan_table import print_plan

    print_plan(made, console(sys.stdout))


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@OF_MATRIX
@COMPAT
@JSON
def explain(a: str, b: str, matrix: Path, compat: Path | None, as_json: bool) -> None:
    """Say why two cells, or a cell and a lock, differ.

    A and B are each a cell's name, FILE.toml:CELL, a lock file (the same cell with that lock), plan.json of a run, or
    the manifest of an image.
    """
    from vep_dagger.explain import explain as compare
    from vep_dagger.explain import sides

    found = compare(*sides(a, b, matrix, compat))
    if as_json:
        click.echo(found.model_dump_json(indent=1))
        return
    from vep_dagger.console.choose import console
    from vep_dagger.console.explain_table import print_explanation

    print_explanation(found, console(sys.stdout))


@click.command()
@CELL
@OF_MATRIX
@click.option("--context", type=click.Path(path_type=Path), help="Also make this directory: docker build DIR works.")
@COMPAT
def containerfile(cell: str, matrix: Path, context: Path | None, compat: Path | None) -> None:
    """Print the Containerfile of a cell's image.

    CELL is a cell's name, or an expression as for -k that chooses cells of one image.
    """
    from vep_dagger.builders.docker.by_hand import containerfile_of, write_context
    from vep_dagger.plan import load_plan
    from vep_dagger.plan.meant import one_image
    from vep_dagger.workflow import Options

    plan = load_plan(matrix, overlay=compat)
    image = one_image(plan, cell)
    settings = Options(matrix, "build", compat=compat).settings(plan)
    file, _, notes = containerfile_of(image, settings)
    if context is not None:
        write_context(image, settings, context, lambda line: click.echo(line, err=True))
        click.echo(f"to build it: DOCKER_BUILDKIT=1 {shlex.join(['docker', 'build', str(context)])}", err=True)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(file.text, nl=False)
