"""How enroot is run: with programs that stand in for it and for Docker, which say what they were asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from vep_dagger.engines.docker import Docker
from vep_dagger.errors import MachineError
from vep_dagger.plan import load_plan
from vep_dagger.squash import enroot_import
from vep_dagger.squash.enroot_form import ImageConfig
from vep_dagger.squash.enroot_import import import_image, path_note

MATRIX = Path(__file__).parents[2] / "examples" / "hello" / "matrix.toml"
CALM = replace(load_plan(MATRIX).images[0], platform="linux/arm64")
ID = f"sha256:{'1' * 64}"

DOCKER = """\
echo "$@" >> "$LAB/docker"
case "$1" in
build) cp "$3" "$LAB/Containerfile"; [ ! -e "$LAB/no-build" ] || exit 1 ;;
ps) echo "vep/other 7"; [ ! -e "$LAB/container" ] || cat "$LAB/container" ;;
create) echo 42 ;;
cp) tar -cf - -C "$LAB" profile ;;
esac
"""
MAKES = """\
echo "$@" > "$LAB/enroot"; env > "$LAB/environ"; command -v docker > "$LAB/which"
docker from-enroot
eval "name=\\${$#}"; echo "${name#dockerd://} 8" > "$LAB/container"
"""


class Lab:
    """A directory with both programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.aside = directory / ".vep-squash-node-r4nd0m"
        self.aside.mkdir()
        self.log = directory / "x.sqsh.log"
        self.log.write_text("of the build before\n")
        self.environ = {"PATH": os.environ["PATH"], "LAB": str(directory), "HF_TOKEN": "hf_topsecret"}
        # Under another name, as VEP_DOCKER may name one.
        self.docker = Docker(self.program("docker-of-mine", DOCKER), "20.10.24", self.environ)

    def program(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)
        return str(path)

    def imported(self, enroot: str) -> Path:
        program = self.program("enroot-program", enroot)
        return anyio.run(import_image, program, self.docker, CALM, ID, self.aside, self.log)

    def heard(self, name: str = "docker") -> list[str]:
        return (self.directory / name).read_text().splitlines()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_enroot_is_handed_the_image_under_a_name_of_its_own_with_its_id_as_a_label(lab: Lab) -> None:
    made = lab.imported(MAKES + 'echo squashed > "$3"\n')
    assert made.read_text() == "squashed\n"
    name = "vep/squash:hello1-r4nd0m"
    assert lab.heard("enroot") == [f"import --output {made} --arch aarch64 dockerd://{name}"]
    tagged, built, _, *cleaned = lab.heard()
    assert tagged == f"tag {ID} {name}"
    assert f"--tag {name} --label dev.vep.id={ID}" in built
    assert lab.heard("Containerfile") == [f"FROM {name}"]
    assert cleaned[1:] == ["rm --force --volumes 8", f"rmi {name}"], "its own container, and nobody else's"


def test_enroot_finds_the_docker_that_works_and_has_the_sites_settings_and_no_secret(lab: Lab) -> None:
    lab.environ |= {"ENROOT_SQUASH_OPTIONS": "-comp zstd", "TMPDIR": "/small"}
    lab.imported(MAKES + 'echo squashed > "$3"\n')
    assert "from-enroot" in lab.heard()
    assert lab.heard("which") == [str(lab.aside / "bin" / "docker")]
    environ = lab.heard("environ")
    assert "ENROOT_SQUASH_OPTIONS=-comp zstd" in environ
    assert "hf_topsecret" not in "".join(environ)


def test_enroot_unpacks_beside_the_file_unless_a_person_has_named_a_place(lab: Lab) -> None:
    lab.environ |= {"TMPDIR": "/small"}
    lab.imported(MAKES + 'echo squashed > "$3"\n')
    assert f"TMPDIR={lab.aside}" in lab.heard("environ")
    assert not [line for line in lab.heard("environ") if line.startswith("ENROOT_TEMP_PATH")], "enroot.conf may have it"


