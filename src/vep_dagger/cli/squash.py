"""``vep squash``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vep_dagger.cli.options import CELL, COMPAT, FROM, KEEP, LOCKED, NETWORK, OF_MATRIX
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
@LOCKED
@COMPAT
def squash(cell: str, matrix: Path, output: Path | None, using: Program | None, force: bool, **options: Any) -> None:
    """Make a SquashFS of a cell's image for enroot and pyxis.

    CELL is a cell's name, or an expression as for -k that chooses cells of one image.
    """
    import anyio

    from vep_dagger.builders.names import tag_of
    from vep_dagger.plan import load_plan
    from vep_dagger.squash.make import Squashed, find_tools
    from vep_dagger.squash.make import squash as make
    from vep_dagger.workflow import Options, locked_image

    asked = Options(matrix, "build", **options)
    plan = load_plan(matrix, overlay=asked.compat)
    find_tools(asked.builder, asked.settings(plan), using)
    heed_signals()

    def say(line: str) -> None:
        click.echo(line, err=True)

    async def made_for_cell() -> Squashed:
        image, settings = await locked_image(plan, cell, asked, say)
        target = output or Path(f"{tag_of(image, settings.tags)}.sqsh")
        return await make(image, asked.builder, settings, target, say, force=force, using=using)

    made = anyio.run(made_for_cell)
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    found = ", found" if made.found else ""
    click.echo(f"{made.file}\n{made.size_bytes / 2**20:.0f} MiB by {made.program}, image {made.digest}{found}")
    click.echo("\n".join(f"to start it: {command}" for command in made.commands))
