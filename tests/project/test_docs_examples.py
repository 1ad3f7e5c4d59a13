"""The examples of the pages about containers are what the program does: the Containerfile, and tests to copy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vep_dagger.engines.docker import Docker

ROOT = Path(__file__).parent.parent.parent
WRITING = (ROOT / "docs" / "writing-layers.md").read_text()
LOWERING = (ROOT / "docs" / "lowering.md").read_text()
TESTS = dict(re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", WRITING, re.DOTALL))


def run_example(name: str, directory: Path, **variables: str) -> None:
    """Run a test of the page as its reader would, in the repository's own folder."""
    file = directory / name
    file.write_text(TESTS[name])
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(file)]
    environ = {**os.environ, "VEP_CACHE_DIR": str(directory / "cache"), **variables}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_these_tests() -> None:
    assert set(TESTS) == {"test_hello.py", "test_hello_engine.py", "test_pipeline.py"}


@pytest.mark.parametrize("name", ["test_hello.py", "test_pipeline.py"])
def test_a_test_to_copy_passes(name: str, tmp_path: Path) -> None:
    run_example(name, tmp_path)


def test_the_test_on_an_engine_passes(docker: Docker, plain_base: str, tmp_path: Path) -> None:
    run_example("test_hello_engine.py", tmp_path, VEP_PLAIN_BASE=plain_base, VEP_DOCKER=docker.program)


def test_the_layer_on_the_page_is_that_of_the_example() -> None:
    (quoted,) = re.findall(r"```python\n(@layer.*?)```", WRITING, re.DOTALL)
    assert quoted in (ROOT / "examples" / "hello" / "recipe.py").read_text()


def test_the_stage_on_the_page_is_that_of_the_containerfile() -> None:
    """All but the base, which is another for everybody, and the keys, which depend on it."""
    environ = {**os.environ, "VEP_PLAIN_BASE": f"docker.io/library/python:3.12@sha256:{'0' * 64}"}
    argv = [sys.executable, "-m", "vep_dagger.cli", "containerfile", "calm", "--matrix", "examples/hello/matrix.toml"]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    printed = "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("FROM ", "SHELL ")))
    (quoted,) = re.findall(r"```dockerfile\n(.*?)```", LOWERING, re.DOTALL)
    key = re.compile(r"^(# \w+) [0-9a-f]{12}", re.MULTILINE)
    assert key.sub(r"\1", quoted) in key.sub(r"\1", printed)


def test_every_step_of_the_language_is_in_the_table_of_lowerings() -> None:
    from vep_dagger.dsl import Build

    methods = {name for name in vars(Build) if not name.startswith("_") and callable(getattr(Build, name))}
    told = set(re.findall(r"^\| `(\w+)", LOWERING, re.MULTILINE))
    assert methods - told == {"canonical"}
