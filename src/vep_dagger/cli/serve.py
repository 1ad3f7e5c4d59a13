"""``vep serve``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vep_dagger.cli.options import BUILDER, CELL, COMPAT, FROM, KEEP, LAUNCHER, LOCKED, NETWORK, OF_MATRIX
from vep_dagger.console.ending import heed_signals


@click.command()
@CELL
@OF_MATRIX
@COMPAT
@BUILDER
@LAUNCHER
@NETWORK
@KEEP
@FROM
@LOCKED
@click.option("--host", help="The address to listen on; the matrix file's by default.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The matrix file's port or 8000 by default; 0 for a free one."
)
@click.option("--print", "only_print", is_flag=True, help="Print the commands, and do nothing.")
def serve(cell: str, matrix: Path, host: str | None, port: int | None, only_print: bool, **options: Any) -> None:
    """Start one cell's server in the foreground, until Ctrl-C.

    CELL is a cell's name, or an expression as for -k that chooses cells of one server.
    """
    from vep_dagger.serving.choose import Asked
    from vep_dagger.workflow import Options

    asked = Asked(Options(matrix, "smoke", **options), cell, host, port)
    if only_print:
        from vep_dagger.serving.command import printed

        commands = printed(asked)
        for note in commands.notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"{commands.build}\n{commands.run}")
        return
    import anyio

    from vep_dagger.serving.foreground import serve as serve_cell
    from vep_dagger.serving.screen import Screen

    heed_signals()
    if anyio.run(serve_cell, asked, Screen(sys.stdout)):
        raise KeyboardInterrupt
