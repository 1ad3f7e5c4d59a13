"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MATRIX = click.argument("matrix", type=click.Path(path_type=Path), default=Path("matrix.toml"))
CELL = click.argument("cell", metavar="CELL")
OF_MATRIX = click.option("--matrix", type=click.Path(path_type=Path), default=Path("matrix.toml"), show_default=True)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ONLY = click.option(
    "-k", "only", metavar="EXPR", help="Choose cells: words of their names with and, or, not, (), or axis=choice."
)
COMPAT = click.option(
    "--compat", type=click.Path(path_type=Path), help="A file that overlays what is known of vLLM's releases."
)

LOCKED = click.option("--locked", is_flag=True, help="Refuse whatever matrix.lock does not hold.")

BUILDER = click.option("--builder", default="venv", show_default=True, help="Where images are built.")
LAUNCHER = click.option("--launcher", help="Where servers run; by default where the builder's images can.")
NETWORK = click.option("--network", metavar="NAME", help="Docker: the network of build steps and servers.")
KEEP = click.option(
    "--keep", metavar="DIR|REPO", help="Put finished layers aside there, and take them back from there."
)
FROM = click.option("--from", "published", metavar="REPO", help="--builder registry: where images were published.")


def running(command: F) -> F:
    """The options of every command that runs jobs."""
    options = [
        ONLY,
        COMPAT,
        LOCKED,
        BUILDER,
        LAUNCHER,
        NETWORK,
        KEEP,
        click.option("--publish", metavar="REPO", help="Push each image to REPO:<its tag>, and record the digest."),
        FROM,
        click.option("--export", type=click.Path(path_type=Path), help="Export each image to this directory."),
        click.option(
            "--out", type=click.Path(path_type=Path), help="The run directory; runs/<matrix>-<time> by default."
        ),
        click.option("--resume", is_flag=True, help="Go on with the run in --out, or with the newest of this matrix."),
        click.option("--retry-failed", is_flag=True, help="With --resume: run again what did not pass."),
        click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
