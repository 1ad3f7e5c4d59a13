"""`.ci/run` with a make and a vep that only pretend: what it calls, and what its last line says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PASSED = "===== 12 passed, 1 skipped in 3.21s ====="


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "bin").mkdir()
    script(tmp_path, "make", f'echo "called: make $*"; [ "$1" = run ] || echo "{PASSED}"')
    script(tmp_path, "vep", 'echo "called: vep $*"; case $2 in *broken*) exit 1;; esac')
    script(tmp_path, "python", "case $1 in */plain_base.py) echo the-base;; esac")
    for program in (
        "git",
        "chromium",
        "docker",
        "docker-registry",
        "mmdebstrap",
        "skopeo",
        "runc",
        "newuidmap",
        "mksquashfs",
    ):
        script(tmp_path, program, "exit 0")
    script(tmp_path, "dockerd", f"echo started >> {tmp_path}/dockerd.log; exit 1")
    script(tmp_path, "dagger", "exit 1")
    script(tmp_path, "ldconfig", "echo '	libnuma.so.1 (libc6) => /lib/libnuma.so.1'")
    return tmp_path


def script(tree: Path, name: str, text: str) -> None:
    path = tree / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(tree: Path) -> tuple[int, list[str]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("_EXPERIMENTAL_DAGGER")}
    environ |= {
        "PATH": f"{tree / 'bin'}:{os.environ['PATH']}",
        "VEP_VENV": str(tree),
        "VEP_DOCKER": str(tree / "bin" / "docker"),
    }
    environ.pop("VEP_PLAIN_BASE", None)
    done = subprocess.run([tree / ".ci" / "run"], env=environ, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def called(lines: list[str]) -> list[str]:
    """The commands, with the run directories of its own left out."""
    commands = [line.removeprefix("called: ") for line in lines if line.startswith("called: ")]
    return [re.sub(r" --out \S*/", " --out ", command) for command in commands]


HELLO = "examples/hello/matrix.toml"
CPU = "examples/cpu/matrix.toml"
WITHOUT_DAGGER = [
    "make test",
    "vep plan matrix.toml",
    "make run",
    "vep run examples/cpu/broken.toml",
    f"vep build {HELLO} --builder docker --network host --out hello",
    f"vep build {HELLO} --builder docker --network host --out hello-again",
    f"vep run {CPU} --builder docker --network host -k 0.32.0 and seqs1",
]


def test_it_calls_the_readmes_commands_and_docker_and_ends_with_pytests_closing_line(tree: Path) -> None:
    code, lines = run(tree)
    assert code == 0
    assert called(lines) == WITHOUT_DAGGER
    assert lines[-2:] == ["ci: all passed", PASSED]
    readme = (ROOT / "README.md").read_text()
    assert all(command in readme for command in ("make test", "make run", "vep plan", "examples/cpu/broken.toml"))
    assert not (tree / "dockerd.log").exists(), "a daemon answers already"


def test_where_no_dagger_engine_answers_that_is_said_loudly(tree: Path) -> None:
    code, lines = run(tree)
    assert code == 0
    assert any(line.startswith("ci: !!! NO DAGGER ENGINE") for line in lines)


def test_where_a_dagger_engine_answers_the_pipelines_run_on_it(tree: Path) -> None:
    script(tree, "dagger", 'case $3 in true) ;; *) shift 3; echo "called: dagger $*";; esac')
    code, lines = run(tree)
    assert code == 0
    assert called(lines) == [
        *WITHOUT_DAGGER,
        f"dagger pipelines/build.py --matrix {HELLO} --out dagger",
        f"dagger pipelines/build.py --matrix {HELLO} --out dagger-again",
        f"dagger pipelines/smoke.py --matrix {CPU} -k 0.32.0 and seqs1 --out dagger-smoke",
        f"dagger pipelines/bench.py --matrix {CPU} -k 0.32.0 and seqs1 --out dagger-bench",
    ]
    assert not any("NO DAGGER ENGINE" in line for line in lines)


def test_a_layer_that_is_built_again_is_a_failure(tree: Path) -> None:
    record = 'for out; do :; done; mkdir -p "$out/images/x"; echo \'{"state": "built"}\' > "$out/images/x/build.json"'
    script(tree, "vep", f"case $2 in *broken*) exit 1;; *hello*) {record};; esac")
    code, lines = run(tree)
    assert (code, lines[-2]) == (1, "ci: failed (exit code 1), see above")
    assert any(line.startswith("ci: built again, and nothing had changed: ") for line in lines)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a daemon is started by root alone")
def test_a_docker_daemon_is_started_where_none_answers_and_ended_at_the_end(tree: Path) -> None:
    script(tree, "docker", f"test -e {tree}/dockerd.pid && echo 1")
    script(tree, "dockerd", f'echo "$*" > {tree}/dockerd.log; echo $$ > {tree}/dockerd.pid; exec sleep 300')
    code, _ = run(tree)
    assert code == 0
    assert (tree / "dockerd.log").read_text() == "--iptables=false --ip6tables=false\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tree / "dockerd.pid").read_text()), 0)


def test_failing_tests_end_it_and_are_counted_in_the_last_line(tree: Path) -> None:
    closing = "=== 2 failed, 10 passed in 3.21s ==="
    script(tree, "make", f'echo "called: make $*"; echo "{closing}"; exit 2')
    code, lines = run(tree)
    assert code == 2
    assert lines[-2:] == ["ci: failed (exit code 2), see above", closing]
    assert "called: make run" not in lines


def test_tests_that_never_ran_are_not_hidden(tree: Path) -> None:
    script(tree, "make", "exit 3")
    code, lines = run(tree)
    assert (code, lines[-1]) == (3, "0 passed: pytest did not come to its end")


@pytest.mark.parametrize("exits", [0, 3])
def test_a_broken_example_that_does_not_exit_with_1_is_a_failure(tree: Path, exits: int) -> None:
    script(tree, "vep", f"case $2 in *broken*) exit {exits};; esac")
    code, lines = run(tree)
    assert (code, lines[-2]) == (1, "ci: failed (exit code 1), see above")
