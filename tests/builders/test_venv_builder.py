"""What only the builder of environments does; the rest is in ``test_builder_conformance.py``."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.builders.builder_labs import VenvLab
from vep_dagger.builders.cache import Places
from vep_dagger.builders.manifest import NAME, Interpreter
from vep_dagger.builders.venv.builder import VenvBuilder, environment_key
from vep_dagger.builders.venv.steps import Lowering
from vep_dagger.dsl import PLAIN, Alternative, Build, Image, Layer, git, http, image
from vep_dagger.errors import BuildError, MachineError

PYTHON = "/venv/bin/python"
SOURCE = git("https://example.org/x.git", "a" * 40)
MakeWheel = Callable[..., Path]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def venv(tmp_path: Path, surroundings: dict[str, str]) -> VenvLab:
    return VenvLab(tmp_path, surroundings)


def image_of(build: Build, **changes: object) -> Image:
    return Image(**{"recipe": "probe", "tag": "probe1", "release": "1", "base": PLAIN, "build": build, **changes})  # type: ignore[arg-type]


def environment() -> Build:
    return Build().python(">=3.11")


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        (image_of(environment().run("make", "all")), "step 2, `run make all`: only programs of /venv/bin can be run"),
        (image_of(environment().run("/venv/bin/../../bin/sh")), "only programs of /venv/bin"),
        (image_of(environment().copy(http("https://example.org/x", "a" * 64), "/venv/x")), "step 2, `copy /venv/x`"),
        (image_of(environment().mount(SOURCE, "/src")), "step 2, `mount /src`"),
        (image_of(environment().workdir("/venv")), "step 2, `workdir /venv`"),
        (
            image_of(environment().write("/etc/x", "")),
            "step 2, `write /etc/x`: only what is below /venv can be written",
        ),
        (image_of(environment().write("/venv2/x", "")), "step 2, `write /venv2/x`"),
        (
            image_of(environment().python(">=3.11", "/other")),
            "step 2, `python >=3.11 at /other`: there is an environment",
        ),
        (image_of(environment().install("app", prefix="/other")), "the environment is at /venv, not at /other"),
        (image_of(Build().install("app")), "step 1, `install app`: there is no environment yet"),
        (image_of(Build().export(A="1")), "it makes no Python environment"),
        (image_of(environment().library("/venv/lib")), "/venv/lib"),
        (image_of(environment().check("it links", "ldd", "x")), "check 'it links' runs ldd"),
        (image_of(environment(), base=image("debian:13")), "its base is 'debian:13'"),
        (
            image_of(environment(), layers=(Layer("nccl", "/opt/nccl", PLAIN, (), Build()),)),
            "layer 'nccl' is not Python",
        ),
        (image_of(environment(), platform="linux/riscv64"), "it is for linux/riscv64"),
    ],
)
def test_what_is_not_python_is_refused_by_name_with_what_can_still_be_done(
    refused: Image, named: str, venv: VenvLab
) -> None:
    with pytest.raises(BuildError) as caught:
        venv.build(refused)
    assert named in caught.value.what
    assert "recipe 'probe'" in caught.value.what
    assert (
        caught.value.hint
        == "build it with --builder docker or --builder dagger; vep doctor says which of them this machine has"
    )
    assert not venv.cache.exists()


def test_a_long_step_is_named_in_one_line(venv: VenvLab) -> None:
    with pytest.raises(BuildError) as caught:
        venv.build(image_of(environment().run("sh", "-c", "echo one\n" * 100)))
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 300


def test_interpreter_and_platform_decide_the_environments_key_and_where_python_lies_does_not() -> None:
    made = image_of(environment())
    here = Interpreter(implementation="cpython", version="3.12.1", path="/usr/bin/python3")
    assert environment_key(made, here) == environment_key(made, here.model_copy(update={"path": "/opt/python3"}))
    assert environment_key(made, here) != environment_key(made, here.model_copy(update={"version": "3.12.2"}))
    assert environment_key(made, here) != environment_key(image_of(environment().export(A="1")), here)


def test_no_suitable_python_is_said_with_those_that_were_found(venv: VenvLab) -> None:
    with pytest.raises(MachineError) as caught:
        venv.build(image_of(Build().python("==3.2.*")))
    assert "no Python ==3.2.* on this machine; found: 3." in caught.value.what
    assert venv.in_place() == 0


def test_an_environment_whose_interpreter_is_gone_is_built_again(venv: VenvLab) -> None:
    made = image_of(environment())
    builder = venv.builder()

    def cached() -> bool:
        return anyio.run(builder.build, made, venv.log, venv.said.append).cached

    location = venv.build(made).location
    venv.close()
    assert cached()
    python = Path(location, "bin", "python")
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert not cached()
    assert cached()


def test_a_directory_without_a_manifest_is_no_environment(venv: VenvLab) -> None:
    made = image_of(environment())
    first = venv.build(made)
    venv.close()
    Path(first.location, NAME).unlink()
    assert venv.build(made).cached is False


def test_a_build_takes_away_what_dead_builds_of_other_images_left_and_spares_living_ones(venv: VenvLab) -> None:
    places = Places(venv.cache)
    places.prepare()
    dead, living = "d" * 64, "e" * 64
    for key in (dead, living):
        (places.building / f"{key}-1" / "env").mkdir(parents=True)
    builder = places.lock(living)
    assert builder.try_acquire("exclusive")
    venv.build(image_of(environment()))
    assert [path.name for path in places.building.iterdir()] == [f"{living}-1"]
    builder.release()


def test_the_script_for_shells_names_the_place_where_the_environment_is(venv: VenvLab) -> None:
    built = venv.build(image_of(environment()))
    script = f". '{built.location}/bin/activate' && printf %s \"$VIRTUAL_ENV\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == built.location


def test_an_unwritable_cache_is_named_with_the_variable_that_moves_it(venv: VenvLab, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where the cache should be")
    builder = VenvBuilder(blocked, environ=venv.environ)
    with pytest.raises(MachineError) as caught:
        anyio.run(builder.build, image_of(environment()), venv.log, venv.said.append)
    assert str(blocked) in caught.value.what
    assert "VEP_CACHE_DIR" in (caught.value.hint or "")
    assert blocked.read_text() == "a file, where the cache should be"
    assert not venv.log.exists()


def test_a_build_without_space_for_it_is_not_begun(venv: VenvLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100e9, 99.5e9, 0.5e9))
    builder = VenvBuilder(venv.cache, environ=venv.environ)
    with pytest.raises(MachineError) as caught:
        anyio.run(builder.build, image_of(environment()), venv.log, venv.said.append)
    assert "no space left on /" in caught.value.what
    assert "needs 1.0 GB at least, and it has 0.5 GB" in caught.value.what
    assert "vep cache prune" in (caught.value.hint or "")
    assert (venv.in_place(), venv.half_made()) == (0, 0)


def test_space_that_ends_in_the_middle_is_the_machines_fault(venv: VenvLab) -> None:
    full = (PYTHON, "-c", "import os, errno; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))")
    with pytest.raises(MachineError) as caught:
        venv.build(image_of(environment().run(*full)))
    assert "no space left on /" in caught.value.what
    assert (venv.in_place(), venv.half_made()) == (0, 0)


def test_space_that_ends_while_we_write_is_the_machines_fault(venv: VenvLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Lowering, "_write", fail)
    with pytest.raises(MachineError, match="no space left on /"):
        venv.build(image_of(environment().write("/venv/x", "y")))
    assert (venv.in_place(), venv.half_made()) == (0, 0)


def test_a_project_or_settings_in_the_working_directory_do_not_interfere(
    venv: VenvLab, make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel("vep-app")
    (tmp_path / "uv.toml").write_text("this is not TOML")
    (tmp_path / "pyproject.toml").write_text("[tool.uv]\nno-index = 17\n")
    monkeypatch.chdir(tmp_path)
    assert venv.build(image_of(environment().install("vep-app"))).packages == {"vep-app": "1.0"}


def test_two_environments_share_the_files_of_a_package(venv: VenvLab, make_wheel: MakeWheel) -> None:
    make_wheel("vep-app")
    first = venv.build(image_of(environment().install("vep-app")))
    second = venv.build(image_of(environment().install("vep-app").export(A="1")))
    one, two = (
        next(Path(each.location).glob("lib/python*/site-packages/vep_app/__init__.py")) for each in (first, second)
    )
    if one.stat().st_nlink == 1:
        pytest.skip("this file system shares content in another way than by names (copy on write)")
    assert one.samefile(two)


def test_writing_over_an_installed_file_leaves_the_file_of_others_alone(venv: VenvLab, make_wheel: MakeWheel) -> None:
    make_wheel("vep-app")
    plain = venv.build(image_of(environment().install("vep-app")))
    module = next(Path(plain.location).glob("lib/python*/site-packages/vep_app/__init__.py"))
    inside = "/venv/" + str(module.relative_to(plain.location))
    changed = venv.build(image_of(environment().install("vep-app").write(inside, "VERSION = 'ours'\n")))
    assert venv.run(changed, PYTHON, "-c", "import vep_app; print(vep_app.VERSION)") == "ours"
    assert venv.run(plain, PYTHON, "-c", "import vep_app; print(vep_app.VERSION)") == "1.0"


def test_further_places_are_looked_for_where_mirrors_have_them_under_the_same_key(
    venv: VenvLab, make_wheel: MakeWheel, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    make_wheel("vep-mirrored", to=elsewhere)
    way = Alternative(("vep-mirrored",), indexes=("https://whl.invalid/cpu/",))
    asked = image_of(environment().install(way))
    mirrored = VenvBuilder(
        venv.cache, environ=venv.environ, mirrors={"https://whl.invalid/cpu/": str(elsewhere)}, min_free_bytes=0
    )
    try:
        with pytest.raises((BuildError, MachineError)):
            venv.build(asked)
        anyio.run(mirrored.build, asked, venv.log, venv.said.append)
        assert venv.build(asked).cached
    finally:
        mirrored.close()
