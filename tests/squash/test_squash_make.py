"""SquashFS files, with the real mksquashfs, of images of real engines."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import IO

import anyio
import pytest

from tests.squash.squash_lab import archive, directory, entry, file
from tests.squash.squash_runs import CALM, HOW, MATRIX, PROUD, made, settings_of, squash_calm, unpacked
from vep_dagger import cli
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError, UsageError
from vep_dagger.squash import mksquashfs
from vep_dagger.squash.make import squash
from vep_dagger.squash.mksquashfs import Command, find_mksquashfs, make_squashfs
from vep_dagger.squash.target import refuse_other, standing


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
