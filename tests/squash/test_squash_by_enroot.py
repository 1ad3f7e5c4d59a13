"""Files that enroot itself makes, of images of a real Docker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.squash.squash_lab import archive, file
from tests.squash.squash_runs import CALM, made, settings_of, squash_calm, unpacked
from vep_dagger.engines.docker import Docker
from vep_dagger.squash.choice import Program
from vep_dagger.squash.make import Squashed, squash


def test_enroot_itself_makes_a_file_that_is_found_again_and_a_program_of_the_image_runs_from_it(
    docker: Docker,
    needs: Callable[[str, str], str],
    plain_base: str,
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs("enroot", "https://github.com/NVIDIA/enroot/releases")
    if os.geteuid() != 0:
        pytest.skip("needs root: chroot into the file's tree")
    monkeypatch.setenv("HF_TOKEN", "hf_topsecret")
    monkeypatch.setenv("VEP_PLAIN_BASE", plain_base)
    said = [squash_calm("docker", tmp_path, *words) for words in ([], ["--with", "enroot"])]
    assert [done.returncode for done in said] == [0, 0], said[-1].stderr
    first, again = (done.stdout.splitlines() for done in said)
    assert " MiB by enroot, image sha256:" in first[1]
    assert again[1] == f"{first[1]}, found"
    assert "without /opt/hello/bin: start it with ENROOT_LOGIN_SHELL=no" in said[0].stderr
    assert [path.name for path in tmp_path.iterdir()] == ["calm.sqsh"]
    environ = unpacked(tmp_path)
    words = ["chroot", str(tmp_path / "root"), "/bin/sh", "/etc/rc", "sh", "-c", "hi; echo $GREETING"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "Hello, HELLO!\nHello\n"
    assert "hf_topsecret" not in (tmp_path / "root/etc/rc").read_text()
    assert "HF_TOKEN" not in environ
    images = [docker.program, "images", "--quiet", "vep/squash"]
    assert subprocess.run(images, capture_output=True, text=True, check=True).stdout == ""


STANDS_IN = """\
set -e
mkdir -p "$TMPDIR/rootfs/etc"
eval "name=\\${$#}"
format='{{range $name, $value := .Config.Labels}}# {{$name}} {{$value}}{{println}}{{end}}'
docker inspect --format "$format" "${name#dockerd://}" > "$TMPDIR/rootfs/etc/rc"
mksquashfs "$TMPDIR/rootfs" "$3" -no-progress
"""


def test_a_file_stays_for_the_same_image_unless_another_program_is_asked_for_or_the_image_was_built_anew(
    docker: Docker, plain_base: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroot = tmp_path / "bin" / "enroot"
    enroot.parent.mkdir()
    enroot.write_text(f"#!/bin/sh\n{STANDS_IN}")
    enroot.chmod(0o755)
    monkeypatch.setenv("PATH", f"{enroot.parent}:{os.environ['PATH']}")
    settings = settings_of(plain_base, tmp_path, monkeypatch)
    target = tmp_path / "out" / "calm.sqsh"
    heard: list[str] = []

    def made_now(using: Program | None) -> Squashed:
        return anyio.run(partial(squash, CALM, "docker", settings, target, heard.append, using=using))

    first = made_now(None)
    assert (first.program, first.found) == ("enroot", False)
    assert made_now("enroot") == replace(first, found=True)
    ours = made_now("mksquashfs")
    assert (ours.program, ours.found) == ("mksquashfs", False)
    assert f"calm.sqsh was of {first.digest}, made by enroot; it is replaced" in heard[-1]
    assert made_now(None) == replace(ours, found=True), "enroot knows the image in it by its id"
    # Of an older build of the same key.
    rc = f"# dev.vep.id sha256:0\n# dev.vep.image {CALM.key}\n"
    target.unlink()
    made(program, archive(tmp_path / "image.tar", [file("x")]), target, {"etc/rc": rc})
    assert made_now(None) == first
    assert "was of sha256:0" in heard[-1]
    assert sorted(path.name for path in target.parent.iterdir()) == ["calm.log", "calm.sqsh"]
