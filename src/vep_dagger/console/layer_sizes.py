"""What the layers of images take, each different one once, and the parts of Python environments."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from vep_dagger.report.images import different_layers
from vep_dagger.report.model import Summary
from vep_dagger.report.text import size


def layer_sizes(summary: Summary) -> Table | None:
    """The layers whose size is known, as a table; None without any."""
    known = [(layer, images) for layer, images in different_layers(summary) if layer.size_bytes is not None]
    if not known:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True, overflow="fold")
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column("in")
    for layer, images in known:
        where = images[0] if len(images) == 1 else f"{len(images)} images"
        table.add_row(Text(layer.name), size(layer.size_bytes), Text(where))
        for name, part in layer.parts.items():
            table.add_row(Text(f"  {name}", style="dim"), Text(size(part), style="dim"), "")
    return table
