"""The cache of environments as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vep_dagger.builders.cache import CacheEntry
from vep_dagger.dsl import short

GIB = 2**30
_SHELVES = {"sources": "fetched sources", "tools": "tools for containers"}


def print_entries(
    entries: Sequence[CacheEntry],
    root: Path,
    console: Console,
    *,
    as_json: bool,
    shelves: Mapping[str, int] | None = None,
) -> None:
    """Print the environments; sizes in GiB, of which ``shared`` is in files that have names elsewhere too. For people,
    a line for each of ``shelves`` follows: what else the cache holds, in bytes by the name of its directory.
    """
    if as_json:
        console.print(json.dumps([_data(entry) for entry in entries], indent=1), soft_wrap=True, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("key", "image", "GiB", "shared", "last used", ""):
        table.add_column(name, justify="right" if name in ("GiB", "shared") else "left", no_wrap=True)
    for entry in entries:
        size, shared = f"{entry.size_bytes / GIB:.2f}", f"{entry.shared_bytes / GIB:.2f}"
        used = f"{entry.last_used:%Y-%m-%d %H:%M} UTC"
        table.add_row(short(entry.key), Text(entry.tag), size, shared, used, "in use" if entry.in_use else "")
    if entries:
        console.print(table)
    console.print(Text(f"{len(entries)} environment{'' if len(entries) == 1 else 's'} in {root}"), soft_wrap=True)
    for name, held in (shelves or {}).items():
        console.print(Text(f"{held / GIB:.2f} GiB of {_SHELVES.get(name, name)} in {root / name}"), soft_wrap=True)


def _data(entry: CacheEntry) -> dict[str, object]:
    return {
        "key": entry.key,
        "image": entry.tag,
        "size_bytes": entry.size_bytes,
        "shared_bytes": entry.shared_bytes,
        "last_used": entry.last_used.isoformat(timespec="seconds"),
        "in_use": entry.in_use,
        "path": str(entry.path),
    }
