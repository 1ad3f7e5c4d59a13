"""What this machine can do, and what it keeps: ``vep doctor``, ``vep cache``."""

from __future__ import annotations

import sys

import click

from vep_dagger.cli.options import JSON


@click.command()
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


@click.group(invoke_without_command=True)
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
