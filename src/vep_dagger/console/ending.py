"""How a program of ours ends: errors as text, exit codes as the design has them, Ctrl-C and SIGTERM the same way."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from vep_dagger.errors import MachineError, VepError

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a disk may answer to any write: never a fault of ours."""


def ended(program: Callable[[], object]) -> None:
    """Run a program to its end. What a user, a machine or a disk did wrong is told on stderr, and the process exits
    with the code that the design has for it; what we did wrong is a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a pipe that cannot show a character gets another one for it, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        program()
    except VepError as error:
        click.echo(error.render(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        hint = "free some space or make it writable; what is written stays valid, and --resume goes on from it"
        click.echo(MachineError(f"{error.strerror}", where=error.filename, hint=hint).render(), err=True)
        sys.exit(MachineError.exit_code)


@contextmanager
def way_on(again: Callable[[], str | None]) -> Iterator[None]:
    """What is interrupted, or that a machine fails, ends with the command that goes on with it: what was finished is
    kept, so the way on is worth more than the way back. ``again`` gives it; None where nothing was begun.
    """
    try:
        yield
    except (KeyboardInterrupt, MachineError, OSError):
        if command := again():
            click.echo(f"to go on: {command}", err=True)
        raise


def heed_signals() -> None:
    """Slurm and CI runners end jobs with SIGTERM; servers are stopped for it as for Ctrl-C."""
    # A script's shell starts background jobs with Ctrl-C ignored, and then nothing would listen for either.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
