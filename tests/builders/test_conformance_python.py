"""What every builder does with Python environments, which uv makes: with what was asked for, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.builder_labs import Lab
from vep_dagger.dsl import PLAIN, Alternative, Build, Image
from vep_dagger.errors import BuildError, MachineError

PYTHON = "/venv/bin/python"
MakeWheel = Callable[..., Path]


def image_of(build: Build, tag: str = "probe1") -> Image:
    return Image(recipe="probe", tag=tag, release="1", base=PLAIN, build=build, device="cpu")


def environment(lab: Lab) -> Build:
    return lab.begin if lab.place == "/venv" else lab.begin.python(">=3.11")


def install(lab: Lab, *wheels: Path, **options: object) -> Callable[..., Build]:
    """The chain of an environment, then an installation from these wheels: of requirements or alternatives."""
    build, places = lab.wheels(environment(lab), *wheels)

    def of(*what: str | Alternative) -> Build:
        ways = [each if isinstance(each, Alternative) else Alternative((each,)) for each in what]
        found = [Alternative(way.requirements, way.overrides, (*way.indexes, *places), way.note) for way in ways]
        return build.install(*found, **options)  # type: ignore[arg-type]

    return of


def test_packages_are_installed_with_what_they_need_and_without_what_is_excluded(
    lab: Lab, make_wheel: MakeWheel
) -> None:
    wheels = make_wheel("vep-app", needs=("vep-lib>=1", "vep-unwanted")), make_wheel("vep-lib", "1.2")
    build = install(lab, *wheels, make_wheel("vep-unwanted"), excluded=("vep-unwanted",))("vep-app==1.0")
    built = lab.build(image_of(build))
    assert built.packages == {"vep-app": "1.0", "vep-lib": "1.2"}
    assert lab.run(built, PYTHON, "-c", "import vep_lib; print(vep_lib.VERSION)") == "1.2"
    manifest = lab.manifest(built)
    assert manifest["packages"] == built.packages
    assert manifest["alternatives"] == ["vep-app==1.0"]
    again = lab.build(image_of(build))
    assert again.cached
    assert again.packages == built.packages


def test_the_first_alternative_that_resolves_is_taken_and_both_choices_are_said(
    lab: Lab, make_wheel: MakeWheel
) -> None:
    wheels = make_wheel("vep-torchy", "2.0"), make_wheel("vep-app", needs=("vep-torchy==2.0+cpu",))
    build = install(lab, *wheels)(
        Alternative(("vep-app", "vep-torchy==2.0+cpu"), note="the CPU build"),
        Alternative(("vep-app", "vep-torchy==2.0"), overrides=("vep-torchy==2.0",), note="the ordinary build"),
    )
    built = lab.build(image_of(build))
    assert built.packages["vep-torchy"] == "2.0"
    assert [note.partition(":")[0] for note in built.notes] == ["passed over the CPU build", "the ordinary build"]
    assert all(any(note in line for line in lab.said) for note in built.notes)
    assert lab.build(image_of(build)).notes == built.notes


def test_the_preferred_alternative_is_taken_where_a_further_place_has_it(
    lab: Lab, make_wheel: MakeWheel, tmp_path: Path
) -> None:
    further = tmp_path / "further"
    further.mkdir()
    wheels = (
        make_wheel("vep-torchy", "2.0"),
        make_wheel("vep-torchy", "2.0+cpu", to=further),
        make_wheel("vep-app", needs=("vep-torchy==2.0+cpu",)),
    )
    build = install(lab, *wheels, before="2020-01-01T00:00:00Z")(
        Alternative(("vep-app",), note="the CPU build"),
        Alternative(("vep-app",), overrides=("vep-torchy==2.0",), note="the ordinary build"),
    )
    built = lab.build(image_of(build))
    assert built.packages["vep-torchy"] == "2.0+cpu"
    assert built.notes == ("the CPU build",)


def test_a_further_place_that_does_not_answer_is_passed_over_with_its_reason(lab: Lab, make_wheel: MakeWheel) -> None:
    del lab.environ["UV_OFFLINE"]
    wheel = make_wheel("vep-app")
    _, (place,) = lab.wheels(Build(), wheel)
    lab.environ |= {"UV_DEFAULT_INDEX": f"file://{place}", "UV_HTTP_RETRIES": "0"}
    # Port 9 of this machine: nobody listens there, and the kernel says so at once.
    build = install(lab, wheel)(
        Alternative(("vep-app==2.0",), indexes=("http://127.0.0.1:9/simple/",), note="the better one"),
        Alternative(("vep-app==1.0",), note="the plain one"),
    )
    begin = time.monotonic()
    built = lab.build(image_of(build))
    assert time.monotonic() - begin < 60
    assert built.packages == {"vep-app": "1.0"}
    assert "Connection refused" in built.notes[0]


def test_a_mistake_in_an_alternative_is_not_hidden_by_the_next(lab: Lab, make_wheel: MakeWheel) -> None:
    build = install(lab, make_wheel("vep-app"))("vep-app ==== nonsense", "vep-app")
    with pytest.raises(BuildError, match="nonsense"):
        lab.build(image_of(build))


def test_a_package_that_is_nowhere_fails_the_build_with_what_the_installer_said(lab: Lab) -> None:
    with pytest.raises(BuildError, match="vep-nowhere"):
        lab.build(image_of(environment(lab).install("vep-nowhere==1.0")))


def test_an_index_that_cannot_be_reached_is_the_machines_fault_and_says_what_to_do(lab: Lab) -> None:
    del lab.environ["UV_OFFLINE"]
    lab.environ |= {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple/", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(MachineError) as caught:
        lab.build(image_of(environment(lab).install("vep-nowhere==1.0")))
    assert "the package index cannot be reached" in caught.value.what
    assert "127.0.0.1:9" in caught.value.what
    assert caught.value.hint is not None
    assert "UV_DEFAULT_INDEX" in caught.value.hint


def test_programs_of_packages_and_of_steps_run_in_the_place_where_they_are(lab: Lab, make_wheel: MakeWheel) -> None:
    info = "vep_tool-1.0.dist-info"
    wheel = make_wheel(
        "vep-tool",
        files={
            "vep_tool/main.py": "import sys\ndef main():\n    print('tool of', sys.prefix)\n",
            f"{info}/entry_points.txt": "[console_scripts]\nvep-tool = vep_tool.main:main\n",
        },
    )
    script = "#!/venv/bin/python\nprint(1 + 1)\n"
    foreign = f"import os; p = '/venv/bin/foreign'; open(p, 'w').write({script!r}); os.chmod(p, 0o755)"
    built = lab.build(image_of(install(lab, wheel)("vep-tool").run(PYTHON, "-c", foreign)))
    assert lab.run(built, "/venv/bin/vep-tool") == f"tool of {built.translate('/venv')}"
    assert lab.run(built, "/venv/bin/foreign") == "2"


def test_a_python_that_is_not_there_is_said(lab: Lab) -> None:
    # Either is right: an image that lacks it is the recipe's fault, a machine that lacks it its own.
    with pytest.raises((BuildError, MachineError), match=r"3\.2"):
        lab.build(image_of(Build().python("==3.2.*")))
