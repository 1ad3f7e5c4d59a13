"""`vep plan` and `vep cache list` as tables."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from vep_dagger.builders.cache import CacheEntry
from vep_dagger.console.cache_table import print_entries
from vep_dagger.console.choose import WIDTH_OF_A_PIPE, console
from vep_dagger.console.plan_table import ROWS, print_plan
from vep_dagger.plan import load_plan

CPU = 'recipe = "vllm-cpu"\n[serve]\nmodel = "org/model"\n'
GPU = """\
recipe = "vllm-ep"
[axes]
vllm = ["0.10.1.1", "0.11.0"]
all2all = ["naive", "mori"]
[serve]
model = "org/model"
data_parallel = 8
expert_parallel = true
"""
Show = Callable[..., list[str]]


@pytest.fixture
def plan(tmp_path: Path) -> Show:
    """The lines of the plan of a matrix file."""

    def show(text: str, width: int = WIDTH_OF_A_PIPE) -> list[str]:
        file = tmp_path / "matrix.toml"
        file.write_text(text)
        out = io.StringIO()
        print_plan(load_plan(file), Console(file=out, width=width, no_color=True, highlight=False))
        return [line.rstrip() for line in out.getvalue().splitlines()]

    return show


@pytest.mark.parametrize("count", [ROWS, ROWS + 1, 130])
def test_a_large_plan_is_cut_with_a_hint(plan: Show, count: int) -> None:
    axis = "[axes.n]\n" + "".join(f"n{number} = {{ args = {{ x = {number} }} }}\n" for number in range(count))
    lines = plan(CPU + axis)
    assert sum(line.startswith("n") for line in lines) == min(count, ROWS)
    hints = [line for line in lines if "--json lists all" in line]
    assert hints == ([f"… and {count - ROWS} more cells; --json lists all"] if count > ROWS else [])
    assert f"{count} cells" in lines


@pytest.mark.parametrize("width", [80, WIDTH_OF_A_PIPE])
def test_impossible_cells_have_their_reason(plan: Show, width: int) -> None:
    lines = plan(GPU, width)
    begin = next(number for number, line in enumerate(lines) if line.startswith("vllm0.11.0-mori"))
    assert "impossible: " in lines[begin]
    assert "no all2all backend 'mori' yet" in " ".join(" ".join(lines[begin : begin + 6]).split())
    assert any(line == "4 cells, 2 of them impossible" for line in lines)
    assert max(map(len, lines)) <= width


def test_sources_that_nobody_has_locked_are_named(plan: Show) -> None:
    lines = plan(GPU)
    assert any(line.startswith("efa ") and "not locked: https://" in line for line in lines)


def test_a_cell_that_shares_a_server_says_whose(plan: Show) -> None:
    lines = plan(CPU + "[axes.t]\na = { args = { x = 1 } }\nb = { args = { x = 1 } }\n")
    assert next(line for line in lines if line.startswith("b ")).endswith("that of a")


def test_the_counts_say_what_will_be_done(plan: Show) -> None:
    bench = '[[bench]]\nname = "s"\ninput_len = 1\noutput_len = 1\nnum_prompts = 1\n'
    assert "1 image build, 2 smoke jobs, 2 bench jobs" in plan(
        CPU + "[axes.t]\na = { args = { x = 1 } }\nb = { args = { x = 2 } }\n" + bench
    )


def entry(key: str, tag: str, *, in_use: bool = False) -> CacheEntry:
    used = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
    return CacheEntry(key * 32, tag, 3 * 2**30, 2**29, used, Path("/cache/venv") / key, in_use)


def cache(*entries: CacheEntry, as_json: bool = False) -> str:
    out = io.StringIO()
    print_entries(entries, Path("/cache/" + "long/" * 20), console(out), as_json=as_json)
    return out.getvalue()


def test_environments_are_listed_with_sizes_and_use() -> None:
    head, first, second, count = (
        line.split() for line in cache(entry("ab", "own[/x]1"), entry("cd", "t", in_use=True)).splitlines()
    )
    assert head == ["key", "image", "GiB", "shared", "last", "used"]
    assert first == ["abababababab", "own[/x]1", "3.00", "0.50", "2026-11-24", "10:30", "UTC"]
    assert second[-2:] == ["in", "use"]
    assert count[:2] == ["2", "environments"]


def test_what_else_the_cache_holds_has_a_line_each() -> None:
    out = io.StringIO()
    shelves = {"sources": 3 << 29, "tools": 1 << 28}
    print_entries([], Path("/cache"), console(out), as_json=False, shelves=shelves)
    assert out.getvalue().splitlines()[1:] == [
        "1.50 GiB of fetched sources in /cache/sources",
        "0.25 GiB of tools for containers in /cache/tools",
    ]


def test_an_empty_cache_is_told_with_its_place() -> None:
    assert cache() == f"0 environments in /cache/{'long/' * 19}long\n"


def test_programs_get_whole_keys_and_bytes() -> None:
    (only,) = json.loads(cache(entry("ab", "[bold]t"), as_json=True))
    assert only == {
        "key": "ab" * 32,
        "image": "[bold]t",
        "size_bytes": 3 * 2**30,
        "shared_bytes": 2**29,
        "last_used": "2026-11-24T10:30:00+00:00",
        "in_use": False,
        "path": "/cache/venv/ab",
    }
    assert json.loads(cache(as_json=True)) == []
