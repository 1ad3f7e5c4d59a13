"""What containers are made of, before any engine is asked."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.dsl.dsl_sample import DIGEST, sample_image
from vep_dagger.builders.lowering import LOADER, UV_CACHE, command, lower, python_command
from vep_dagger.builders.stages import ENVIRONMENT, IMAGE, SHELL, Exec, File, Stage, Taken, Tree
from vep_dagger.builders.uv_words import of_part
from vep_dagger.dsl import JOBS, PLAIN, Alternative, Build, Image, Layer, LockedPackage, git, image
from vep_dagger.dsl.step import Install, MakePython, Part
from vep_dagger.errors import BuildError

PLAIN_IS = f"registry/base:1@{DIGEST}"
GOLDEN = Path(__file__).with_name("golden_lowered.json")
CUDA = image("cuda:13", DIGEST)


def part(name: str, build: Build | None = None, *needs: Layer, base: Any = CUDA, prefix: str | None = None) -> Layer:
    return Layer(name, prefix or f"/opt/{name}", base, needs, build or Build().run("make", name))


def image_of(*layers: Layer, base: Any = CUDA, build: Build | None = None) -> Image:
    return Image("probe", "probe1", "1", base, build or Build(), layers)


def install_of(build: Build) -> Install:
    step = build.steps[-1]
    assert isinstance(step, Install)
    return step


def execs(stage: Stage) -> list[Exec]:
    return [each for each in stage.operations if isinstance(each, Exec)]


def names(made: Image) -> list[str]:
    return [stage.name for stage in lower(made, PLAIN_IS).stages]


class TestStages:
    def test_each_layer_is_one_stage_after_what_it_needs_and_the_image_comes_last(self) -> None:
        low = part("low")
        left, right = part("left", None, low), part("right", None, low)
        top = part("top", None, left, right)
        assert names(image_of(top)) == ["low", "left", "right", "top", ENVIRONMENT, IMAGE]

    def test_a_layer_takes_the_prefixes_of_all_that_it_stands_on_and_the_image_only_its_own_layers(self) -> None:
        low = part("low")
        middle = part("middle", None, low)
        lowered = lower(image_of(part("top", None, middle)), PLAIN_IS)
        assert lowered.stage("top").taken == (Taken("low", "/opt/low"), Taken("middle", "/opt/middle"))
        assert lowered.stage(IMAGE).taken == (Taken("top", "/opt/top"),)
        assert [stage.name for stage in lowered.layers] == ["low", "middle", "top"]

    def test_a_base_layer_is_a_stage_that_others_start_from(self) -> None:
        lower_base = part("system", Build().run("apt-get", "update"), prefix="/")
        base = part("devel", None, base=lower_base, prefix="/")
        lowered = lower(image_of(part("top", None, base=base), base=base), PLAIN_IS)
        assert [stage.name for stage in lowered.stages] == ["system", "devel", "top", ENVIRONMENT, IMAGE]
        assert [lowered.stage(name).base for name in ("system", "devel", "top", ENVIRONMENT, IMAGE)] == [
            CUDA, "system", "devel", "devel", ENVIRONMENT,
        ]  # fmt: skip
        assert {lowered.stage(name).prefix for name in ("system", "devel", ENVIRONMENT, IMAGE)} == {"/"}

    @pytest.mark.parametrize("name", [ENVIRONMENT, IMAGE])
    def test_a_layer_with_the_name_of_another_stage_is_refused(self, name: str) -> None:
        with pytest.raises(BuildError, match=f"cannot be called '{name}'"):
            lower(image_of(part(name)), PLAIN_IS)

    def test_two_layers_with_one_name_are_refused_unless_they_are_the_same(self) -> None:
        with pytest.raises(BuildError, match="two different layers of one image are called 'a'"):
            lower(image_of(part("a"), part("b", None, part("a", Build().run("other")))), PLAIN_IS)
        assert names(image_of(part("a"), part("b", None, part("a")))) == ["a", "b", ENVIRONMENT, IMAGE]

    def test_steps_become_operations_in_their_order(self) -> None:
        source = git("https://g/x", "0" * 40)
        build = Build().mount(source, "/src").run("make").write("/opt/a/x", "text", 0o600).copy(source, "/opt/a/src")
        (stage, *_) = lower(image_of(part("a", build)), PLAIN_IS).stages
        assert [type(each) for each in stage.operations] == [Tree, Exec, File, Tree]
        mounted, _, written, copied = stage.operations
        assert isinstance(mounted, Tree)
        assert isinstance(copied, Tree)
        assert (mounted.kept, copied.kept) == (False, True)
        assert isinstance(written, File)
        assert (written.path, written.text, written.mode) == ("/opt/a/x", "text", 0o600)
        assert [each.step for each in stage.operations] == list(build.steps)


class TestVariables:
    def test_each_command_has_those_that_were_set_before_it(self) -> None:
        build = Build().env(A="1").run("x").env(A="2", B="3").run("y")
        first, second = execs(lower(image_of(part("a", build)), PLAIN_IS).stages[0])
        assert first.env == (("A", "1"),)
        assert second.env == (("A", "2"), ("B", "3"))

    def test_what_a_layer_exports_reaches_those_that_need_it_whatever_is_between(self) -> None:
        low = part("low", Build().export(LOW="1").env(HIDDEN="x"))
        top = part("top", None, part("middle", Build().export(LOW="2", MIDDLE="1"), low))
        lowered = lower(image_of(top), PLAIN_IS)
        assert lowered.stage("middle").env == (("LOW", "1"),)
        assert lowered.stage("top").env == (("LOW", "2"), ("MIDDLE", "1"))
        assert execs(lowered.stage("top"))[0].env == (("LOW", "2"), ("MIDDLE", "1"))

    def test_a_bases_exports_reach_the_layers_the_chain_and_the_image(self) -> None:
        base = part("devel", Build().export(CUDA_HOME="/cuda"), prefix="/")
        chain = Build().run("x").export(MINE="1")
        lowered = lower(image_of(part("a", None, base=base), base=base, build=chain), PLAIN_IS)
        assert lowered.stage("a").env == (("CUDA_HOME", "/cuda"),)
        assert lowered.stage(ENVIRONMENT).env == (("CUDA_HOME", "/cuda"),)
        assert lowered.env == lowered.stage(IMAGE).env == (("CUDA_HOME", "/cuda"), ("MINE", "1"))

    def test_variables_of_a_build_alone_never_reach_the_image(self) -> None:
        lowered = lower(image_of(part("a", Build().env(A="1")), build=Build().env(B="2").run("x")), PLAIN_IS)
        assert lowered.env == ()
        assert execs(lowered.stage(ENVIRONMENT))[0].env == (("B", "2"),)

    def test_directories_caches_and_secrets_hold_from_where_they_are_named(self) -> None:
        build = (
            Build().run("x").workdir("/src").cache("ccache", "/c").secret("TOKEN").run("y").cache("apt", "/a").run("z")
        )
        first, second, third = execs(lower(image_of(part("a", build)), PLAIN_IS).stages[0])
        assert (first.workdir, first.caches, first.secrets) == (None, (), ())
        assert (second.workdir, second.caches, second.secrets) == ("/src", (("ccache", "/c"),), ("TOKEN",))
        assert third.caches == (("ccache", "/c"), ("apt", "/a"))


class TestJobs:
    def run(self, text: str, jobs: str) -> str:
        done = subprocess.run(
            [*SHELL, text], env={"PATH": os.defpath, "VEP_JOBS": jobs}, capture_output=True, check=True
        )
        return done.stdout.decode()

    def test_the_number_is_put_in_when_the_command_runs(self) -> None:
        build = Build().env(MAX_JOBS=f"{JOBS} of many").run("sh", "-c", 'echo "$MAX_JOBS" "$0"', f"-j{JOBS}x")
        (exec_,) = execs(lower(image_of(part("a", build)), PLAIN_IS).stages[0])
        assert exec_.env == ()
        assert self.run(exec_.text, "7") == "7 of many -j7x\n"
        assert "7" not in exec_.text

    def test_a_later_value_without_it_takes_its_place_and_the_other_way_round(self) -> None:
        build = Build().env(A=JOBS).env(A="1").run("sh", "-c", "echo $A").env(A=JOBS).run("sh", "-c", "echo $A")
        first, second = execs(lower(image_of(part("a", build)), PLAIN_IS).stages[0])
        assert first.env == (("A", "1"),)
        assert second.env == ()
        assert self.run(f"A=1; export A; {first.text}", "7") == "1\n"
        assert self.run(second.text, "7") == "7\n"

    def test_installations_that_compile_get_it_too(self) -> None:
        build = Build().python("3.12").env(MAX_JOBS=JOBS).install("kernels")
        *_, install = execs(lower(image_of(build=build), PLAIN_IS).stage(ENVIRONMENT))
        assert install.text.startswith('MAX_JOBS="${VEP_JOBS}" /venv/bin/python ')

    @pytest.mark.parametrize("word", ["", "a b", "it's", '"', "$HOME", "`id`", "a\nb", "*", "größe", "-j{vep:job}"])
    def test_words_reach_the_command_as_they_are(self, word: str) -> None:
        assert self.run(command(["printf", "%s", word]), "7") == word


class TestPython:
    def test_it_is_made_by_uv_from_an_interpreter_of_the_image(self) -> None:
        assert python_command(MakePython("/venv", "3.12"))[-3:] == ("--python", "==3.12.*", "/venv")
        assert python_command(MakePython("/venv", ">=3.11,<3.14"))[-3:] == ("--python", ">=3.11,<3.14", "/venv")
        assert "--no-python-downloads" in python_command(MakePython("/venv", "3.12"))

    def test_an_exact_release_is_meant_exactly(self) -> None:
        assert python_command(MakePython("/venv", "3.12.1"))[-2] == "==3.12.1"

    def test_an_installation_is_an_order_for_the_environments_own_python(self) -> None:
        way = Alternative(("app==1",), ("lib==2",), ("https://l/",), "a note")
        program, script, order = python_command(Install("/venv", (way,), ("vision",), "2026-01-01T00:00:00Z"))
        assert (program, script) == ("/venv/bin/python", "/run/vep/tools/install.py")
        assert json.loads(order) == {
            "prefix": "/venv",
            "excluded": ["vision"],
            "before": "2026-01-01T00:00:00Z",
            "ways": [
                {"requirements": ["app==1"], "overrides": ["lib==2"], "indexes": ["https://l/"], "note": "a note"}
            ],
        }

    def test_a_part_is_told_beside_the_whole_request(self) -> None:
        step = Install("/venv", (Alternative(("app",)),), part=Part(("torch",), but=("x",)))
        assert json.loads(python_command(step)[-1])["part"] == {"names": ["torch"], "but": ["x"]}

    def test_locked_packages_are_a_file_since_hundreds_of_them_are_too_long_for_an_argument(self) -> None:
        packages = tuple(LockedPackage(f"p{number}", "1", (f"sha256:{number:064}",) * 6) for number in range(400))
        build = Build().python("3.12").install("app")
        locked = replace(build, steps=(build.steps[0], replace(install_of(build), locked=packages)))
        _, file, command = lower(image_of(build=locked), PLAIN_IS).stage(ENVIRONMENT).operations
        assert isinstance(file, File)
        assert isinstance(command, Exec)
        assert len(file.text) > 128 * 1024 > 1000 > len(command.text)
        assert file.path in command.text
        assert file.path.startswith("/venv/.vep-locked/")
        assert file.text.splitlines()[7] == packages[7].requirement

    def test_of_a_locked_part_nothing_is_told_that_only_others_of_the_request_change(self) -> None:
        six = LockedPackage("six", "1", (f"sha256:{'a' * 64}",))

        def of(*asked: str) -> Install:
            return Install("/venv", (Alternative(asked),), before="2026-01-01T00:00:00Z", locked=(six,))

        assert python_command(of("six", "idna==1")) == python_command(of("six", "idna==2"))
        other = replace(six, hashes=(f"sha256:{'b' * 64}",))
        assert python_command(of("six")) != python_command(replace(of("six"), locked=(other,)))

    def test_a_locked_part_that_nothing_belongs_to_is_no_operation(self) -> None:
        build = Build().install("app")
        empty = replace(build, steps=(replace(install_of(build), locked=()),))
        assert lower(image_of(build=empty), PLAIN_IS).stage(ENVIRONMENT).operations == ()

    def test_places_are_those_of_the_alternative_that_a_lock_took(self) -> None:
        cpu = Alternative(("torch==2+cpu",), indexes=("https://cpu/",))
        step = Install("/venv", (cpu, Alternative(("torch==2",))), locked=(LockedPackage("torch", "2", ("sha256:0",)),))
        assert json.loads(python_command(step)[-1])["indexes"] == []
        taken = replace(step, locked=(LockedPackage("torch", "2+cpu", ("sha256:0",)),))
        assert json.loads(python_command(taken)[-1])["indexes"] == ["https://cpu/"]

    @pytest.mark.parametrize("name", ["torch", "Nvidia_NCCL.cu12", "nvidia", "torch-audio", "six"])
    def test_a_part_is_the_same_in_a_container_as_in_a_lock(self, name: str) -> None:
        for part in (Part(("torch",)), Part(("nvidia-*", "torch*"), but=("torch",)), Part(("*",), but=("nvidia-*",))):
            for line in (f"{name}==1.0", f"{name} @ https://example.org/x.whl", name):
                assert of_part([line], part.names, part.but) == ([line] if part.fits(name) else [])

    def test_both_have_the_tools_and_a_cache_that_the_recipe_may_put_elsewhere(self) -> None:
        build = Build().python("3.12").run("x").env(UV_CACHE_DIR="/mine").install("app")
        made, ran, installed = execs(lower(image_of(build=build), PLAIN_IS).stage(ENVIRONMENT))
        assert [each.tools for each in (made, ran, installed)] == [True, False, True]
        assert made.caches == installed.caches == (UV_CACHE,)
        assert ran.caches == ()
        assert dict(made.env) == {"UV_CACHE_DIR": UV_CACHE[1], "UV_LINK_MODE": "copy"}
        assert dict(installed.env) == {"UV_CACHE_DIR": "/mine", "UV_LINK_MODE": "copy"}
        assert dict(ran.env) == {}


class TestProgramsAndLibraries:
    def test_programs_of_needed_layers_are_on_the_path_the_nearest_first(self) -> None:
        low = part("low", Build().program("/opt/low/bin"))
        top = part("top", Build().program("/opt/top/bin"), part("middle", Build().program("/opt/middle/bin"), low))
        lowered = lower(image_of(top), PLAIN_IS)
        assert lowered.stage("low").programs == ()
        assert lowered.stage("top").programs == ("/opt/middle/bin", "/opt/low/bin")
        assert lowered.stage(IMAGE).programs == ("/opt/top/bin",)

    def test_the_chain_sees_the_programs_of_its_base_and_the_image_adds_the_others(self) -> None:
        base = part("devel", Build().program("/cuda/bin"), prefix="/")
        chain = Build().program("/venv/bin")
        lowered = lower(image_of(part("a", Build().program("/opt/a/bin"), base=base), base=base, build=chain), PLAIN_IS)
        assert lowered.stage("a").programs == ("/cuda/bin",)
        assert lowered.stage(ENVIRONMENT).programs == ("/cuda/bin",)
        assert lowered.stage(IMAGE).programs == ("/venv/bin", "/opt/a/bin")

    def test_libraries_are_told_to_the_loader_where_they_are_needed_and_in_the_image(self) -> None:
        low = part("low", Build().library("/opt/low/lib").run("make"))
        top = part("top", Build().library("/opt/top/lib").run("x"), low)
        lowered = lower(image_of(low, top), PLAIN_IS)
        assert [each.text for each in execs(lowered.stage("low"))] == ["make"]
        told, reads, ran = lowered.stage("top").operations
        assert told == File(LOADER, "/opt/low/lib\n")
        assert isinstance(reads, Exec)
        assert isinstance(ran, Exec)
        assert (reads.text, ran.text) == ("ldconfig", "x")
        assert lowered.stage(IMAGE).operations == (File(LOADER, "/opt/low/lib\n/opt/top/lib\n"), Exec("ldconfig"))

    def test_an_image_without_libraries_leaves_the_loader_alone(self) -> None:
        assert lower(image_of(part("a")), PLAIN_IS).stage(IMAGE).operations == ()


class TestKeys:
    def test_what_is_built_on_the_plain_base_has_it_in_its_key(self) -> None:
        low = part("low", base=PLAIN)
        made = image_of(part("top", None, low, base=CUDA), part("other"), base=CUDA)
        one, two = lower(made, "base@sha256:1"), lower(made, "base@sha256:2")
        changed = {stage.name for stage in one.stages if stage.key != two.stage(stage.name).key}
        assert changed == {"low", "top", IMAGE}
        assert one.stage("other").key == made.layers[1].key
        assert (one.key, one.stage(IMAGE).key) == (one.stage(IMAGE).key, one.key)
        assert one.key != made.key

    def test_the_chains_key_is_of_its_base_and_its_steps_alone(self) -> None:
        build = Build().run("x")
        keys = {
            lower(made, PLAIN_IS).stage(ENVIRONMENT).key
            for made in (
                image_of(part("a"), build=build),
                image_of(build=build),
                image_of(part("b", base=PLAIN), build=build),
            )
        }
        assert len(keys) == 1
        on_plain = [lower(image_of(base=PLAIN, build=build), f"b@sha256:{n}").stage(ENVIRONMENT).key for n in (1, 2)]
        other = lower(image_of(build=Build().run("y")), PLAIN_IS).stage(ENVIRONMENT).key
        assert len({*keys, *on_plain, other}) == 4

    def test_without_it_keys_are_those_of_the_language(self) -> None:
        made = image_of(part("a", None, part("b")))
        lowered = lower(made, PLAIN_IS)
        assert lowered.key == made.key
        assert [stage.key for stage in lowered.layers] == [made.layers[0].needs[0].key, made.layers[0].key]
        assert len({stage.key for stage in lowered.stages}) == len(lowered.stages)


def golden_form() -> dict[str, Any]:
    """A lowered sample without what only messages need."""

    def stage_form(stage: Stage) -> dict[str, Any]:
        operations = [
            {type(each).__name__: {name: value for name, value in asdict(each).items() if name != "step"}}
            for each in stage.operations
        ]
        base = stage.base if isinstance(stage.base, str) else asdict(stage.base)
        taken = [asdict(each) for each in stage.taken]
        fields = {name: getattr(stage, name) for name in ("name", "key", "env", "programs", "prefix")}
        return fields | {"base": base, "taken": taken, "operations": operations}

    lowered = lower(sample_image(), PLAIN_IS)
    form = {"key": lowered.key, "env": lowered.env, "stages": [stage_form(each) for each in lowered.stages]}
    plain: dict[str, Any] = json.loads(json.dumps(form))
    return plain


def test_the_sample_is_lowered_to_the_golden_form() -> None:
    """`python -m tests.builders.test_lowering` writes it anew, for a change that is meant: it rebuilds every layer that
    people have."""
    assert golden_form() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_shell_reads_its_surroundings_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("export FROM_THERE=1\n")
    shell = [word.replace("/run/vep/env", shlex.quote(str(file))) for word in SHELL]
    done = subprocess.run([*shell, "echo $FROM_THERE; false; echo not this"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"1\n")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_form(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
