from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from vep_dagger.builders.base import Builder, translate
from vep_dagger.builders.fake import FakeBuild, FakeBuilder
from vep_dagger.dsl import PLAIN, Build, Image
from vep_dagger.errors import BuildError, MachineError


def image(tag: str) -> Image:
    return Image("probe", tag, "1", PLAIN, Build().python(">=3.11").export(TAG=tag))


def test_what_the_script_says_of_an_image_happens(tmp_path: Path) -> None:
    error = MachineError("the disk is full")
    fake = FakeBuilder({"bad": FakeBuild(error=error, lines=("one", "two")), "no": FakeBuild(refused="not Python")})
    builder: Builder = fake
    log = tmp_path / "logs" / "build.log"
    said: list[str] = []
    built = anyio.run(builder.build, image("good"), log, said.append)
    assert (built.cached, built.env, [layer.state for layer in built.layers]) == (False, {"TAG": "good"}, ["built"] * 2)
    assert anyio.run(builder.build, image("good"), log, said.append).cached
    with pytest.raises(MachineError) as caught:
        anyio.run(builder.build, image("bad"), log, said.append)
    assert caught.value is error
    assert log.read_text() == "one\ntwo\n"
    with pytest.raises(BuildError, match="not Python"):
        builder.refuse(image("no"))
    assert (fake.asked, fake.built) == (["good", "good", "bad"], ["good", "good"])
    assert said


def test_a_delay_can_be_cancelled(tmp_path: Path) -> None:
    fake = FakeBuilder({"slow": FakeBuild(delay_s=60)})

    async def build() -> None:
        with anyio.move_on_after(0.05):
            await fake.build(image("slow"), tmp_path / "log", print)

    anyio.run(build)
    assert (fake.asked, fake.built) == (["slow"], [])


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("/venv/bin/vllm", "/there/bin/vllm"),
        ("PATH=/venv/bin:/usr/bin:/venv", "PATH=/there/bin:/usr/bin:/there"),
        ("/data/venv/x", "/data/venv/x"),
        ("/venv2 /venv-old /venv.bak", "/venv2 /venv-old /venv.bak"),
        ("/cache/pip", "/mnt/cache/pip"),
        ("/cachet", "/cachet"),
    ],
)
def test_only_whole_paths_are_translated_and_only_once(text: str, there: str) -> None:
    paths = {"/venv": "/there", "/cache": "/mnt/cache"}
    assert translate(text, paths) == there
    assert translate(translate(text, paths), paths) == there
