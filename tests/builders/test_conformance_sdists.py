"""What every builder does with locked source distributions: they are built with what the lock has, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders.builder_labs import Lab
from tests.builders.sdists import backend, hash_of, make_sdist
from tests.builders.test_conformance_locked import PYTHON, environment, image_of
from vep_dagger.dsl import Alternative, Build, LockedPackage
from vep_dagger.dsl.step import Install
from vep_dagger.errors import BuildError

MakeWheel = Callable[..., Path]


def locked(build: Build, *packages: LockedPackage) -> Build:
    steps = tuple(replace(step, locked=packages) if isinstance(step, Install) else step for step in build.steps)
    return replace(build, steps=steps)


def tool(file: Path, sha256: str | None = None) -> LockedPackage:
    name, version, *_ = file.name.split("-")
    return LockedPackage(name.replace("_", "-"), version, (sha256 or hash_of(file),))


def source(file: Path, *tools: LockedPackage) -> LockedPackage:
    name, _, version = file.name.removesuffix(".tar.gz").rpartition("-")
    return LockedPackage(name.replace("_", "-"), version, (hash_of(file),), tools)


def test_each_is_built_with_its_locked_tools_whatever_else_there_is(
    lab: Lab, make_wheel: MakeWheel, links: Path
) -> None:
    old, new, newest = (make_wheel("vep-backend", each, files=backend(each)) for each in ("1.0", "2.0", "3.0"))
    one, two, ready = make_sdist(links, "vep-one"), make_sdist(links, "vep-two"), make_wheel("vep-ready")
    build, places = lab.wheels(environment(lab), old, new, newest, one, two, ready)
    asked = build.install(Alternative(("vep-one", "vep-two", "vep-ready"), indexes=places))
    seen = "import vep_one, vep_two, vep_ready; print(vep_one.BUILT_BY, vep_two.BUILT_BY, file=open('PLACE/by', 'w'))"
    code = seen.replace("PLACE", lab.place)

    def built(chain: Build) -> str:
        made = lab.build(image_of(chain.run(PYTHON, "-c", code)))
        return lab.run(made, *lab.script(f"print(open('{lab.place}/by').read())")).strip()

    untold = [replace(source(each), build=None) for each in (one, two)]
    assert built(locked(asked, *untold, tool(ready))) == "3.0 3.0"
    # Now uv's cache has both, by their hashes, built with the newest.
    assert built(locked(asked, source(one, tool(old)), source(two, tool(new)), tool(ready))) == "1.0 2.0"


def test_a_tool_with_another_hash_than_the_lock_has_builds_nothing(
    lab: Lab, make_wheel: MakeWheel, links: Path
) -> None:
    changed, one = make_wheel("vep-backend", files=backend("1.0")), make_sdist(links, "vep-one")
    build, places = lab.wheels(environment(lab), changed, one)
    asked = build.install(Alternative(("vep-one",), indexes=places))
    with pytest.raises(BuildError, match=r"Hash mismatch for `vep-backend==1\.0`") as caught:
        lab.build(image_of(locked(asked, source(one, tool(changed, f"sha256:{'0' * 64}")))))
    assert hash_of(changed) in caught.value.what


def test_a_tool_that_the_lock_does_not_have_is_refused_whoever_asks_for_it(
    lab: Lab, make_wheel: MakeWheel, links: Path
) -> None:
    tools = make_wheel("vep-backend", files=backend("1.0")), make_wheel("vep-extra")
    later, first = make_sdist(links, "vep-later", asks=("vep-extra",)), make_sdist(links, "vep-first")
    build, places = lab.wheels(environment(lab), *tools, later, first)
    cases = {
        "vep-later": ("vep-extra", source(later, tool(tools[0]))),
        "vep-first": ("vep-backend", source(first)),
    }
    for name, (lacking, package) in cases.items():
        asked = build.install(Alternative((name,), indexes=places))
        with pytest.raises(BuildError, match=f"no trusted hash was provided for: `{lacking}`") as caught:
            lab.build(image_of(locked(asked, package)))
        assert f"asks for `{lacking}` to be built, which the lock does not have" in (caught.value.hint or "")
