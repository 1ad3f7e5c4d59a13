"""What stands on the screen when a run is over."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.report.example import FAILURE, NAIVE_10, NAIVE_11, PPLX_10, PPLX_11, PPLX_12, Run, bench, example
from vep_dagger.console.outcome import print_outcome
from vep_dagger.evidence import Witness
from vep_dagger.jobs.run import Stage
from vep_dagger.report.model import Summary

PAGE = Path("runs/a-long-name-of-a-run-directory-that-no-narrow-terminal-can-hold/report/index.html")
Print = Callable[..., str]


@pytest.fixture(params=[80, 200])
def printed(request: pytest.FixtureRequest) -> Print:
    """The outcome on a terminal of 80 and of 200 columns, without colours."""

    def run(summary: Summary, stage: Stage = "bench") -> str:
        out = io.StringIO()
        print_outcome(summary, PAGE, Console(file=out, width=request.param, no_color=True, highlight=False), stage)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    return run


@pytest.fixture
def run() -> Run:
    return example()


def row(text: str, cell: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{cell} "))


def test_every_cell_has_its_verdict_in_words_and_the_figure_that_decides(printed: Print, run: Run) -> None:
    text = printed(run.summary())
    assert "short: output_throughput" in text
    assert row(text, PPLX_10).split(maxsplit=2)[1:] == ["ok", "19,636.1 (19,588.8 – 19,902.4)"]
    assert "FELL BACK" in row(text, PPLX_11)
    assert "FAILED" in row(text, NAIVE_11)
    assert "impossible" in row(text, PPLX_12)


def test_what_failed_is_explained_below_with_its_line_unbroken(printed: Print, run: Run) -> None:
    reason = "the server died [/while] " + "it was starting, " * 20 + "END"
    run.change(f"smoke:{PPLX_11}", reason=reason)
    text = printed(run.summary())
    table, below = text.split(f"\n{PPLX_11}: ")
    assert row(table, PPLX_12)
    assert below.startswith(reason + "\n")
    assert (
        f"  cells/{PPLX_11}/server-1.log:187: WARNING [config.py:412] pplx kernels not found | falling back to naive "
        "all2all\n"
    ) in text
    assert f"\n{NAIVE_11}: the result of long is void: repeat 2 completed 988 of 1000 requests\n" in text


def test_the_report_is_named_last_and_unbroken(printed: Print, run: Run) -> None:
    assert printed(run.summary()).endswith(f"\nreport: {PAGE}\n")


def test_the_winner_is_named_with_what_it_rests_on(printed: Print, run: Run) -> None:
    summary = replace(run.summary(), gates={})
    cells = tuple(replace(cell, gates=()) for cell in summary.cells)
    text = printed(replace(summary, cells=cells))
    assert f"\npick: {PPLX_10} (median of 3 repeats, no interval yet)\n" in text


def test_a_tie_names_all_who_tie(printed: Print, run: Run) -> None:
    for cell in (PPLX_10, NAIVE_10):
        run.records[f"bench:{cell}:short"] = bench(cell, "short", (20000.0, 20100.0, 19900.0))
    text = printed(run.summary())
    assert f"\nno single pick: 2 servers have the same median ({PPLX_10} and {NAIVE_10})\n" in text


def test_no_pick_says_why(printed: Print, run: Run) -> None:
    for cell in (PPLX_10, NAIVE_10):
        run.change(f"smoke:{cell}", verdict="failed", reason="dead")
    assert "\nno single pick: no cell passed\n" in printed(run.summary())


def test_smoke_alone_has_no_figures_and_no_pick_and_passes_what_was_proven(printed: Print, run: Run) -> None:
    text = printed(run.summary(), "smoke")
    assert "pick" not in text
    assert "output_throughput" not in text
    assert row(text, NAIVE_11).split()[1] == "ok", "only its measurement failed"
    assert text.endswith(f"report: {PAGE}\n")


def test_builds_alone_show_images(printed: Print, run: Run) -> None:
    run.change("build:img-0.11.0", location="/cache/[/odd]/" + "x" * 200)
    text = printed(run.summary(), "build")
    assert "vep/img-0.10.1.1" in text
    assert "built" in text
    assert "cached" in text
    assert "pick" not in text
    assert "/cache/[/odd]/" in text


def test_an_image_is_named_by_the_beginning_of_its_digest(printed: Print, run: Run) -> None:
    run.change("build:img-0.11.0", location="sha256:" + "0123456789ab" + "f" * 52)
    assert "sha256:0123456789ab\n" in re.sub(" +\n", "\n", printed(run.summary(), "build"))


def test_a_failed_build_says_once_which_step_and_what_it_printed_last(printed: Print, run: Run) -> None:
    help_ = Witness(file="images/x/build.log", text="for a shell where it was: docker run -it abc sh")
    run.change("build:img-0.10.1.1", **FAILURE, witness=help_)
    text = printed(run.summary(), "build")
    assert text.count("error: no such thing") == 1, "two cells have the image"
    assert (
        "\nvep/img-0.10.1.1: layer nvshmem: make -j4 install: exited with 2\n  layer nvshmem\n  $ make -j4 install\n"
        "  exit code 2\n  src/init.cu:12: error: no such thing\n  make: *** [install] Error 1\n"
        "  log: images/img-0.10.1.1/build.log\n  help: for a shell where it was: docker run -it abc sh\n"
    ) in text


def test_sizes_of_layers_stand_below_the_images_with_the_parts_of_an_environment(printed: Print, run: Run) -> None:
    text = printed(run.summary(), "build")
    assert re.sub(" +", " ", text.split("\n\n")[1]) == (
        "layer size in\nnccl 158.0 MB 2 images\nenvironment 8.6 GB vep/img-0.10.1.1\n NVIDIA's <libraries> 5.1 GB\n"
        " torch 3.4 GB\n files of no package 100.0 MB"
    )
    assert "158.0 MB" not in printed(run.summary(), "smoke")


def test_where_no_size_is_known_there_is_no_table_of_sizes(printed: Print, run: Run) -> None:
    for image in ("img-0.10.1.1", "img-0.11.0"):
        run.change(f"build:{image}", layers=[])
    assert "size" not in printed(run.summary(), "build")


def test_layers_are_counted_and_what_was_published_and_exported_is_named_unbroken(printed: Print, run: Run) -> None:
    published, exported = f"example.org/{'deep/' * 30}vep:1@sha256:{'a' * 64}", "/out/" + "x" * 120 + ".tar"
    run.change("build:img-0.10.1.1", published=published, exported=exported)
    text = printed(run.summary(), "build")
    assert "2 built, 1 cached, 0 taken" in text
    assert f"\npublished {published}\nexported {exported}\n" in text
