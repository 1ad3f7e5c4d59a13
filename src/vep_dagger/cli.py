"""The command line: parse, call, print. Every room is imported by the command that needs it, so that ``vep --help`` is
quick."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vep_dagger import __version__
from vep_dagger.console.ending import ended, heed_signals
from vep_dagger.errors import MachineError

if TYPE_CHECKING:
    from vep_dagger.jobs.run import Stage
    from vep_dagger.workflow import Options, Outcome

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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vep")
def vep() -> None:
    """Build, prove, measure and compare vLLM expert-parallel stacks.

    A matrix file names pins and axes; each combination is a cell. Exit codes: 0 all passed, 1 a cell did not, 2 the
    files or arguments are wrong, 3 the machine or an engine is, 130 interrupted.
    """


@vep.command()
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


@vep.command()
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


@vep.command()
@MATRIX
@running
def build(matrix: Path, **options: Any) -> None:
    """Build the images."""
    _run(matrix, "build", **options)


@vep.command()
@MATRIX
@running
def smoke(matrix: Path, **options: Any) -> None:
    """Build, then prove that each server is what its cell says."""
    _run(matrix, "smoke", **options)


@vep.command()
@MATRIX
@running
def bench(matrix: Path, **options: Any) -> None:
    """Build, smoke, then measure."""
    _run(matrix, "bench", **options)


@vep.command()
@MATRIX
@running
def run(matrix: Path, **options: Any) -> None:
    """All of it: build, smoke, bench, and the report."""
    _run(matrix, "bench", **options)


@vep.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
def report(run_directory: Path) -> None:
    """Write the report of a run again, from its evidence."""
    from vep_dagger.evidence import RunDirectory
    from vep_dagger.workflow import report_of

    for path in report_of(RunDirectory.open(run_directory)).report:
        click.echo(path)


@vep.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
def pick(run_directory: Path) -> None:
    """Print the pick of a run as JSON."""
    from vep_dagger.evidence import RunDirectory
    from vep_dagger.workflow import report_of

    outcome = report_of(RunDirectory.open(run_directory))
    click.echo(next(path for path in outcome.report if path.name == "pick.json").read_text(encoding="utf-8"), nl=False)


@vep.command()
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


@vep.command()
@CELL
@OF_MATRIX
@click.option("--context", type=click.Path(path_type=Path), help="Also make this directory: docker build DIR works.")
@COMPAT
def containerfile(cell: str, matrix: Path, context: Path | None, compat: Path | None) -> None:
    """Print the Containerfile of a cell's image.

    CELL is a cell's name, or an expression as for -k that chooses cells of one image.
    """
    from vep_dagger.builders.docker.by_hand import containerfile_of, one_image, write_context
    from vep_dagger.plan import load_plan
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


@vep.command()
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


@vep.command()
@CELL
@OF_MATRIX
@click.option("--builder", default="dagger", show_default=True, help="Where the image is: dagger, docker, registry.")
@FROM
@NETWORK
@KEEP
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; <tag>.sqsh by default.")
@click.option("--force", is_flag=True, help="Replace a file that is of another image, or none of vep's.")
@COMPAT
def squash(cell: str, matrix: Path, output: Path | None, force: bool, **options: Any) -> None:
    """Make a SquashFS of a cell's image for enroot and pyxis.

    CELL is a cell's name, or an expression as for -k that chooses cells of one image.
    """
    import anyio

    from vep_dagger.builders.docker.by_hand import one_image
    from vep_dagger.builders.names import tag_of
    from vep_dagger.plan import load_plan
    from vep_dagger.squash.make import squash as make
    from vep_dagger.workflow import Options

    plan = load_plan(matrix, overlay=options["compat"])
    image = one_image(plan, cell)
    settings = Options(matrix, "build", **options).settings(plan)
    target = output or Path(f"{tag_of(image, settings.tags)}.sqsh")
    heed_signals()
    made = anyio.run(
        lambda: make(image, options["builder"], settings, target, lambda line: click.echo(line, err=True), force=force)
    )
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{made.file}\n{made.size_bytes / 2**20:.0f} MiB, image {made.digest}{', found' if made.found else ''}")
    click.echo("\n".join(f"to start it: {command}" for command in made.commands))


@vep.command()
@click.option("--network", is_flag=True, help="Also ask whether the package index answers.")
@JSON
def doctor(network: bool, as_json: bool) -> None:
    """Show what this machine can build and run, and what not."""
    import json

    from vep_dagger.console.choose import console
    from vep_dagger.doctor import diagnose, document, exit_code, render, table

    findings = diagnose(network=network)
    if as_json:
        click.echo(json.dumps(document(findings), indent=1))
    elif sys.stdout.isatty():
        console(sys.stdout).print(table(findings))
    else:
        click.echo("\n".join(render(findings)))
    sys.exit(exit_code(findings))


@vep.group(invoke_without_command=True)
@click.pass_context
def cache(context: click.Context) -> None:
    """List and prune the environments that builders keep."""
    if context.invoked_subcommand is None:
        context.invoke(cache_list, as_json=False)


@cache.command("list")
@JSON
def cache_list(as_json: bool) -> None:
    """Show the environments, the last used first, and other sizes."""
    from vep_dagger.builders.cache import cache_root, entries, shelf_sizes
    from vep_dagger.console.cache_table import print_entries
    from vep_dagger.console.choose import console

    root = cache_root()
    print_entries(entries(root), root, console(sys.stdout), as_json=as_json, shelves=shelf_sizes(root))


@cache.command("prune")
@click.argument("keys", nargs=-1)
@click.option("--days", "keep_days", type=click.FloatRange(min=0), help="Those not used for so many days.")
@click.option("--all", "everything", is_flag=True, help="All that no running vep uses.")
def cache_prune(keys: tuple[str, ...], keep_days: float | None, everything: bool) -> None:
    """Delete those whose keys begin with KEYS, the long unused, or all.

    The long unused, and all, are also fetched sources and the tools of containers that no build has asked for within
    the last hour.
    """
    from vep_dagger.builders.cache import cache_root, prune

    if not (keys or everything or keep_days is not None):
        raise click.UsageError("say what to delete: the beginning of a key, --days N, or --all")
    freed = prune(cache_root(), keep_days=keep_days, everything=everything, keys=keys)
    click.echo(f"freed {freed / 2**30:.2f} GiB in {cache_root()}")


def main() -> None:
    """The console script."""
    ended(lambda: vep(prog_name="vep", standalone_mode=False))


def _run(matrix: Path, stage: Stage, *, as_json: bool, **options: Any) -> None:
    from vep_dagger.workflow import Options

    begun: list[str] = []
    try:
        outcome = _carry_out(Options(matrix, stage, **options), begun.append, as_json=as_json)
    except (KeyboardInterrupt, MachineError, OSError):
        # What was finished is kept, so the way on is worth more than the way back.
        if begun:
            again = shlex.join(["vep", _command(stage), str(matrix), "--out", begun[0], *_again(options), "--resume"])
            click.echo(f"to go on: {again}", err=True)
        raise
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


if __name__ == "__main__":
    main()
