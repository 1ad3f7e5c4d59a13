"""The page in a real browser, from a file, without a network."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.example import Run, hostile
from vep_dagger.report.html import report_html

Needs = Callable[[str, str], str]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=4000", "--dump-dom",
)  # fmt: skip

# Headless Chromium makes no window narrower than 500 pixels, but a frame in it may be.
FRAME = """<!doctype html><title>?</title>
<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>addEventListener("message", (event) => {{ document.title = event.data; }});</script>"""
MEASURE = """<script>addEventListener("load", () => setTimeout(() => {
  const root = document.documentElement;
  for (const one of document.querySelectorAll("details")) one.open = true;
  const boxes = [...document.querySelectorAll(".canvas")];
  const cut = boxes.filter((box) => box.querySelector("svg").clientWidth > box.clientWidth);
  parent.postMessage(`${root.clientWidth} ${root.scrollWidth} ${cut.length}`, "*");
}, 1000));</script>"""


def browse(chromium: str, page: Path, profile: Path, *flags: str) -> str:
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture
def chromium(needs: Needs) -> str:
    return needs("chromium", "apt-get install chromium")


def test_the_plots_are_drawn_under_the_policy_of_the_page(chromium: str, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(report_html(run.summary()), "utf-8")
    dom = browse(chromium, page, tmp_path / "profile")
    assert len(re.findall(r'<svg class="main-svg"', dom)) >= 8
    assert dom.count('class="bars') + dom.count('class="trace bars"') >= 2


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_never_scrolls_sideways(chromium: str, run: Run, tmp_path: Path, width: int) -> None:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report_html(run.summary()))
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{MEASURE}</body>"), "utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), "utf-8")
    dom = browse(chromium, tmp_path / "frame.html", tmp_path / "profile", f"--window-size={width + 100},1000")
    title = re.search(r"<title>(\d+) (\d+) (\d+)</title>", dom)
    assert title, dom[:200]
    inside, wanted, cut = map(int, title.groups())
    assert width - 20 <= inside <= width
    assert wanted <= inside
    assert cut == 0, "a plot is wider than its box"


def test_hostile_names_do_nothing(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(report_html(hostile().summary()), "utf-8")
    dom = browse(chromium, page, tmp_path / "profile")
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    assert title[1] != "pwned"
    assert 'class="main-svg"' in dom


def test_the_policy_stops_a_script_that_got_in(chromium: str, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    run.records = {}
    text = report_html(run.summary())
    page.write_text(text.replace("</body>", "<script>document.title = 'pwned'</script></body>"), "utf-8")
    assert "<title>pwned</title>" not in browse(chromium, page, tmp_path / "profile")
