"""What tests of whole SquashFS files share: an example's images, and how their files are made and looked into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from vep_dagger.builders.settings import BuildSettings
from vep_dagger.plan import load_plan
from vep_dagger.squash.flatten import read_image, read_tree, write_tree
from vep_dagger.squash.mksquashfs import Command, make_squashfs
from vep_dagger.workflow import Options

MATRIX = Path(__file__).parents[2] / "examples" / "hello" / "matrix.toml"
CALM, PROUD = load_plan(MATRIX).images
HOW = "apt-get install squashfs-tools"


def made(program: str, path: Path, target: Path, own: dict[str, str], environ: dict[str, str] | None = None) -> Path:
    """The SquashFS of an archive."""
    image = read_image(path)
    tree = read_tree(path, image, own)
    command = Command.of(program, environ or dict(os.environ), tree.latest_s)

    async def make() -> None:
        log = target.with_suffix(".log")
        await make_squashfs(command, target, log, lambda sink: write_tree(path, image, tree, own, sink))

    anyio.run(make)
    return target


def squash_calm(builder: str, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: a library of Dagger connects once in one."""
    argv = [sys.executable, "-m", "vep_dagger.cli", "squash", "calm", "--matrix", str(MATRIX), "-o", "calm.sqsh"]
    argv += ["--builder", builder, *(["--network", "host"] if builder == "docker" else []), *words]
    return subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=600)


def unpacked(directory: Path) -> dict[str, str]:
    """The tree of ``calm.sqsh`` in ``root``; its variables as enroot reads them."""
    words = ["unsquashfs", "-no-progress", "-d", "root", "calm.sqsh"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=directory)
    lines = (directory / "root/etc/environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def settings_of(plain_base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSettings:
    monkeypatch.setenv("VEP_PLAIN_BASE", plain_base)
    monkeypatch.setenv("VEP_CACHE_DIR", str(tmp_path / "cache"))
    return Options(MATRIX, "build", builder="docker", network="host").settings(load_plan(MATRIX))
