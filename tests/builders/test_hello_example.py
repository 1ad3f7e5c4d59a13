"""``examples/hello`` on real engines: what its text promises, and the same content whichever engine built it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders.builder_labs import KINDS, RootLab
from vep_dagger.builders.base import BuiltImage
from vep_dagger.dsl import Image
from vep_dagger.plan import load_plan

MATRIX = Path(__file__).parents[2] / "examples" / "hello" / "matrix.toml"

CONTENT = """
import hashlib, json, os, stat
found = {}
for top in ("/opt", "/etc/ld.so.conf.d"):
    for directory, names, files in os.walk(top):
        for path in [directory, *(os.path.join(directory, name) for name in [*names, *files])]:
            state = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(state.st_mode) else None
            if stat.S_ISREG(state.st_mode):
                text = open(path, "rb").read().replace(b'"builder": "dagger"', b'"builder": "docker"')
                what = hashlib.sha256(text).hexdigest()
            # A link has no mode of its own.
            mode = None if stat.S_ISLNK(state.st_mode) else oct(state.st_mode)
            found[path] = [mode, f"{state.st_uid}:{state.st_gid}", what]
ours = ("HOME", "HOSTNAME", "PWD", "SHLVL", "OLDPWD", "_", "TERM", "TRACEPARENT", "BAGGAGE")
env = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("OTEL_")}
print(json.dumps({"files": found, "env": env}))
"""


def images() -> tuple[Image, ...]:
    return load_plan(MATRIX).images


def built_by(name: str, request: pytest.FixtureRequest, directory: Path) -> tuple[RootLab, list[BuiltImage]]:
    directory.mkdir()
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "VEP_CACHE_DIR": str(directory / "cache")}
    lab: RootLab = KINDS[name].make(request, directory, environ)
    return lab, [lab.build(image) for image in images()]


def test_its_program_says_what_each_cell_pins_and_a_second_build_finds_everything(
    root_lab: RootLab,
) -> None:
    said = [root_lab.run(root_lab.build(image), "hello") for image in images()]
    assert said == ["Hello, HELLO!", "Hello, HELLO!!!"]
    again = [root_lab.build(image) for image in images()]
    assert [built.cached for built in again] == [True, True]
    assert {layer.state for built in again for layer in built.layers} == {"cached"}
    assert root_lab.run(again[0], "sh", "-c", "hi; echo $GREETING") == "Hello, HELLO!\nHello"
    checks = root_lab.manifest(again[0])["checks"]
    assert [check["output"] for check in checks] == ["Hello, HELLO!", "2"]


def test_five_layers_are_planned_for_two_images() -> None:
    plan = load_plan(MATRIX)
    assert [layer.name for layer in plan.layers] == ["greet", "shout", "hello", "shout", "hello"]
    assert [job.kind for job in plan.jobs] == ["build", "build"]


@pytest.mark.engine
def test_docker_and_dagger_give_the_same_content_and_variables(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    contents = []
    for name in ("docker", "dagger"):
        lab, built = built_by(name, request, tmp_path / name)
        contents.append([json.loads(lab.run(each, *lab.script(CONTENT))) for each in built])
    for by_docker, by_dagger in zip(*contents, strict=True):
        assert by_docker["files"] == by_dagger["files"]
        assert by_docker["env"] == by_dagger["env"]
        assert "/opt/hello/bin/hi" in by_docker["files"]
