"""GitHub's workflows: what actionlint and zizmor find in them, and what ties them to the rest of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import platformdirs
import pytest
import tomli
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
MATRIX = ROOT / ".github" / "workflows" / "matrix.yml"


@pytest.fixture(scope="module")
def actionlint() -> str:
    """The program: of PATH, or built once by Go, into the user's cache; or the test is skipped, loudly."""
    found = shutil.which("actionlint")
    if found:
        return found
    how = f"go install {ACTIONLINT}"
    go = shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/go/bin")
    directory = platformdirs.user_cache_path("vep-dagger-tests")
    program = directory / ACTIONLINT.rpartition("@")[2] / "actionlint"
    if not program.exists():
        if go is None:
            pytest.skip(f"needs actionlint: {how}")
        environ = {**os.environ, "GOBIN": str(program.parent)}
        done = subprocess.run([go, "install", ACTIONLINT], env=environ, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"needs actionlint (go install failed: {done.stderr.strip()[-200:]}): {how}")
    return str(program)


@pytest.fixture(scope="module")
def zizmor() -> str:
    """The program, of the test group; or the test is skipped, loudly."""
    found = shutil.which("zizmor", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    if found is None:
        pytest.skip("needs zizmor: make setup")
    return found


def said(argv: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def careless(tmp_path: Path) -> Path:
    """A workflow that both programs have something to say about."""
    file = tmp_path / ".github" / "workflows" / "careless.yml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "on: pull_request_target\njobs:\n  a:\n    runs-on: gpuu\n    steps:\n"
        "      - uses: actions/checkout@v4\n      - run: echo ${{ github.event.pull_request.title }}\n"
    )
    return file


def test_actionlint_finds_nothing(actionlint: str, careless: Path) -> None:
    assert said([actionlint, *map(str, WORKFLOWS)]) == (0, "")
    assert said([actionlint, str(careless)])[0] == 1


def test_zizmor_finds_nothing(zizmor: str, careless: Path) -> None:
    code, text = said([zizmor, "--offline", "--persona=pedantic", *map(str, WORKFLOWS)])
    assert code == 0, text
    assert said([zizmor, "--offline", str(careless)])[0] != 0


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_every_action_is_pinned_to_a_commit_and_says_of_which_release(workflow: Path) -> None:
    uses = re.findall(r"uses: (.+)", workflow.read_text())
    assert uses
    assert [action for action in uses if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", action)] == []


def test_one_action_has_one_commit_in_all_workflows() -> None:
    pins = {pin for file in WORKFLOWS for pin in re.findall(r"uses: (\S+)", file.read_text())}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


def test_dagger_is_installed_in_a_version_that_the_client_speaks_to() -> None:
    (version,) = re.findall(r"dagger-for-github@.*\n\s+with:\n\s+version: v(\S+)", MATRIX.read_text())
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    (client,) = [each for each in map(Requirement, project["dependencies"]) if each.name == "dagger-io"]
    assert client.specifier.contains(version)


def test_the_pipelines_and_options_that_it_calls_are_there() -> None:
    calls = re.findall(r"python (pipelines/\S+) (.*(?:\\\n.*)*)", MATRIX.read_text())
    assert [file for file, _ in calls] == ["pipelines/build.py", "pipelines/bench.py"]
    for file, rest in calls:
        known = subprocess.run([sys.executable, ROOT / file, "--help"], capture_output=True, text=True).stdout
        assert [option for option in re.findall(r"(?<![\w-])--[a-z-]+", rest) if f"{option} " not in known] == []


def test_nothing_of_a_pull_request_reaches_a_runner_with_gpus_or_the_registry() -> None:
    jobs = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", MATRIX.read_text().partition("jobs:\n")[2], re.MULTILINE))
    assert list(jobs) == ["plan", "build", "bench", "report"]
    assert "if: github.event_name != 'pull_request'" in jobs["build"]
    assert "needs: build" in jobs["bench"], "skipped with it"
    assert "packages" not in jobs["plan"] + jobs["report"]
    assert all("timeout-minutes:" in job and "permissions:" in job for job in jobs.values())
