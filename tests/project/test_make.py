"""The two commands from outside: a fresh clone, `make`, and whatever Python is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def make(clone: Path, *arguments: str, **environ: str | None) -> subprocess.CompletedProcess[str]:
    """make in a clone, with the tests' own Python; a variable that is None is not set."""
    dropped = dict.fromkeys(("MAKEFLAGS", "MAKELEVEL", "VEP_VENV", "PYENV_ROOT"))
    wanted = {**os.environ, **dropped, "PYTHON": sys.executable, **environ}
    surroundings = {name: value for name, value in wanted.items() if value is not None}
    command = [shutil.which("make") or "make", *arguments]
    return subprocess.run(command, cwd=clone, env=surroundings, capture_output=True, text=True)


def test_without_any_python_it_says_what_to_install(clone: Path, tools: Path) -> None:
    done = make(clone, "run", PATH=str(tools), PYTHON=None)
    assert done.returncode == 2
    assert "apt install python3 python3-venv" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_python_that_cannot_run_is_passed_over_for_the_next(clone: Path, tools: Path) -> None:
    shim = tools / "python3"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3: command not found' >&2; exit 127\n")
    shim.chmod(0o755)
    found = tools / "python3.12"
    found.write_text(f"#!/bin/sh\necho {found}\n")
    found.chmod(0o755)
    done = make(clone, "run", "--dry-run", PATH=str(tools), PYTHON=None)
    assert done.stdout == f"{found} scripts/setup.py run \n"


def test_arguments_reach_pytest_as_they_were_quoted(clone: Path) -> None:
    done = make(clone, "test", "--dry-run", "ARGS=-k 'a or b'")
    assert done.stdout.strip().endswith("scripts/setup.py test -k 'a or b'")


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_an_old_python_says_politely_that_it_is_too_old(clone: Path, tools: Path, version: str) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    old = shutil.which(f"python{version}") if not found else str(found[0])
    if old is None:
        pytest.skip(f"needs python{version}: pyenv install {version}")
    done = make(clone, "setup", PATH=str(tools), PYTHON=old, HOME=str(clone))
    assert "Traceback" not in done.stderr
    assert f"Python 3.11 or newer is needed; found: Python {version}." in done.stderr


@pytest.mark.real
def test_a_fresh_clone_is_set_up_once_and_then_needs_neither_time_nor_network(clone: Path) -> None:
    first = make(clone, "setup")
    assert first.returncode == 0, first.stdout + first.stderr
    assert ".venv is ready" in first.stdout
    subprocess.run([clone / ".venv/bin/vep", "--help"], check=True, capture_output=True)

    nobody = "http://127.0.0.1:9"
    nowhere = {"HTTP_PROXY": nobody, "HTTPS_PROXY": nobody, "ALL_PROXY": nobody, "NO_PROXY": "", "UV_HTTP_RETRIES": "0"}
    nowhere |= {name.lower(): value for name, value in nowhere.items()}
    second = make(clone, "setup", **nowhere)
    assert (second.returncode, second.stdout.count("\n")) == (0, 1)
    assert "is up to date" in second.stdout

    # pyproject.toml changes, and no network: what uv has in its cache is enough.
    with (clone / "pyproject.toml").open("a") as file:
        file.write("\n")
    third = make(clone, "setup", **nowhere)
    assert third.returncode == 0, third.stdout + third.stderr
    assert "out of date: pyproject.toml has changed" in third.stdout
    assert "trying again with what uv has in its cache" in third.stdout

    tests = make(clone, "test", "ARGS=tests/test_import_rules.py -q", **nowhere)
    assert " passed" in tests.stdout, tests.stdout + tests.stderr