def test_in_a_place_that_a_person_has_named_nothing_is_left(lab: Lab, tmp_path: Path) -> None:
    place = tmp_path / "raid"
    place.mkdir()
    lab.environ |= {"ENROOT_TEMP_PATH": str(place)}
    with pytest.raises(MachineError):
        lab.imported(MAKES + 'mkdir "$ENROOT_TEMP_PATH/enroot.x"\nexit 1\n')
    (named,) = [line.partition("=")[2] for line in lab.heard("environ") if line.startswith("ENROOT_TEMP_PATH")]
    assert Path(named).parent == place
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("[ERROR] Command not found: jq", "--with mksquashfs"),
        ("Write failed because No space left on device", "ENROOT_TEMP_PATH"),
    ],
)
def test_what_enroot_says_when_it_fails_is_told_and_nothing_is_left_in_docker(lab: Lab, said: str, hint: str) -> None:
    with pytest.raises(MachineError, match="enroot import ended with 7") as caught:
        lab.imported(f'{MAKES}echo half > "$3"\necho "{said}" >&2\nexit 7\n')
    assert said in caught.value.what
    assert "before" not in caught.value.what
    assert hint in (caught.value.hint or "")
    assert lab.heard()[-2:] == ["rm --force --volumes 8", "rmi vep/squash:hello1-r4nd0m"]


def test_a_success_without_a_file_is_none(lab: Lab) -> None:
    with pytest.raises(MachineError, match="ended with 0"):
        lab.imported(MAKES)


def test_a_label_that_cannot_be_given_is_told_and_the_name_is_taken_back(lab: Lab) -> None:
    (lab.directory / "no-build").touch()
    with pytest.raises(MachineError, match="cannot label"):
        lab.imported(MAKES)
    assert not (lab.directory / "enroot").exists()
    assert lab.heard()[-1] == "rmi vep/squash:hello1-r4nd0m"


SLOW = f"""\
{MAKES}
(
    trap 'touch "$LAB/cleaned"' EXIT
    echo $BASHPID > "$LAB/pid"
    sleep 60
)
"""
"""As enroot is built: its subshell cleans up."""


def test_when_it_is_cancelled_enroot_cleans_up_and_nothing_of_it_is_alive_or_in_docker(lab: Lab) -> None:
    program = lab.program("enroot-program", SLOW)

    async def cancelled() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(import_image, program, lab.docker, CALM, ID, lab.aside, lab.log)
            await anyio.to_thread.run_sync(until, (lab.directory / "pid").exists)
            group.cancel_scope.cancel()

    anyio.run(cancelled)
    assert (lab.directory / "cleaned").exists()
    (pid,) = lab.heard("pid")
    assert not Path(f"/proc/{pid}").exists()
    assert lab.heard()[-2:] == ["rm --force --volumes 8", "rmi vep/squash:hello1-r4nd0m"]


def test_one_that_takes_too_long_is_ended(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enroot_import, "IMPORT_S", 1.0)
    with pytest.raises(MachineError, match="did not end within 1 s"):
        lab.imported(SLOW)
    assert (lab.directory / "cleaned").exists()


def test_when_vep_is_killed_enroot_ends_and_nothing_is_left_in_docker(lab: Lab) -> None:
    program = lab.program("enroot-program", SLOW)
    script = f"""
import anyio
from pathlib import Path
from tests.squash.test_squash_enroot_import import CALM, ID
from vep_dagger.engines.docker import Docker
from vep_dagger.squash.enroot_import import import_image
docker = Docker({lab.docker.program!r}, "20", {lab.environ!r})
anyio.run(import_image, {program!r}, docker, CALM, ID, Path({str(lab.aside)!r}), Path({str(lab.log)!r}))
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], cwd=root) as vep:
        until(lambda: (lab.directory / "pid").exists())
        vep.kill()
    until(lambda: lab.heard()[-1].startswith("rmi"))
    (pid,) = lab.heard("pid")
    assert not Path(f"/proc/{pid}").exists()


def until(done: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "profile", "told"),
    [
        ("/opt/venv/bin:/usr/bin", 'export PATH="/usr/local/bin:/usr/bin"', True),
        ("/opt/venv/bin:/usr/bin", "umask 022", False),
        ("/usr/local/bin:/usr/bin", '  PATH="/usr/local/bin:/usr/bin"', False),
        ("", 'PATH="/usr/bin"', False),
    ],
)
def test_a_profile_that_takes_the_images_path_away_is_told_with_two_ways_out(
    lab: Lab, path: str, profile: str, told: bool
) -> None:
    (lab.directory / "profile").write_text(profile)
    notes = anyio.run(path_note, lab.docker, ID, ImageConfig(env=(f"PATH={path}",)))
    assert bool(notes) == told
    assert all("without /opt/venv/bin" in note and "ENROOT_LOGIN_SHELL=no" in note for note in notes)
