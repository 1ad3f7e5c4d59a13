from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

from tests.report.example import FAILURE, NAIVE_11, PPLX_10, PPLX_11, Run, bench, hostile
from vep_dagger.report.html import report_html
from vep_dagger.report.model import Summary
from vep_dagger.report.pick import ranked
from vep_dagger.report.plots import plots

VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Page(HTMLParser):
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.words.append(data)

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute)) is not None]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def parse(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


@pytest.fixture
def page(summary: Summary) -> Page:
    return parse(report_html(summary))


def test_every_id_is_unique_and_every_link_within_the_page_has_its_target(page: Page) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    targets = {address[1:] for address in page.all("href") if address.startswith("#")}
    assert targets
    assert targets <= set(ids)


def test_nothing_is_loaded_from_a_network(page: Page) -> None:
    assert page.all("src") == []
    assert [address for address in page.all("href") if re.match(r"[a-z]+:|//", address)] == []
    assert "link" not in {tag for tag, _ in page.tags}


def test_logs_raw_results_and_records_are_linked(page: Page) -> None:
    addresses = page.all("href")
    for path in (f"{PPLX_10}/server-1.log", f"{PPLX_10}/short-1.json", f"{PPLX_11}/smoke-{PPLX_11}.json"):
        assert f"../cells/{path}" in addresses
    assert "../images/img-0.10.1.1/build.log" in addresses


def test_what_did_not_pass_says_why_and_where(page: Page) -> None:
    assert "pplx was asked for, and the server uses naive" in page.text
    assert f"cells/{PPLX_11}/server-1.log:187" in page.text.replace(" :", ":")
    assert "pplx kernels not found | falling back to naive all2all" in page.text
    assert "the result of long is void: repeat 2 completed 988 of 1000 requests" in page.text
    assert "its code was removed in 0.11.1" in page.text


def test_verdicts_are_words_and_signs_and_not_colours_alone(page: Page) -> None:
    for sign in "✓ passed", "✗ failed", "⊘ impossible", "○ not-run":
        assert sign in page.text


def test_the_pick_its_figures_and_its_command_are_at_the_top(page: Page) -> None:
    top = page.text[: page.text.index("Verdicts")]
    assert PPLX_10 in top
    assert "19,636 tok/s (19,589–19,902)" in top
    assert "no interval yet" in top
    assert f"vep bench examples/ep/matrix.toml -k {PPLX_10} --builder venv --launcher process" in top


def test_a_failed_cell_shows_no_figure_in_the_grid(summary: Summary) -> None:
    grid = report_html(summary).split('id="verdicts"')[1].split("</section>")[0]
    slot = re.search(rf'title="{NAIVE_11}".*?</a>', grid)
    assert slot
    assert "tok/s" not in slot[0]


def test_tables_have_scoped_heads_and_regions_have_names(page: Page) -> None:
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert all(
        attributes.get("aria-label") for _, attributes in page.tags if attributes.get("role") in {"region", "img"}
    )
    assert {"header", "main", "footer"} <= {tag for tag, _ in page.tags}


def test_only_the_scripts_that_the_policy_names_may_run(page: Page) -> None:
    (policy,) = [
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = policy.split("script-src")[1].split(";")[0]
    assert "unsafe" not in scripts
    assert scripts.count("sha256-") == 2


def test_hostile_names_and_logs_are_text() -> None:
    text = report_html(hostile().summary())
    page = parse(text)
    assert "img" not in {tag for tag, _ in page.tags}
    assert sum(tag == "script" for tag, _ in page.tags) == 3, "data, plotly and ours"
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert [address for address in page.all("href") if address.startswith("javascript")] == []
    data = text.split('id="plot-data">')[1].split("</script>")[0]
    assert json.loads(data)["plots"]
    assert "<" not in data
    assert "<script>document.title" in page.text, "it is shown for what it is"


def test_figures_are_valid_for_plotly_and_start_bars_at_zero(summary: Summary) -> None:
    from plotly.io._utils import validate_coerce_fig_to_dict

    drawn = plots(summary, "short", 1, ranked(summary, "short"))
    assert [plot.id for plot in drawn] == ["plot-1-throughput", "plot-1-ttft", "plot-1-tpot", "plot-1-speed"]
    for plot in drawn:
        validate_coerce_fig_to_dict(plot.figure, True)
    bars = drawn[0].figure
    assert bars["layout"]["xaxis"]["rangemode"] == "tozero"
    assert list(bars["data"][0]["x"]) == [19636.13, 17120.5, 18210.0]
    assert len(bars["data"][1]["x"]) == 9, "every repeat is a point"


def test_a_cell_that_did_not_pass_is_not_on_the_frontier(run: Run) -> None:
    run.records[f"bench:{NAIVE_11}:short"] = bench(NAIVE_11, "short", (30_000.0, 30_001.0, 30_002.0))
    summary = run.summary()
    speed = plots(summary, "short", 1, ranked(summary, "short"))[-1].figure
    assert list(speed["data"][0]["y"]) == [19636.13]


def test_without_a_measurement_there_is_no_plot_and_the_reason_is_there(run: Run) -> None:
    run.records = {}
    text = report_html(run.summary())
    assert "plotly.js" not in text
    assert 'class="canvas"' not in text
    assert "no cell passed" in parse(text).text


def section(summary: Summary) -> str:
    """The builds of a page."""
    return report_html(summary).split('<h2 id="builds">Builds</h2>')[1].split("</section>")[0]


def test_each_image_shows_its_layers_and_who_shares_them(summary: Summary) -> None:
    builds = section(summary)
    words = parse(builds).text
    assert "3 layers: 2 built, 1 cached, 0 taken" in words
    assert "2 layers: 0 built, 1 cached, 1 taken" in words
    assert "nccl cached 0.00 s 158.0 MB l1 vep/img-0.11.0" in words
    assert "environment built 18 min 22 s 8.6 GB l3 –" in words


def test_an_environment_that_was_installed_in_parts_shows_their_sizes_below_its_own(summary: Summary) -> None:
    words = parse(section(summary)).text
    assert "8.6 GB l3 – NVIDIA's <libraries> 5.1 GB torch 3.4 GB files of no package 100.0 MB" in words


def test_a_failed_build_shows_its_step_open(run: Run) -> None:
    run.change("build:img-0.10.1.1", **FAILURE)
    builds = section(run.summary())
    assert builds.count('<details class="cell" open>') == 1
    words = parse(builds).text
    assert "nvshmem ✗ failed 1 min 01 s" in words
    assert "$ make -j4 install exit code 2 src/init.cu:12: error: no such thing" in words


def test_what_was_published_and_exported_is_named(run: Run) -> None:
    digest = f"sha256:{'a' * 64}"
    run.change("build:img-0.10.1.1", digest=digest, published=f"example.org/vep:1@{digest}", exported="/out/1.tar")
    words = parse(section(run.summary())).text
    assert f"published example.org/vep:1@{digest} exported /out/1.tar digest {digest}" in words


@pytest.mark.parametrize(
    ("warm", "said"),
    [(True, "start warm: compiled code of an earlier start was there"), (False, "start cold: it compiled")],
)
def test_a_start_is_called_warm_or_cold_where_that_is_known(run: Run, warm: bool, said: str) -> None:
    assert said not in parse(report_html(run.summary())).text
    run.warm(PPLX_10, warm)
    assert said in parse(report_html(run.summary())).text
