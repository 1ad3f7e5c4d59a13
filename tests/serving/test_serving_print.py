"""`vep serve --print`: commands that a person can paste, and nothing done."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

GPU = """
recipe = "vllm-ep"
[pins]
vllm = "0.10.1.1"
[axes]
all2all = ["pplx"]
[serve]
model = "deepseek-ai/DeepSeek-R1-0528"
data_parallel = 8
expert_parallel = true
[serve.env]
ODD = "it's \\"two\\" words"
"""
CPU = """
recipe = "vllm-cpu"
[serve]
model = "./a model"
"""


def vep(folder: Path, text: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "matrix.toml").write_text(text)
    (folder / "a model").mkdir(exist_ok=True)
    (folder / "a model" / "config.json").write_text("{}")
    command = [sys.executable, "-m", "vep_dagger.cli", "serve", *args, "--print"]
    return subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True)


def options(words: list[str], name: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == name]


def test_the_line_for_docker_is_the_whole_start_of_the_cell(tmp_path: Path) -> None:
    home = tmp_path / "hf home"
    done = vep(tmp_path, GPU, "pplx", "--builder", "docker", HF_TOKEN="hf_secret", HF_HOME=str(home))
    build, run = (shlex.split(line) for line in done.stdout.splitlines())
    assert build[:2] == ["vep", "build"]
    assert run[:3] == ["docker", "run", "--rm"]
    assert options(run, "--gpus") == ["all"]
    assert "--ipc=host" in run
    assert options(run, "--publish") == ["127.0.0.1:8000:8000"]
    assert f"{home}:/root/.cache/huggingface" in options(run, "--volume")
    assert {"HF_TOKEN", "VLLM_ALL2ALL_BACKEND=pplx", 'ODD=it\'s "two" words'} <= set(options(run, "--env"))
    served = run[run.index("vllm") :]
    assert served[:3] == ["vllm", "serve", "deepseek-ai/DeepSeek-R1-0528"]
    assert {"--data-parallel-size", "--enable-expert-parallel"} <= set(served)
    assert "hf_secret" not in done.stdout + done.stderr
    assert not home.exists()


def test_the_line_that_builds_refuses_what_is_not_locked_where_that_was_asked(tmp_path: Path) -> None:
    for asked in ((), ("--locked",)):
        done = vep(tmp_path, GPU, "pplx", "--builder", "docker", *asked)
        build = shlex.split(done.stdout.splitlines()[0])
        assert ("--locked" in build) == bool(asked)


def test_printing_touches_nothing_and_does_not_mind_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = vep(tmp_path, GPU, "pplx", "--builder", "docker", "--port", port)
    assert f"127.0.0.1:{port}:{port}" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a model", "matrix.toml"]


def test_the_line_names_the_client_that_people_chose_and_plain_docker_otherwise(tmp_path: Path) -> None:
    clients = tmp_path / "my clients"
    clients.mkdir()
    for name in ("docker", "docker-20"):
        (clients / name).write_text("#!/bin/sh\n")
        (clients / name).chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    path = f"{clients}:{os.environ['PATH']}"
    for named, typed in {
        "/nowhere/docker": "/nowhere/docker",
        str(clients / "docker-20"): str(clients / "docker-20"),
        "docker-20": "docker-20",
        str(clients / "docker"): "docker",
        "": "docker",
    }.items():
        done = vep(folder, GPU, "pplx", "--builder", "docker", VEP_DOCKER=named, PATH=path)
        assert shlex.split(done.stdout.splitlines()[-1])[:2] == [typed, "run"]


def test_a_network_of_the_host_publishes_nothing_and_listens_where_it_was_asked_to(tmp_path: Path) -> None:
    done = vep(tmp_path, GPU, "pplx", "--builder", "docker", "--network", "host", "--host", "127.0.0.2")
    run = shlex.split(done.stdout.splitlines()[-1])
    assert options(run, "--publish") == []
    assert options(run, "--host") == ["127.0.0.2"]


def test_the_line_for_this_machine_is_the_environments_own_program(tmp_path: Path) -> None:
    done = vep(tmp_path, CPU, "default", VEP_CACHE_DIR=str(tmp_path / "cache"))
    run = shlex.split(done.stdout.splitlines()[-1])
    program = next(word for word in run if word.endswith("/bin/vllm"))
    assert program.startswith(str(tmp_path / "cache"))
    assert run[run.index(program) + 1 :][:2] == ["serve", str(tmp_path / "a model")]


@pytest.mark.parametrize(
    ("extra", "said"), [(["--launcher", "docker"], "cannot run"), (["--builder", "dagger"], "paste")]
)
def test_what_cannot_be_printed_is_refused(tmp_path: Path, extra: list[str], said: str) -> None:
    done = vep(tmp_path, CPU, "default", *extra)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_launcher_whose_line_cannot_be_pasted_is_told_of_before_what_its_builder_lacks(tmp_path: Path) -> None:
    assert vep(tmp_path, GPU, "pplx", "--builder", "docker").returncode == 0
    done = vep(tmp_path, GPU, "pplx", "--builder", "dagger")
    assert done.returncode == 2
    assert "the launcher dagger runs is no command that can be pasted" in done.stderr
    assert "--builder docker" in done.stderr
