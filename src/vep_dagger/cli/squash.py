"""``vep squash``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vep_dagger.cli.options import CELL, COMPAT, FROM, KEEP, NETWORK, OF_MATRIX
from vep_dagger.console.ending import heed_signals

if TYPE_CHECKING:
    from vep_dagger.squash.choice import Program

WITH = "What makes it: enroot where it is installed and the image is in Docker, else mksquashfs."


@click.command()
@CELL
@OF_MATRIX
@click.option("--builder", default="dagger", show_default=True, help="Where the image is: dagger, docker, registry.")
@FROM
@NETWORK
@KEEP
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; <tag>.sqsh by default.")
@click.option("--with", "using", type=click.Choice(["enroot", "mksquashfs"]), help=WITH)
@click.option("--force", is_flag=True, help="Replace a file that is of another image, or none of vep's.")
@COMPAT
def squash(cell: str, matrix: Path, output: Path | None, using: Program | None, force: bool, **options: Any) -> None:
    """Make a SquashFS of a cell's image for enroot and pyxis.

    CELL is a cell's name, or an expression as for -k that chooses cells of one image.
    """
    import anyio

    from vep_dagger.builders.names import tag_of
    from vep_dagger.plan import load_plan
    from vep_dagger.plan.meant import one_image
    from vep_dagger.squash.make import squash as make
    from vep_dagger.workflow import Options

    plan = load_plan(matrix, overlay=options["compat"])
    image = one_image(plan, cell)
    settings = Options(matrix, "build", **options).settings(plan)
    target = output or Path(f"{tag_of(image, settings.tags)}.sqsh")
    heed_signals()

    def say(line: str) -> None:
        click.echo(line, err=True)

    made = anyio.run(lambda: make(image, options["builder"], settings, target, say, force=force, using=using))
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    found = ", found" if made.found else ""
    click.echo(f"{made.file}\n{made.size_bytes / 2**20:.0f} MiB by {made.program}, image {made.digest}{found}")
    click.echo("\n".join(f"to start it: {command}" for command in made.commands))
