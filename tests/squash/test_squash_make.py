"""SquashFS files, with the real mksquashfs, of images of real engines."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

import anyio
import pytest

from tests.squash.squash_lab import archive, directory, entry, file
from vep_dagger import cli
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError, UsageError
from vep_dagger.plan import load_plan
from vep_dagger.squash import mksquashfs
from vep_dagger.squash.choice import Program
from vep_dagger.squash.flatten import read_image, read_tree, write_tree
from vep_dagger.squash.make import Squashed, squash
from vep_dagger.squash.mksquashfs import Command, find_mksquashfs, make_squashfs
from vep_dagger.squash.target import refuse_other, standing
from vep_dagger.workflow import Options

MATRIX = Path(__file__).parents[2] / "examples" / "hello" / "matrix.toml"
CALM, PROUD = load_plan(MATRIX).images
HOW = "apt-get install squashfs-tools"


@pytest.fixture
def program(needs: Callable[[str, str], str]) -> str:
    return needs("mksquashfs", HOW)


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


def listing(target: Path) -> list[str]:
    return subprocess.run(
        ["unsquashfs", "-lls", target], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_the_same_image_gives_the_same_bytes_and_owners_times_and_links_are_in_them(
    program: str, tmp_path: Path
) -> None:
    layer = [directory("bin"), file("bin/x", "1", 0o4755), entry("bin/y", b"1", "bin/x"), entry("z", b"2", "bin")]
    path = archive(tmp_path / "image.tar", layer)
    first = made(program, path, tmp_path / "1.sqsh", {"etc/rc": "rc"})
    anyio.run(anyio.sleep, 1.1)
    again = made(program, path, tmp_path / "2.sqsh", {"etc/rc": "rc"})
    assert first.read_bytes() == again.read_bytes()
    (root, *_) = [line for line in listing(first) if line.endswith("squashfs-root")]
    assert root.startswith("drwxr-xr-x root/root")
    assert "2023-11-14" in root, "the latest time in the image, and not that of today"
    (setuid,) = [line for line in listing(first) if line.endswith("/bin/x")]
    assert setuid.startswith("-rwsr-xr-x root/root")


def test_source_date_epoch_is_the_time_of_all_files_as_with_enroot(program: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "image.tar", [file("x")])
    target = made(program, path, tmp_path / "1.sqsh", {}, {**os.environ, "SOURCE_DATE_EPOCH": "86400", "TZ": "UTC"})
    assert {line.split()[3] for line in listing(target) if "squashfs-root" in line} == {"1970-01-02"}


def test_options_of_enroot_are_heeded_and_one_that_is_wrong_is_told_with_the_programs_words(
    program: str, tmp_path: Path
) -> None:
    path = archive(tmp_path / "image.tar", [file("x")])
    target = made(program, path, tmp_path / "1.sqsh", {}, {**os.environ, "ENROOT_SQUASH_OPTIONS": "-comp gzip"})
    assert "gzip" in subprocess.run(["unsquashfs", "-s", target], capture_output=True, text=True, check=True).stdout
    with pytest.raises(MachineError, match="mksquashfs ended with") as caught:
        made(program, path, tmp_path / "2.sqsh", {}, {**os.environ, "ENROOT_SQUASH_OPTIONS": "-comp nonsense"})
    assert "ENROOT_SQUASH_OPTIONS" in (caught.value.hint or "")


def test_a_stream_that_breaks_off_is_its_own_error_and_no_process_is_left(program: str, tmp_path: Path) -> None:
    command = Command.of(program, dict(os.environ), 0)

    def feed(sink: IO[bytes]) -> None:
        sink.write(b"\0" * 512)
        raise BuildError("it broke off")

    with pytest.raises(BuildError, match="it broke off"):
        anyio.run(make_squashfs, command, tmp_path / "x.sqsh", tmp_path / "log", feed)
    assert str(tmp_path / "x.sqsh") not in subprocess.run(["ps", "ax"], capture_output=True, text=True).stdout


def test_one_that_stands_still_is_ended(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mksquashfs, "STALL_S", 0.5)
    monkeypatch.setattr(mksquashfs, "_LOOK_S", 0.1)
    end = threading.Event()

    def feed(_: IO[bytes]) -> None:
        end.wait(5)

    threading.Timer(3, end.set).start()
    with pytest.raises(MachineError, match="stood still"):
        anyio.run(make_squashfs, Command.of(program, dict(os.environ), 0), tmp_path / "x", tmp_path / "log", feed)


def test_secrets_of_the_surroundings_do_not_reach_the_program() -> None:
    command = Command.of("mksquashfs", {"PATH": "/bin", "HF_TOKEN": "hf_secret"}, 5)
    assert command.environ == {"PATH": "/bin", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "5"}


def test_without_squashfs_tools_it_is_said_how_to_get_them() -> None:
    with pytest.raises(MachineError, match="no mksquashfs") as caught:
        find_mksquashfs({"PATH": "/nowhere"})
    assert HOW in (caught.value.hint or "")


def test_a_file_of_another_image_or_of_nobody_is_refused_and_one_of_the_same_is_not(
    program: str, tmp_path: Path
) -> None:
    rc = f"# enroot-provenance: vep://t@sha256:1\n# dev.vep.image {CALM.key}\n"
    target = made(program, archive(tmp_path / "image.tar", [file("x")]), tmp_path / "1.sqsh", {"etc/rc": rc})
    found = standing(target, dict(os.environ))
    assert found is not None
    assert (found.key, found.digest, found.program) == (CALM.key, "sha256:1", "mksquashfs")
    refuse_other(target, found, CALM)
    with pytest.raises(UsageError, match="holds another image"):
        refuse_other(target, found, PROUD)
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(UsageError, match="no SquashFS of vep's"):
        refuse_other(tmp_path / "thesis", standing(tmp_path / "thesis", dict(os.environ)), CALM)


@pytest.mark.parametrize("first", ["", "# enroot-provenance: dockerd://vep/squash:x\n"])
def test_a_file_of_enroots_own_is_known_by_its_labels(program: str, tmp_path: Path, first: str) -> None:
    rc = f"{first}# dev.vep.id sha256:2\n# dev.vep.image {CALM.key}\n"
    target = made(program, archive(tmp_path / "image.tar", [file("x")]), tmp_path / "1.sqsh", {"etc/rc": rc})
    found = standing(target, dict(os.environ))
    assert found is not None
    assert (found.key, found.digest, found.id, found.program) == (CALM.key, None, "sha256:2", "enroot")
    assert found.is_of(CALM, id="sha256:2")
    assert not found.is_of(CALM, id="sha256:3", digest="sha256:4")
    assert not found.is_of(PROUD, id="sha256:2")


def vep(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["vep", "squash", *words, "--matrix", str(MATRIX)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_builder_without_images_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert vep("calm", "--builder", "venv", monkeypatch=monkeypatch) == 2
    assert "use dagger, docker, registry" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("builder", ["docker", "dagger"])
def test_a_program_of_the_image_runs_from_the_file_by_its_own_script(
    builder: str,
    request: pytest.FixtureRequest,
    plain_base: str,
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: chroot into the file's tree")
    engine: Docker | DaggerSession = request.getfixturevalue("docker" if builder == "docker" else "dagger_session")
    assert engine is not None
    monkeypatch.setenv("HF_TOKEN", "hf_topsecret")
    monkeypatch.setenv("VEP_PLAIN_BASE", plain_base)
    monkeypatch.setenv("VEP_CACHE_DIR", str(tmp_path / "cache"))
    ours = ["--with", "mksquashfs"]
    # Enroot, if it is there, finds the same image's file: it is of use to it too.
    said = [squash_calm(builder, tmp_path, *words) for words in (ours, [])]
    assert [done.returncode for done in said] == [0, 0], said[-1].stderr
    first, again = (done.stdout.splitlines() for done in said)
    assert first[0] == str(tmp_path / "calm.sqsh")
    assert " MiB by mksquashfs, image sha256:" in first[1]
    assert again[1] == f"{first[1]}, found"
    assert f"srun --container-image={tmp_path}/calm.sqsh" in first[2]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["calm.sqsh"]
    environ = unpacked(tmp_path)
    # As enroot does: the variables, a login shell, the script with the program as its arguments.
    words = ["chroot", str(tmp_path / "root"), "/bin/sh", "-l", "/etc/rc", "sh", "-c", "hi; echo $GREETING"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "Hello, HELLO!\nHello\n"
    assert all(
        "hf_topsecret" not in path.read_text() for path in [tmp_path / "root/etc/rc", tmp_path / "root/etc/rc.local"]
    )
    assert "HF_TOKEN" not in environ


def test_one_that_is_cancelled_leaves_nothing_under_its_name(
    docker: Docker, plain_base: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(plain_base, tmp_path, monkeypatch)
    out = tmp_path / "out"

    async def make() -> None:
        async with anyio.create_task_group() as group:

            def say(line: str) -> None:
                if "making" in line:
                    group.cancel_scope.cancel()

            await squash(CALM, "docker", settings, out / "calm.sqsh", say, using="mksquashfs")

    anyio.run(make)
    assert [path.name for path in out.iterdir()] == ["calm.sqsh.log"]


def test_a_full_disk_is_the_machines_fault_and_only_the_programs_words_are_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of the build\n")
    quit_early = tmp_path / "mksquashfs"
    quit_early.write_text("#!/bin/sh\necho 'Write failed because No space left on device'\nexit 1\n")
    quit_early.chmod(0o755)
    command = Command.of(str(quit_early), dict(os.environ), 0)
    with pytest.raises(MachineError, match="No space left on device") as caught:
        anyio.run(make_squashfs, command, tmp_path / "x", tmp_path / "log", lambda sink: sink.write(b"0" * (1 << 20)))
    assert "of the build" not in caught.value.what
    assert "free some space" in (caught.value.hint or "")


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
