"""What a run came to: ``vep report``, ``vep pick``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
def report(run_directory: Path) -> None:
    """Write the report of a run again, from its evidence."""
    from vep_dagger.evidence import RunDirectory
    from vep_dagger.workflow import report_of

    for path in report_of(RunDirectory.open(run_directory)).report:
        click.echo(path)


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
def pick(run_directory: Path) -> None:
    """Print the pick of a run as JSON."""
    from vep_dagger.evidence import RunDirectory
    from vep_dagger.workflow import report_of

    outcome = report_of(RunDirectory.open(run_directory))
    click.echo(next(path for path in outcome.report if path.name == "pick.json").read_text(encoding="utf-8"), nl=False)
