"""Secrets of the surroundings reach servers, and nothing that is kept or printed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.site import Site

SECRET = "hf_0123456789-a-secret"


def test_a_token_is_in_no_line_and_no_file_of_a_run(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "cache")
    # The model's start fails, since then most is printed: reasons, lines of the log, what comes next.
    site.matrix.write_text(
        site.matrix.read_text().replace("[smoke.deadlines]", "[serve.env]\nSTANDIN_DIES = '1'\n[smoke.deadlines]")
    )
    site.environ |= {"HF_TOKEN": SECRET, "UV_INDEX_OWN_PASSWORD": SECRET}
    done = site.vep("run", "matrix.toml", "--out", "run", "--json")
    assert done.returncode == 1
    assert {json.loads(line)["kind"] for line in done.stdout.splitlines()} >= {"job-planned", "job-finished"}
    assert SECRET not in done.stdout + done.stderr
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert {"plan.json", "smoke.json", "server.log", "build.log", "index.html"} <= {file.name for file in files}
