"""``vep lock``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vep_dagger.cli.options import COMPAT, JSON, MATRIX
from vep_dagger.console.ending import heed_signals


@click.command()
@MATRIX
@COMPAT
@click.option("--check", is_flag=True, help="Ask nobody, write nothing; exit with 1 if the lock is not the matrix's.")
@click.option("--upgrade", multiple=True, metavar="NAME", help="Ask again for a layer's pins, or for one source.")
@JSON
def lock(matrix: Path, compat: Path | None, check: bool, upgrade: tuple[str, ...], as_json: bool) -> None:
    """Resolve every pin into matrix.lock, and verify what it has.

    Tags become commits, images digests, archives and Python environments hashes. Exit code 2 where a tag has moved, 3
    where something could not be reached and is not locked.
    """
    from vep_dagger.console.choose import console
    from vep_dagger.console.lock_table import print_check, print_lock
    from vep_dagger.plan import load_plan

    made = load_plan(matrix, overlay=compat)
    if check:
        sys.exit(0 if print_check(made, console(sys.stdout), as_json=as_json) else 1)
    import anyio

    from vep_dagger.locking.complete import complete_file
    from vep_dagger.workflow import Options

    heed_signals()
    settings = Options(matrix, "build", compat=compat).settings(made)
    completed = anyio.run(complete_file, made, settings, lambda line: click.echo(line, err=True), upgrade)
    print_lock(completed, console(sys.stdout), as_json=as_json)
    if problem := completed.refusal or completed.lack:
        raise problem
