"""Each input that a key is made of, changed alone, is named, and nothing else is."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from vep_dagger.console.explain_table import CHANGES, print_explanation
from vep_dagger.dsl import PLAIN, Alternative, Build, Image, Layer, LockedPackage, git, http, image
from vep_dagger.dsl.step import Install, Part
from vep_dagger.explain import Side, explain

ONE, TWO = "1" * 40, "2" * 40
HASH = "a" * 64
URL = "https://example.org/x"
EMPTY = Build()
LOW = Layer("low", "/low", PLAIN, (), EMPTY.run("low"))
OTHER = Layer("other", "/other", PLAIN, (), EMPTY.run("other"))
ROOTS = [Layer(name, "/", image("base:1", "sha256:" + HASH), (), EMPTY.run(name)) for name in ("devel", "runtime")]
TOP = Layer("top", "/top", PLAIN, (LOW,), EMPTY.run("make"))


def install(*packages: tuple[str, str, str]) -> Build:
    locked = tuple(LockedPackage(name, version, (f"sha256:{files}",)) for name, version, files in packages)
    return EMPTY._then(Install("/venv", (Alternative(("p",)),), locked=locked))


def built_with(version: str) -> Build:
    tool = LockedPackage("t", version, ("sha256:x",))
    return EMPTY._then(Install("/venv", (Alternative(("p",)),), locked=(LockedPackage("p", "1", (), (tool,)),)))


def asked(*requirements: str, overrides: tuple[str, ...] = (), part: Part | None = None, before: str = "x") -> Build:
    return EMPTY._then(Install("/venv", (Alternative(requirements, overrides),), before=before, part=part))


def either(*ways: Alternative) -> Build:
    return EMPTY._then(Install("/venv", ways))


BUILDS = {
    "an argument": (EMPTY.run("make", "-j2", "A=1"), EMPTY.run("make", "-j2", "A=2"), ["argument"]),
    "two arguments": (EMPTY.run("make", "a", "b"), EMPTY.run("make", "c", "b", "d"), ["argument", "argument"]),
    "words of an argument": (EMPTY.run("make", "a b"), EMPTY.run("make", "a", "b"), ["argument"]),
    "a command": (EMPTY.run("make"), EMPTY.run("cmake"), ["step", "step"]),
    "a step more": (EMPTY.run("make"), EMPTY.run("make").run("install"), ["step"]),
    "a commit": (EMPTY.mount(git(URL, ONE), "/s"), EMPTY.mount(git(URL, TWO), "/s"), [f"commit of {URL}"]),
    "a tag without commit": (
        EMPTY.mount(git(URL, None, ref="v1"), "/s"), EMPTY.mount(git(URL, None, ref="v2"), "/s"), [f"commit of {URL}"],
    ),
    "submodules": (
        EMPTY.mount(git(URL, ONE), "/s"), EMPTY.mount(git(URL, ONE, submodules=False), "/s"), [f"submodules of {URL}"],
    ),
    "a hash": (EMPTY.copy(http(URL, HASH), "/s"), EMPTY.copy(http(URL, "b" * 64), "/s"), [f"sha256 of {URL}"]),
    "unpacking": (
        EMPTY.copy(http(URL, HASH), "/s"), EMPTY.copy(http(URL, HASH, unpack=True), "/s"), [f"unpacking of {URL}"],
    ),
    "a kind of source": (EMPTY.copy(http(URL, HASH), "/s"), EMPTY.copy(git(URL, ONE), "/s"), ["source"]),
    "a path": (EMPTY.copy(http(URL, HASH), "/s"), EMPTY.copy(http(URL, HASH), "/t"), ["step", "step"]),
    "a text": (EMPTY.write("/f", "1"), EMPTY.write("/f", "2"), ["text"]),
    "a mode": (EMPTY.write("/f", "1"), EMPTY.write("/f", "1", 0o755), ["mode"]),
    "a variable": (EMPTY.env(A="1", B="1"), EMPTY.env(A="2", B="1"), ["variable A"]),
    "an export": (EMPTY.env(A="1"), EMPTY.export(A="1"), ["exported"]),
    "a directory": (EMPTY.workdir("/a"), EMPTY.workdir("/b"), ["path"]),
    "an interpreter": (EMPTY.python("3.11"), EMPTY.python("3.12"), ["version"]),
    "a package": (install(("p", "1", "x"), ("q", "1", "x")), install(("p", "2", "x"), ("q", "1", "x")), ["package p"]),
    "a package more": (install(("p", "1", "x")), install(("p", "1", "x"), ("q", "1", "x")), ["package q"]),
    "a package's files": (install(("p", "1", "x")), install(("p", "1", "y")), ["files of package p"]),
    "a package's build": (built_with("1"), built_with("2"), ["build of package p"]),
    "packages in another order": (
        install(("p", "1", "x"), ("q", "1", "x")), install(("q", "1", "x"), ("p", "1", "x")), ["form"],
    ),
    "a lock": (asked("p"), install(("p", "1", "x")), ["packages"]),
    "a requirement": (asked("p==1"), asked("p==2"), ["requirement"]),
    "an override": (asked("p"), asked("p", overrides=("q",)), ["override"]),
    "a requirement of all alternatives": (
        either(Alternative(("p==1", "t+cpu")), Alternative(("p==1",), ("t",))),
        either(Alternative(("p==2", "t+cpu")), Alternative(("p==2",), ("t",))),
        ["requirement"],
    ),
    "a requirement of one alternative": (
        either(Alternative(("p==1",)), Alternative(("p==1", "q"))),
        either(Alternative(("p==1",)), Alternative(("p==1", "r"))),
        ["requirement"],
    ),
    "an alternative more": (
        either(Alternative(("p",))), either(Alternative(("p",)), Alternative(("q",), ("t",))), ["alternative"],
    ),
    "the order of alternatives": (
        either(Alternative(("p",)), Alternative(("q",))), either(Alternative(("q",)), Alternative(("p",))),
        ["requirement", "requirement"],
    ),
    "a date": (asked("p"), asked("p", before="y"), ["before"]),
    "a part": (asked("p"), asked("p", part=Part(("p",))), ["part"]),
    "a directory of libraries": (EMPTY.library("/a"), EMPTY.library("/b"), ["libraries"]),
    "a directory of programs": (EMPTY, EMPTY.program("/b"), ["programs"]),
}  # fmt: skip

LAYERS = {
    "its prefix": (TOP, replace(TOP, prefix="/up"), ["prefix"]),
    "its platform": (TOP, replace(TOP, platform="linux/arm64"), ["platform"]),
    "what it needs": (TOP, replace(TOP, needs=(LOW, OTHER)), ["needs"]),
    "the order of its needs": (replace(TOP, needs=(OTHER, LOW)), replace(TOP, needs=(LOW, OTHER)), ["needs"]),
    "its base, an image": (
        replace(TOP, base=image("b:1", "sha256:" + HASH)),
        replace(TOP, base=image("b:1", "sha256:" + "b" * 64)),
        ["base: digest of b:1"],
    ),
    "its base, a layer": (replace(TOP, base=ROOTS[0]), replace(TOP, base=ROOTS[1]), ["base"]),
    "its base, an image or a layer": (TOP, replace(TOP, base=ROOTS[1]), ["base"]),
}

IMAGES = {
    "a layer": ((LOW,), (LOW, OTHER), EMPTY, EMPTY, ["layers"]),
    "the order of merging": ((OTHER, LOW), (LOW, OTHER), EMPTY, EMPTY, ["layers"]),
    "a check's expectation": ((), (), EMPTY.check("c", "t", expect="a"), EMPTY.check("c", "t"), ["expected"]),
    "a check's command": ((), (), EMPTY.check("c", "t"), EMPTY.check("c", "f"), ["command"]),
    "a check": ((), (), EMPTY.check("c", "t"), EMPTY, ["command"]),
}


def of(*layers: Layer, build: Build = EMPTY) -> Side:
    return Side("x", "x", "x", Image("r", "t", "1", PLAIN, build, layers))


@pytest.mark.parametrize(("a", "b", "expected"), BUILDS.values(), ids=BUILDS)
def test_what_differs_in_a_chain_of_steps_is_named(a: Build, b: Build, expected: list[str]) -> None:
    found = explain(of(replace(LOW, build=a)), of(replace(LOW, build=b)))
    assert [change.what for change in found.layers[0].changes] == expected
    assert found.rebuilt == ["low"]
    found = explain(of(build=a), of(build=b))
    assert found.environment
    assert [change.what for change in found.environment.changes] == expected


@pytest.mark.parametrize(("a", "b", "expected"), LAYERS.values(), ids=LAYERS)
def test_what_differs_around_the_steps_of_a_layer_is_named(a: Layer, b: Layer, expected: list[str]) -> None:
    found = explain(of(LOW, OTHER, a), of(LOW, OTHER, b))
    (top,) = (layer for layer in found.layers if layer.name == "top")
    assert (top.state, [change.what for change in top.changes]) == ("inputs", expected)


@pytest.mark.parametrize(("ours", "theirs", "a", "b", "expected"), IMAGES.values(), ids=IMAGES)
def test_what_differs_in_the_image_as_a_whole_is_named(
    ours: tuple[Layer, ...], theirs: tuple[Layer, ...], a: Build, b: Build, expected: list[str]
) -> None:
    found = explain(of(*ours, build=a), of(*theirs, build=b))
    assert found.image
    assert (found.image.state, [change.what for change in found.image.changes]) == ("inputs", expected)


def test_a_check_of_a_layer_builds_no_layer_anew() -> None:
    checked = replace(LOW, build=LOW.build.check("c", "t"))
    found = explain(of(LOW), of(checked))
    assert (found.rebuilt, found.shared) == ([], ["low"])
    assert found.image
    assert [change.where for change in found.image.changes] == ["check 'c'"]


def test_ways_to_build_are_no_input() -> None:
    found = explain(of(LOW), of(replace(LOW, build=LOW.build.cache("c", "/c").secret("TOKEN"))))
    assert found.image
    assert (found.image.state, found.rebuilt) == ("same", [])


def test_a_step_has_the_number_that_it_has_in_the_file() -> None:
    before = EMPTY.cache("c", "/c").run("make")
    found = explain(of(replace(LOW, build=before.run("a", "1"))), of(replace(LOW, build=before.run("a", "2"))))
    assert found.layers[0].changes[0].where == "step 3 run a 2"


def test_people_read_once_what_all_parts_of_an_installation_share() -> None:
    a, b = (EMPTY.install(f"p=={n}", before=f"{n}", parts=(("q",), ("r",))) for n in (1, 2))
    out = io.StringIO()
    print_explanation(explain(of(build=a), of(build=b)), Console(file=out, width=100))
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith(" ")] == [
        "  step 1 install p==2 (q) (and the same in step 2, 3)",
        "    requirement: p==1 → p==2",
        "    before: 1 → 2",
    ]


def test_people_are_told_how_much_they_are_not_shown() -> None:
    a, b = (EMPTY.env({f"V{number:02}": value for number in range(CHANGES + 3)}) for value in "ab")
    out = io.StringIO()
    print_explanation(explain(of(build=a), of(build=b)), Console(file=out, width=100))
    lines = out.getvalue().splitlines()
    assert sum(line.startswith("    variable V") for line in lines) == CHANGES
    assert "  … and 3 more; --json has all" in lines


def test_a_layer_that_is_only_called_otherwise_is_the_same() -> None:
    found = explain(of(LOW, TOP), of(replace(LOW, name="base"), replace(TOP, needs=(replace(LOW, name="base"),))))
    assert found.rebuilt == []
    assert found.layers[0].notes == ["called low in A"]


def test_a_change_far_below_is_the_reason_of_all_above_it() -> None:
    def stack(word: str) -> Side:
        low = replace(LOW, build=EMPTY.run(word))
        middle = replace(OTHER, needs=(low,))
        return of(replace(TOP, needs=(middle,)))

    found = explain(stack("a"), stack("b"))
    assert [(layer.name, layer.state, layer.because) for layer in found.layers[1:]] == [
        ("other", "needs", ["low"]),
        ("top", "needs", ["low"]),
    ]
