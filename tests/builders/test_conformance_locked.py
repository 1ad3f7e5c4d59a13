"""What every builder does with installations in parts and with those that a lock has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders.builder_labs import Lab
from vep_dagger.dsl import PLAIN, Alternative, Build, Image, LockedPackage
from vep_dagger.dsl.step import Install
from vep_dagger.errors import BuildError

PYTHON = "/venv/bin/python"
MakeWheel = Callable[..., Path]


def image_of(build: Build) -> Image:
    return Image(recipe="probe", tag="probe1", release="1", base=PLAIN, build=build, device="cpu")


def environment(lab: Lab) -> Build:
    return lab.begin if lab.place == "/venv" else lab.begin.python(">=3.11")


def locked(build: Build, **hashes: str) -> Build:
    """The chain with its installations locked: each to those of the packages (name of the wheel to hash) that fit."""

    def of(step: Install) -> Install:
        packages = [(name.rsplit("-", 1), value) for name, value in hashes.items()]
        fitting = [
            LockedPackage(name, version, (f"sha256:{value}",))
            for (name, version), value in packages
            if step.part is None or step.part.fits(name)
        ]
        return replace(step, locked=tuple(fitting))

    return replace(build, steps=tuple(of(step) if isinstance(step, Install) else step for step in build.steps))


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_parts_install_one_resolution_and_tell_of_it_once(lab: Lab, make_wheel: MakeWheel) -> None:
    wheels = (
        make_wheel("vep-app", needs=("vep-big-lib", "vep-small-lib")),
        make_wheel("vep-big-lib", "2.0"),
        make_wheel("vep-small-lib", "1.5"),
    )
    build, places = lab.wheels(environment(lab), *wheels)
    way = Alternative(("vep-app==1.0",), indexes=places, note="from wheels")
    missing = Alternative(("vep-app==7.0",), indexes=places, note="a newer one")
    asked = build.install(missing, way, parts=(("vep-big-*",), ("vep-nothing",)))
    seen = asked.run(PYTHON, "-c", "import vep_app, vep_big_lib, vep_small_lib")
    built = lab.build(image_of(seen))
    assert built.packages == {"vep-app": "1.0", "vep-big-lib": "2.0", "vep-small-lib": "1.5"}
    assert lab.manifest(built)["alternatives"] == ["vep-app==1.0"]
    assert [note.partition(":")[0] for note in built.notes] == ["passed over a newer one", "from wheels"]


def test_a_part_leaves_out_what_others_install(lab: Lab, make_wheel: MakeWheel) -> None:
    wheels = make_wheel("vep-app", needs=("vep-lib",)), make_wheel("vep-lib")
    build, places = lab.wheels(environment(lab), *wheels)
    asked = build.install(Alternative(("vep-app",), indexes=places), parts=(("vep-lib",),))
    first = replace(asked, steps=asked.steps[:-1])
    assert lab.build(image_of(first)).packages == {"vep-lib": "1.0"}


def test_what_a_lock_has_is_installed_and_nothing_is_resolved(lab: Lab, make_wheel: MakeWheel) -> None:
    old = make_wheel("vep-lib", "1.0")
    wheels = make_wheel("vep-app", needs=("vep-lib", "vep-lost")), old, make_wheel("vep-lib", "2.0")
    build, places = lab.wheels(environment(lab), *wheels)
    ways = Alternative(("vep-app==9",), indexes=places, note="not this"), Alternative(("vep-app",), (), places, "this")
    asked = build.install(*ways, parts=(("vep-lib",), ("vep-nothing",)))
    built = lab.build(image_of(locked(asked, **{"vep-app-1.0": sha256(wheels[0]), "vep-lib-1.0": sha256(old)})))
    assert built.packages == {"vep-app": "1.0", "vep-lib": "1.0"}
    assert lab.manifest(built)["alternatives"] == ["vep-app"]
    assert built.notes == ("this",)


def test_a_locked_version_is_not_taken_for_a_local_build_of_it(lab: Lab, make_wheel: MakeWheel) -> None:
    plain = make_wheel("vep-torchy", "2.0")
    build, places = lab.wheels(environment(lab), plain, make_wheel("vep-torchy", "2.0+cpu"))
    asked = build.install(Alternative(("vep-torchy==2.0",), indexes=places))
    assert lab.build(image_of(locked(asked, **{"vep-torchy-2.0": sha256(plain)}))).packages == {"vep-torchy": "2.0"}


def test_a_file_with_another_hash_than_the_lock_has_is_not_installed(lab: Lab, make_wheel: MakeWheel) -> None:
    build, places = lab.wheels(environment(lab), make_wheel("vep-app"))
    asked = build.install(Alternative(("vep-app",), indexes=places))
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(locked(asked, **{"vep-app-1.0": "0" * 64})))
    assert "0" * 64 in caught.value.what
