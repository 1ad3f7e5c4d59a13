"""The examples of docs/errors.md are what `vep` really prints."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = re.findall(r"```console\n\$ (.+)\n((?:.*\n)+?)```", (ROOT / "docs" / "errors.md").read_text())
CELLS = """\
recipe = "vllm-cpu"

[axes]
vllm = ["0.27.0", "0.32.0"]
"""
MATRIX = f"""\
{CELLS}
[serve]
model = "./model"

[[bench]]
name = "short"
input_len = 16
output_len = 16
num_prompts = 20
"""
EDITS = {
    "typo.toml": ("[serve]", "[serve]\ntensor_paralel = 2"),
    "quote.toml": ('"vllm-cpu"', '"vllm-cpu'),
    "text.toml": ("num_prompts = 20", 'num_prompts = "many"'),
    "nomodel.toml": ('"./model"', '"./nomodel"'),
    "gpu.toml": (CELLS, 'recipe = "vllm-ep"\n\n[pins]\nvllm = "0.11.0"\n'),
    "matrix.toml": ("", ""),
    "merged.toml": ("", ""),
}
PAGE = " ".join((ROOT / "docs" / "errors.md").read_text().split())


def lock_errors() -> Iterator[str]:
    """What is written in every LockError of the code: the longest part of it that is the same each time."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "LockError"):
                continue
            pieces = [each.value for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)]
            told = max(
                (piece.split("\n")[0].strip(" )") for piece in pieces if isinstance(piece, str)), key=len, default=""
            )
            # What another error says is handed on.
            if len(told) > len(": "):
                yield told


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A directory with a matrix file, and a copy of it for each mistake."""
    shutil.copytree(ROOT / "examples" / "cpu" / "model", tmp_path / "model")
    for name, (before, after) in EDITS.items():
        (tmp_path / name).write_text(MATRIX.replace(before, after, 1))
    (tmp_path / "merged.lock").write_text("format = 1\n<<<<<<< HEAD\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    return tmp_path


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_is_what_vep_prints(examples: Path, command: str, output: str) -> None:
    variables, _, rest = command.rpartition("vep ")
    environ = {**os.environ, "VEP_CACHE_DIR": str(examples / "cache")}
    environ |= dict(variable.split("=", 1) for variable in variables.split())
    argv = [sys.executable, "-m", "vep_dagger.cli", *shlex.split(rest)]
    done = subprocess.run(argv, cwd=examples, env=environ, capture_output=True, text=True)
    # A run directory is told by its absolute path; the page has it as it was typed.
    assert done.stderr.replace(f"{examples}/", "") == output
    assert done.returncode in {2, 3}


def test_there_are_examples_of_the_kinds_that_users_meet() -> None:
    assert len(EXAMPLES) >= 7


def test_every_message_about_a_lock_is_on_the_page() -> None:
    told = list(lock_errors())
    assert len(told) > 10
    assert [message for message in told if message not in PAGE] == []
