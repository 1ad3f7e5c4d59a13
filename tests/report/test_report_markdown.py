# ruff: noqa: E501 - a snapshot has the lines of what it shows
from __future__ import annotations

import re

import pytest
from inline_snapshot import snapshot
from markdown_it import MarkdownIt

from tests.report.example import FAILURE, PPLX_10, PPLX_11, Run, hostile
from vep_dagger.report.markdown import code, plain, report_markdown
from vep_dagger.report.model import Summary


def test_the_whole_report(summary: Summary) -> None:
    assert report_markdown(summary) == snapshot("""\
# examples/ep/matrix.toml

Run `20261124-100000-7f3a`, started 2026-11-24 10:00:00 UTC, vep 0.1.0. ✓ 2 passed · ✗ 1 failed · ↩︎ 1 fell-back · ⊘ 1 impossible · ○ 1 not-run

**Pick**: `vllm0.10.1.1-pplx` with 19,636 (19,589–19,902) tok/s (output throughput, higher is better, workload `short`, median of 3 repeats, no interval yet).

```sh
vep bench examples/ep/matrix.toml -k vllm0.10.1.1-pplx --builder venv --launcher process
```

## Verdicts

| vllm | all2all = pplx | all2all = naive |
| --- | --- | --- |
| **0.10.1.1** | ✓ passed | ✓ passed |
| **0.11.0** | ↩︎ fell-back | ✗ failed |
| **0.12.0** | ⊘ impossible | ○ not-run |

## Workload short

Median (min–max) of the repeats.

| cell | verdict | n | output throughput (tok/s) | request throughput (req/s) | median TTFT (ms) | p99 TTFT (ms) | median TPOT (ms) | p99 TPOT (ms) |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| `vllm0.10.1.1-pplx` | ✓ passed | 3 | 19,636 (19,589–19,902) | 153.4 (153.0–155.5) | 2,526 (2,492–2,532) | 3,000 (2,959–3,007) | 29.54 (29.14–29.61) | 40.76 (40.22–40.86) |
| `vllm0.10.1.1-naive` | ✓ passed | 3 | 17,120 (16,904–17,333) | 133.8 (132.1–135.4) | 2,897 (2,862–2,934) | 3,440 (3,398–3,484) | 33.88 (33.46–34.31) | 46.75 (46.18–47.35) |
| `vllm0.11.0-naive` | ✗ failed | 3 | 18,210 (18,150–18,333) | 142.3 (141.8–143.2) | 2,724 (2,706–2,733) | 3,234 (3,213–3,245) | 31.85 (31.64–31.96) | 43.95 (43.66–44.10) |

## Workload long

Median (min–max) of the repeats.

| cell | verdict | n | output throughput (tok/s) | request throughput (req/s) | median TTFT (ms) | p99 TTFT (ms) | median TPOT (ms) | p99 TPOT (ms) |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| `vllm0.10.1.1-naive` | ✓ passed | 3 | 15,920 (15,900–16,010) | 124.4 (124.2–125.1) | 3,116 (3,098–3,120) | 3,700 (3,679–3,704) | 36.43 (36.23–36.48) | 50.27 (49.99–50.34) |
| `vllm0.10.1.1-pplx` | ✓ passed | 3 | 15,211 (15,103–15,345) | 118.8 (118.0–119.9) | 3,261 (3,232–3,284) | 3,872 (3,838–3,900) | 38.13 (37.80–38.40) | 52.62 (52.16–53.00) |

## Not passed, or gates not held

- ↩︎ fell-back `vllm0.11.0-pplx`: pplx was asked for, and the server uses naive

  `cells/vllm0.11.0-pplx/server-1.log:187`

  ```text
  WARNING [config.py:412] pplx kernels not found | falling back to naive all2all
  ```

  Repeat: `vep bench examples/ep/matrix.toml -k vllm0.11.0-pplx --builder venv --launcher process`

- ✗ failed `vllm0.11.0-naive`: the result of long is void: repeat 2 completed 988 of 1000 requests

  `cells/vllm0.11.0-naive/server-1.log:901`

  ```text
  ERROR EngineCore encountered a fatal error.
  ```

  Repeat: `vep bench examples/ep/matrix.toml -k vllm0.11.0-naive --builder venv --launcher process`

- ⊘ impossible `vllm0.12.0-pplx`: vLLM 0.12.0 has no pplx backend: its code was removed in 0.11.1
- ○ not-run `vllm0.12.0-naive`: not reached: build, smoke, bench short, bench long

  Repeat: `vep bench examples/ep/matrix.toml -k vllm0.12.0-naive --builder venv --launcher process`


## Builds

| image | vLLM | state | layers | time | published | notes |
| --- | --- | --- | --- | --- | --- | --- |
| `vep/img-0.10.1.1` | 0.10.1.1 | built | 3 layers: 2 built, 1 cached, 0 taken | 23 min 33 s |  | torch 2.8.0 from the index that the environment names |
| `vep/img-0.11.0` | 0.11.0 | cached | 2 layers: 0 built, 1 cached, 1 taken | 0.31 s |  | torch 2.8.0 from the index that the environment names |
| `vep/img-0.12.0` | 0.12.0 | not-run |  | – |  |  |

## Layers

Each different one once.

| layer | state | time | size | images |
| --- | --- | --- | --- | --- |
| nccl | cached | 0.00 s | 158.0 MB | 2 |
| nvshmem | built | 5 min 10 s | – | 2 |
| environment | built | 18 min 22 s | 8.6 GB | 1 |
| – NVIDIA's \\<libraries\\> |  |  | 5.1 GB |  |
| – torch |  |  | 3.4 GB |  |
| – files of no package |  |  | 100.0 MB |  |

## Warnings

- vLLM 0.12.0 is newer than the newest known release; the data of 0.11.2 is used
""")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<b>&amp;", "\\<b\\>\\&amp;"),
        ("two\nlines", "two lines"),
        ("*x* `y` _z_", "\\*x\\* \\`y\\` \\_z\\_"),
    ],
)
def test_plain_text_stays_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("a|b", "`a\\|b`"), ("a`b``c", "``` a`b``c ```")])
def test_code_holds_pipes_and_backticks(text: str, shown: str) -> None:
    assert code(text) == shown


def test_no_name_or_reason_breaks_a_table_or_becomes_markup() -> None:
    text = report_markdown(hostile().summary())
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    block: list[int] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            assert len(set(block)) <= 1, block
            block = []
            continue
        block.append(line.replace("\\|", "").count("|"))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert re.findall(r"<(script|img|em)\b", html) == []
    assert "&lt;script&gt;" in html, "it is shown for what it is"


def test_a_failed_build_shows_its_step(run: Run) -> None:
    run.change("build:img-0.10.1.1", **FAILURE)
    text = report_markdown(run.summary())
    assert "`vep/img-0.10.1.1` failed:\n\n```text\nlayer nvshmem\n$ make -j4 install\nexit code 2\n" in text


def test_starts_are_told_where_anything_is_kept_between_them(run: Run) -> None:
    assert "## Starts" not in report_markdown(run.summary())
    run.warm(PPLX_10, True)
    run.warm(PPLX_11, False)
    starts = report_markdown(run.summary()).split("## Starts")[1].split("##")[0]
    assert f"| `{PPLX_10}` | 3 min 47 s | warm: compiled code of an earlier start was there |" in starts
    assert f"| `{PPLX_11}` | 3 min 47 s | cold: it compiled its code itself |" in starts
