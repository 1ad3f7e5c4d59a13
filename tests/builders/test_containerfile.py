"""The Containerfile as people read it, and what must not leak into the image."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from vep_dagger.builders.docker.containerfile import Containerfile, kept_layer
from vep_dagger.builders.docker.render import render, source_place
from vep_dagger.builders.docker.shell_text import lines_of
from vep_dagger.builders.lowering import command, lower
from vep_dagger.builders.stages import Exec, images_of
from vep_dagger.cli import vep
from vep_dagger.dsl import JOBS, Build, Image, Layer, git, http
from vep_dagger.dsl import image as image_source
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import UsageError
from vep_dagger.plan import load_plan

ROOT = Path(__file__).parent.parent.parent
BASE = image_source("docker.io/library/debian:12", "sha256:" + "b" * 64)
SOURCE = git("https://example.org/kit.git", "c" * 40, ref="v1")


def layer(name: str, build: Build, *needs: Layer, prefix: str | None = None, base: Layer | None = None) -> Layer:
    return Layer(name, prefix or f"/opt/{name}", base or BASE, needs, build)


def image(*layers: Layer, build: Build | None = None, base: Layer | None = None) -> Image:
    return Image("probe", "probe1", "1", base or BASE, build or Build(), layers)


def file_of(image: Image) -> Containerfile:
    lowered = lower(image, "")
    refs = {source: f"{source.ref}@{source.digest}" for source in images_of(lowered)}
    return render(lowered, refs, {"dev.vep.recipe": image.recipe}, (Exec("true > /run/vep-checks/00.txt"),))


def stage_text(image: Image, name: str) -> str:
    stage = file_of(image).stage(name)
    assert stage is not None
    return stage.render()


def read_back(lines: list[str]) -> str:
    """What the frontend makes of continued lines (``parser.go`` of BuildKit: the mark goes, the lines are joined)."""
    assert all("\n" not in line and not line.lstrip().startswith("#") and line.strip() for line in lines)
    return "".join(line.removesuffix("\\") for line in lines)


def run(text: str) -> bytes:
    return subprocess.run(["/bin/sh", "-ec", 'VEP_JOBS=7; eval "$0"', text], capture_output=True, check=True).stdout


def test_a_small_image_reads_as_a_person_would_write_it() -> None:
    kit = layer(
        "kit",
        Build().mount(SOURCE, "/src").workdir("/src").cache("ccache", "/root/.ccache").env(CC="gcc -O2")
        .run("make", f"-j{JOBS}", "install", "PREFIX=/opt/kit").export(KIT_HOME="/opt/kit").library("/opt/kit/lib"),
    )  # fmt: skip
    made = image(kit, build=Build().write("/etc/motd", "hello\n"))
    assert file_of(made).text == Path(__file__).with_name("golden.Containerfile").read_text()


def test_the_gpu_stack_has_a_stage_a_layer_with_its_name_key_and_sources() -> None:
    made = load_plan(ROOT / "matrix.toml").images[0]
    lowered = lower(made, "")
    text = file_of(made).text
    for stage in lowered.layers:
        assert re.search(rf"^# {stage.name} {stage.key[:12]}", text, re.MULTILINE)
        assert re.search(rf"^FROM \S+ AS {stage.name}$", text, re.MULTILINE)
    assert "# source https://github.com/NVIDIA/nccl.git 593de54e52679b51428571c13271e2ea9f91b1b1 (v2.27.7-1)" in text
    assert "COPY --from=nccl /opt/nccl /opt/nccl" in text


def test_the_file_needs_nothing_that_the_frontend_of_docker_20_10_has_not() -> None:
    text = file_of(load_plan(ROOT / "matrix.toml").images[0]).text
    assert not re.search(r"^# *(syntax|escape|check) *=", text, re.MULTILINE)
    assert not re.search(r"^ADD |^(COPY|RUN) .*(<<|--link|--checksum|--parents|--exclude)", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("version", "knows"), [("20.10.24+dfsg1", False), ("23.0.1", True), ("28.2.2", True), ("", False)]
)
def test_prefixes_are_linked_where_the_frontend_of_the_daemon_can(version: str, knows: bool) -> None:
    link = Docker("docker", version, {}).knows_link
    assert link is knows
    lowered = lower(image(layer("kit", Build().run("true"))), "")
    refs = {source: f"{source.ref}@{source.digest}" for source in images_of(lowered)}
    text = render(lowered, refs, {}, link=link).text
    assert ("COPY --link --from=kit /opt/kit /opt/kit" in text) is knows
    assert ("COPY --from=kit /opt/kit /opt/kit" in text) is not knows


def test_variables_that_are_not_exported_stand_before_their_command_alone() -> None:
    chain = Build().env(INNER="a b").run("make").env(INNER="c").run("make", "install").export(OUTER='say "$x"')
    text = stage_text(image(build=chain), "environment")
    assert "INNER='a b' make\n" in text
    assert "INNER=c make install\n" in text
    assert "ENV INNER" not in text
    assert r'ENV OUTER="say \"\$x\""' in stage_text(image(build=chain), "image")


def test_a_directory_is_never_left_as_the_images_own() -> None:
    chain = Build().workdir("/srv").run("make")
    assert "WORKDIR" not in stage_text(image(build=chain), "environment")
    assert "cd /srv; make" in stage_text(image(build=chain), "environment")
    assert "WORKDIR /srv\n" in stage_text(image(layer("kit", chain)), "kit")


def test_the_shell_of_the_build_is_not_that_of_the_image() -> None:
    assert stage_text(image(), "image").rstrip().endswith('SHELL ["/bin/sh", "-c"]')
    assert 'SHELL ["/bin/sh", "-ec", ' in stage_text(image(), "environment")


def test_what_is_mounted_is_removed_only_where_it_would_stay() -> None:
    chain = Build().mount(SOURCE, "/src").run("make", "-C", "/src")
    assert "RUN rm -rf /src" in stage_text(image(build=chain), "environment")
    assert "rm -rf" not in stage_text(image(layer("kit", chain)), "kit")
    inside = Build().mount(SOURCE, "/opt/kit/src").run("make")
    assert "RUN rm -rf /opt/kit/src" in stage_text(image(layer("kit", inside)), "kit")


def test_a_secret_is_a_file_that_the_command_alone_reads() -> None:
    text = stage_text(image(build=Build().secret("TOKEN").run("fetch")), "environment")
    assert "--mount=type=secret,id=TOKEN,target=/run/vep/secrets/TOKEN,required=true" in text
    assert 'TOKEN="$(cat /run/vep/secrets/TOKEN)" fetch' in text


def test_a_file_keeps_its_mode_and_a_source_its_name() -> None:
    archive = http("https://example.org/kit-1.0.tar.gz", "d" * 64, unpack=True)
    chain = Build().write("/etc/key", "x", 0o600).copy(SOURCE, "/srv/kit").copy(archive, "/srv/archive")
    file = file_of(image(build=chain))
    text = stage_text(image(build=chain), "environment")
    assert "COPY --chmod=0600 files/environment/1-key /etc/key\n" in text
    assert f"COPY {source_place(SOURCE)}/ /srv/kit/\n" in text
    assert set(file.sources) == {source_place(SOURCE), source_place(archive)}
    assert file.files["files/environment/1-key"].text == "x"


def test_a_layer_that_is_kept_is_taken_from_its_image() -> None:
    kit = layer("kit", Build().run("make"))
    lowered = lower(image(kit), "")
    file = render(
        lowered, dict.fromkeys(images_of(lowered), "base"), {}, taken={"kit": "registry.example/kept:layer-1"}
    )
    assert "FROM registry.example/kept:layer-1 AS kit\n" in file.text
    assert "make" not in file.text
    assert "COPY --from=kit /opt/kit /opt/kit" in file.text


def test_what_is_put_aside_of_a_layer_is_its_prefix_alone() -> None:
    text = kept_layer(file_of(image(layer("kit", Build().run("make")))), "kit", "/opt/kit")
    assert text.endswith("FROM scratch AS kept\nCOPY --from=kept-prefix /run/vep-kept/ /\n")


def test_names_of_layers_become_names_that_stages_can_have() -> None:
    made = image(
        layer("Kit", Build().run("true")), layer("checks", Build().run("true")), layer("1st", Build().run("a"))
    )
    names = [stage.name for stage in file_of(made).stages]
    assert names == ["kit", "checks-layer", "layer-1st", "environment", "image", "checks", "results", "final"]


def test_the_stages_up_to_a_step_end_before_it() -> None:
    made = image(layer("kit", Build().run("one").run("two").run("three")), layer("later", Build().run("four")))
    file = file_of(made)
    stage = file.stage("kit")
    assert stage is not None
    second = stage.step(3)
    assert second is not None
    assert "two" in second.text
    text = file.until("kit", 3)
    assert text.rstrip().endswith("one")
    assert "two" not in text
    assert "later" not in text


@pytest.mark.parametrize(
    "word",
    [
        "a\nb",
        "a\nb\n",
        "\n",
        "\n\n",
        "",
        "it's",
        "it's\n'$x' \"y\"\n",
        "#no comment\n# nor this",
        "\\",
        "a\\\n\\b",
        f"-j{JOBS}\nx",
    ],
)
def test_the_shell_sees_the_words_that_were_meant(word: str) -> None:
    text = command(["printf", "<%s>", word, "end"], {"MAX_JOBS": JOBS})
    assert run(read_back(lines_of(text))) == run(text)


def test_long_commands_are_broken_over_lines_of_which_none_is_too_long_for_the_frontend() -> None:
    text = shlex.join(["printf", "%s", *(f"--option-{number}=value" for number in range(50)), "{" * 50_000])
    lines = lines_of(text)
    assert max(map(len, lines)) < 65_000
    assert sorted(map(len, lines))[len(lines) // 2] <= 112
    assert run(read_back(lines)) == run(text)


def test_commands_of_several_lines_are_kept_as_a_whole() -> None:
    text = "one=1\nif [ $one = 1 ]; then\n  echo 'yes'\nfi"
    assert run(read_back(lines_of(text))) == b"yes\n"


def test_vep_containerfile_prints_the_file_of_one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEP_PLAIN_BASE", f"registry.example/base@sha256:{'a' * 64}")
    done = CliRunner().invoke(vep, ["containerfile", "vllm0.10.1.1-pplx-dg1", "--matrix", str(ROOT / "matrix.toml")])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("# vllm-ep: vllm0.10.1.1")
    assert "FROM cuda AS nccl\n" in done.stdout


def test_cells_of_several_images_are_no_cell() -> None:
    with pytest.raises(UsageError, match="2 images"):
        CliRunner().invoke(
            vep, ["containerfile", "pplx", "--matrix", str(ROOT / "matrix.toml")], catch_exceptions=False
        )


def test_a_directory_that_is_in_use_is_not_taken_for_a_context(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    matrix = str(ROOT / "examples" / "cpu" / "matrix.toml")
    cell = load_plan(Path(matrix)).cells[0].cell.slug
    with pytest.raises(UsageError, match="is there already"):
        CliRunner().invoke(
            vep, ["containerfile", cell, "--matrix", matrix, "--context", str(tmp_path)], catch_exceptions=False
        )
    assert (tmp_path / "mine").read_text() == "x"


def test_the_plain_base_is_known_by_its_digest_where_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEP_PLAIN_BASE", f"registry.example/base:1@sha256:{'a' * 64}")
    matrix = str(ROOT / "examples" / "cpu" / "matrix.toml")
    cell = load_plan(Path(matrix)).cells[0].cell.slug
    done = CliRunner().invoke(vep, ["containerfile", cell, "--matrix", matrix])
    assert f"FROM registry.example/base:1@sha256:{'a' * 64} AS environment" in done.stdout
