"""The command line: parse, call, print. A file has a family of commands, as :data:`COMMANDS` lists them; every room is
imported by the command that needs it, so that ``vep --help`` is quick."""

from __future__ import annotations

import click

from vep_dagger import __version__
from vep_dagger.cli import jobs, lock, machine, plan, report, serve, squash
from vep_dagger.console.ending import ended

COMMANDS = (
    plan.plan,
    lock.lock,
    jobs.build,
    jobs.smoke,
    jobs.bench,
    jobs.run,
    report.report,
    report.pick,
    plan.explain,
    plan.containerfile,
    serve.serve,
    squash.squash,
    machine.doctor,
    machine.cache,
)


@click.group(commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vep")
def vep() -> None:
    """Build, prove, measure and compare vLLM expert-parallel stacks.

    A matrix file names pins and axes; each combination is a cell. Exit codes: 0 all passed, 1 a cell did not, 2 the
    files or arguments are wrong, 3 the machine or an engine is, 130 interrupted.
    """


def main() -> None:
    """The console script."""
    ended(lambda: vep(prog_name="vep", standalone_mode=False))
