"""Parts that every builder for containers shares, with a shell and a uv of this machine in the container's stead."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.dsl.dsl_sample import COMMIT, DIGEST, sample_image
from vep_dagger.builders.checks import (
    CHECKS,
    PACKAGES,
    PYTHON_SIZES,
    SYSTEM,
    UNOWNED,
    Proven,
    check_commands,
    judge,
    output_file,
)
from vep_dagger.builders.container_install import RECORD
from vep_dagger.builders.failures import base_missing, step_failed
from vep_dagger.builders.keep import KeepDirectory, KeepRepository, layer_tag, parse_keep
from vep_dagger.builders.lowering import command, lower, python_command
from vep_dagger.builders.manifest import container_manifest, read_container_manifest
from vep_dagger.builders.names import labels, publish_tags, tag_of
from vep_dagger.builders.stages import SHELL, Exec
from vep_dagger.builders.surroundings import certificates, container_surroundings
from vep_dagger.builders.tools import tools_directory
from vep_dagger.dsl import JOBS, PLAIN, Alternative, Build, Image, Layer
from vep_dagger.dsl.step import Install, Run
from vep_dagger.errors import BuildError, MachineError, UsageError

MakeWheel = Callable[..., Path]
HERE = f"{sys.platform}/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), '') }"


def image_of(build: Build) -> Image:
    return Image("probe", "probe1", "1", PLAIN, build, device="cpu")


def variables_of(text: str, tmp_path: Path, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a shell has after it has read the surroundings."""
    file = tmp_path / "env"
    file.write_text(text)
    script = f"set -e; . {file}; exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(["/bin/sh", "-c", script], env=dict(before or {}), capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


class TestSurroundings:
    def test_proxies_indexes_and_certificates_are_told_and_nothing_else(self, tmp_path: Path) -> None:
        bundle = tmp_path / "ca.pem"
        bundle.write_text("")
        environ = {
            "HOME": str(tmp_path),
            "PATH": "/bin",
            "HF_TOKEN": "t",
            "PYTHONPATH": "/x",
            "PIP_CONFIG_FILE": os.devnull,
            "https_proxy": "http://u:it's@proxy:1/",
            "UV_DEFAULT_INDEX": "https://u:p@index/simple",
            "UV_INDEX_MINE_PASSWORD": "p",
            "UV_CACHE_DIR": "/here/alone",
            "UV_CONFIG_FILE": "/here/uv.toml",
            "UV_FIND_LINKS": f"{tmp_path},https://links/,file:///here",
            "PIP_EXTRA_INDEX_URL": "https://extra/simple /srv/simple",
            "SSL_CERT_FILE": str(bundle),
        }
        found = variables_of(container_surroundings(environ), tmp_path)
        certificate = dict.fromkeys(
            ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"), "/run/vep/ca.pem"
        )
        for name in ("PWD", "SHLVL", "_", "LC_CTYPE", "OLDPWD"):
            found.pop(name, None)
        assert found == certificate | {
            "https_proxy": "http://u:it's@proxy:1/",
            "UV_DEFAULT_INDEX": "https://u:p@index/simple",
            "UV_INDEX_MINE_PASSWORD": "p",
            "UV_FIND_LINKS": "https://links/",
            "PIP_EXTRA_INDEX_URL": "https://extra/simple",
        }

    def test_what_the_recipe_sets_is_left_alone_but_for_certificates(self, tmp_path: Path) -> None:
        bundle = tmp_path / "ca.pem"
        bundle.write_text("")
        environ = {"UV_DEFAULT_INDEX": "https://ours/", "SSL_CERT_FILE": str(bundle), "PIP_CONFIG_FILE": os.devnull}
        before = {"UV_DEFAULT_INDEX": "https://recipes/", "SSL_CERT_FILE": "/etc/the/bases.pem"}
        found = variables_of(container_surroundings(environ | {"HOME": str(tmp_path)}), tmp_path, before)
        assert found["UV_DEFAULT_INDEX"] == "https://recipes/"
        assert found["SSL_CERT_FILE"] == "/run/vep/ca.pem"

    def test_indexes_of_uvs_own_files_are_told_since_containers_have_no_such_files(self, tmp_path: Path) -> None:
        file = tmp_path / "home" / ".config" / "uv" / "uv.toml"
        file.parent.mkdir(parents=True)
        file.write_text(
            'find-links = ["/srv", "https://links/"]\n'
            '[[index]]\nurl = "https://ours/"\ndefault = true\n'
            '[[index]]\nname = "torch"\nurl = "https://torch/"\n'
            '[[index]]\nname = "other"\nurl = "https://other/"\nexplicit = true\n'
        )
        environ = {"HOME": str(tmp_path / "home"), "PIP_INDEX_URL": "https://pips/"}
        found = variables_of(container_surroundings(environ), tmp_path)
        told = {name: value for name, value in found.items() if name.startswith("UV_")}
        assert told == {
            "UV_DEFAULT_INDEX": "https://ours/",
            "UV_INDEX": "torch=https://torch/",
            "UV_FIND_LINKS": "https://links/",
        }
        assert found["PIP_INDEX_URL"] == "https://pips/"
        environ["UV_DEFAULT_INDEX"] = "https://mine/"
        assert variables_of(container_surroundings(environ), tmp_path)["UV_DEFAULT_INDEX"] == "https://mine/"
        assert "torch" not in container_surroundings(environ | {"UV_NO_CONFIG": "1"})

    def test_mirrors_are_told_unless_only_this_machine_has_them(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
        mirrors = {
            "https://whl/": "https://mirror/it's/",
            "https://here/": "file:///srv/",
            "docker.io/": "registry.example.org/hub/",
        }
        told = variables_of(container_surroundings(environ, mirrors), tmp_path)["VEP_MIRRORS"]
        assert json.loads(told) == {"https://whl/": "https://mirror/it's/"}
        assert "VEP_MIRRORS" not in container_surroundings(environ)

    def test_the_number_of_jobs_is_told_only_if_somebody_set_it(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path)}
        assert "VEP_JOBS" not in container_surroundings(environ)
        assert variables_of(container_surroundings(environ | {"VEP_JOBS": "3"}), tmp_path)["VEP_JOBS"] == "3"
        for wrong in ("many", "0", "-1", "2.5"):
            with pytest.raises(UsageError, match="no number of jobs"):
                container_surroundings(environ | {"VEP_JOBS": wrong})

    def test_every_command_gets_a_number_of_jobs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = command(["echo", f"-j{JOBS}"])
        given = subprocess.run(
            [*SHELL, text], env={"VEP_JOBS": "7", "PATH": os.defpath}, capture_output=True, check=True
        )
        counted = subprocess.run([*SHELL, text], env={"PATH": os.defpath}, capture_output=True, check=True)
        assert given.stdout == b"-j7\n"
        assert int(counted.stdout.removeprefix(b"-j")) >= 1

    def test_a_bundle_that_is_named_comes_first_and_one_that_is_not_there_is_none(self, tmp_path: Path) -> None:
        bundle = tmp_path / "ca.pem"
        usual = certificates({})
        assert certificates({"SSL_CERT_FILE": str(bundle)}) == usual
        bundle.write_text("")
        assert certificates({"SSL_CERT_FILE": str(bundle)}) == bundle


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return anyio.run(tools_directory, HERE, {"VEP_CACHE_DIR": str(tmp_path / "cache")})


class TestTools:
    def test_they_are_kept_by_content_and_readable_for_everybody(self, tools: Path, tmp_path: Path) -> None:
        assert subprocess.run([tools / "uv", "--version"], capture_output=True, check=True).stdout.startswith(b"uv ")
        assert {path.stat().st_mode & 0o777 for path in tools.rglob("*.py")} == {0o644}
        assert {path.stat().st_mode & 0o777 for path in (tools, tools / "vep_dagger", tools / "uv")} == {0o755}
        assert anyio.run(tools_directory, HERE, {"VEP_CACHE_DIR": str(tmp_path / "cache")}) == tools
        assert sorted(path.name for path in tools.parent.iterdir()) == [tools.name, "locks"]

    def test_another_platform_is_refused(self) -> None:
        with pytest.raises(MachineError, match=r"linux/s390x from here: the uv of this machine"):
            anyio.run(tools_directory, "linux/s390x")

    @pytest.mark.parametrize(
        "name", ["install.py", "vep_dagger/builders/uv_words.py", "vep_dagger/builders/mirrors.py"]
    )
    def test_old_pythons_can_read_what_goes_into_containers(self, tools: Path, name: str) -> None:
        compile_for = "import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 8))"
        subprocess.run([sys.executable, "-c", compile_for, tools / name], check=True)


class Container:
    """A directory in the stead of a container: an environment, and steps of Python that are carried out in it."""

    def __init__(self, directory: Path, tools: Path, environ: Mapping[str, str]) -> None:
        self.prefix = directory / "venv"
        self.tools = tools
        self.environ = {**environ, "UV_LINK_MODE": "copy"}
        subprocess.run(
            [tools / "uv", "venv", "--quiet", "--no-project", "--python", sys.executable, self.prefix],
            env=self.environ,
            check=True,
        )

    def install(self, step: Install) -> subprocess.CompletedProcess[str]:
        argv = [
            word.replace("/run/vep/tools", str(self.tools)).replace("/venv", str(self.prefix))
            for word in python_command(step)
        ]
        return subprocess.run(argv, env=self.environ, cwd="/", capture_output=True, text=True, check=False)

    @property
    def packages(self) -> set[str]:
        folders = self.prefix.glob("lib/python*/site-packages/*.dist-info")
        return {folder.name.partition(".dist-info")[0] for folder in folders}

    @property
    def record(self) -> list[dict[str, object]]:
        file = self.prefix / RECORD
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def container(tmp_path: Path, tools: Path, surroundings: dict[str, str]) -> Container:
    return Container(tmp_path / "container", tools, surroundings)


class TestInstall:
    def test_requirements_are_installed_without_what_is_excluded(
        self, container: Container, make_wheel: MakeWheel
    ) -> None:
        make_wheel("app", needs=("lib", "vision"))
        make_wheel("lib", "2.0")
        make_wheel("vision")
        done = container.install(Install("/venv", (Alternative(("app",)),), excluded=("vision",)))
        assert done.returncode == 0, done.stderr
        assert container.packages == {"app-1.0", "lib-2.0"}
        assert container.record == [{"requirements": ["app"], "notes": []}]

    def test_programs_start_from_bytecode_that_is_there(self, container: Container, make_wheel: MakeWheel) -> None:
        make_wheel("app")
        assert container.install(Install("/venv", (Alternative(("app",)),))).returncode == 0
        assert list(container.prefix.glob("lib/python*/site-packages/app/__pycache__/*.pyc"))

    def test_the_first_way_that_resolves_is_taken_and_noted(self, container: Container, make_wheel: MakeWheel) -> None:
        make_wheel("app", "1.0", needs=("lib==9",))
        make_wheel("lib", "1.0")
        ways = (
            Alternative(("app==2.0",), note="the newer one"),
            Alternative(("app==1.0",), overrides=("lib==1.0",), note="the older one"),
            Alternative(("app==0.1",)),
        )
        done = container.install(Install("/venv", ways))
        assert done.returncode == 0, done.stderr
        assert container.packages == {"app-1.0", "lib-1.0"}
        (record,) = container.record
        assert record["requirements"] == ["app==1.0"]
        notes = record["notes"]
        assert isinstance(notes, list)
        assert notes[0].startswith("passed over the newer one: ")
        assert "app==2.0" in notes[0]
        assert notes[1:] == ["the older one"]
        assert done.stdout.splitlines()[0] == notes[0]

    def test_ways_differ_in_what_they_ask_for_and_not_in_what_that_needs(
        self, container: Container, make_wheel: MakeWheel
    ) -> None:
        make_wheel("app", "2.0", needs=("lib",))
        make_wheel("app", "1.0")
        done = container.install(Install("/venv", (Alternative(("app==2.0",)), Alternative(("app==1.0",)))))
        assert done.returncode == 1
        assert "lib was not found" in done.stderr
        assert container.packages == set()

    def test_further_places_add_candidates_and_those_that_are_not_there_do_not_matter(
        self, container: Container, make_wheel: MakeWheel, tmp_path: Path
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        make_wheel("app", to=elsewhere)
        way = Alternative(("app",), indexes=(str(elsewhere), "/no/such/directory"))
        assert container.install(Install("/venv", (way,))).returncode == 0
        assert container.packages == {"app-1.0"}

    def test_further_places_are_looked_for_where_mirrors_have_them(
        self, container: Container, make_wheel: MakeWheel, tmp_path: Path
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        make_wheel("app", to=elsewhere)
        step = Install("/venv", (Alternative(("app",), indexes=("https://whl.invalid/cpu/",)),))
        assert container.install(step).returncode != 0
        container.environ["VEP_MIRRORS"] = json.dumps({"https://whl.invalid/cpu/": str(elsewhere)})
        done = container.install(step)
        assert done.returncode == 0, done.stderr
        assert container.packages == {"app-1.0"}

    def test_a_mistake_in_one_way_does_not_let_the_next_one_pass(
        self, container: Container, make_wheel: MakeWheel
    ) -> None:
        make_wheel("app")
        done = container.install(Install("/venv", (Alternative(("app ==== 2",)), Alternative(("app",)))))
        assert done.returncode != 0
        assert "app ==== 2" in done.stderr
        assert container.packages == set()
        assert container.record == []

    def test_what_cannot_be_had_ends_with_uvs_own_code_and_words(self, container: Container) -> None:
        done = container.install(Install("/venv", (Alternative(("app",)),)))
        assert done.returncode == 1
        assert "No solution found" in done.stderr

    def test_nothing_of_the_tools_is_changed(self, container: Container, make_wheel: MakeWheel) -> None:
        make_wheel("app")
        before = set(container.tools.rglob("*"))
        container.install(Install("/venv", (Alternative(("app",)),)))
        assert set(container.tools.rglob("*")) == before


class TestChecks:
    BUILD = Build().check("says", "echo", "it's fine").check("expects", "sh", "-c", "echo a; echo b >&2", expect="b")

    def run(self, exec_: Exec, tmp_path: Path) -> subprocess.CompletedProcess[str]:
        text = exec_.text.replace(CHECKS, str(tmp_path / "checks"))
        return subprocess.run(
            [*SHELL, text], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
        )

    def files(self, tmp_path: Path) -> dict[str, str]:
        return {path.name: path.read_text() for path in (tmp_path / "checks").iterdir()}

    def test_each_leaves_its_output_and_shows_it(self, tmp_path: Path) -> None:
        image = image_of(self.BUILD)
        for exec_ in check_commands(image):
            assert self.run(exec_, tmp_path).returncode == 0
        files = self.files(tmp_path)
        files.pop(SYSTEM, None)
        assert files == {"00.txt": "it's fine\n", "01.txt": "a\nb\n"}
        proven = judge(image, files, tmp_path / "log")
        assert [(check.name, output) for check, output in proven.checks] == [("says", "it's fine"), ("expects", "a\nb")]
        assert proven.packages is None

    def test_one_that_fails_keeps_its_code_and_shows_its_output(self, tmp_path: Path) -> None:
        exec_ = check_commands(image_of(Build().check("fails", "sh", "-c", "echo why >&2; exit 7")))[0]
        done = self.run(exec_, tmp_path)
        assert (done.returncode, done.stdout) == (7, "why\n")

    @pytest.mark.parametrize("dpkg", ["knows some", "knows none", "is not there"])
    def test_the_distributions_packages_are_told_as_far_as_dpkg_knows_them(self, tmp_path: Path, dpkg: str) -> None:
        program = tmp_path / "dpkg-query"
        told = r"ii libc6:amd64=2.36-9+deb12u9\nrc gone=1.0\nhi libc6-dev=2:1.0~rc1\nun virtual=\n"
        program.write_text(f"""#!/bin/sh
            test "$1 $2 $3" = '-W -f ${{db:Status-Abbrev}}${{binary:Package}}=${{Version}}\\n' || exit 2
            {f"printf '{told}'" if dpkg == "knows some" else "echo 'no packages found matching *' >&2; exit 1"}
        """)
        program.chmod(0o755)
        exec_ = check_commands(image_of(Build().run("true")))[-1]
        place = "no-such-program" if dpkg == "is not there" else str(program)
        done = self.run(Exec(exec_.text.replace("dpkg-query", place)), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        system = judge(image_of(Build()), self.files(tmp_path), tmp_path / "log").system
        expected = [("libc6-dev", "2:1.0~rc1"), ("libc6:amd64", "2.36-9+deb12u9")] if dpkg == "knows some" else []
        assert list(system.items()) == expected

    def test_an_image_in_which_nothing_was_run_is_asked_nothing_since_it_may_have_no_shell(self) -> None:
        assert check_commands(image_of(Build().write("/etc/motd", "hello"))) == ()

    def test_an_output_without_what_is_expected_is_an_error_that_shows_it(self, tmp_path: Path) -> None:
        image = image_of(Build().check("agrees", "agree", expect="yes"))
        with pytest.raises(BuildError, match=r"check 'agrees': 'yes' is not in what it printed:\n +no") as caught:
            judge(image, {output_file(0): "no\n"}, tmp_path / "log")
        assert caught.value.where == str(tmp_path / "log")
        assert caught.value.layer is None

    def test_it_says_which_layer_the_check_is_of(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError) as caught:
            judge(sample_image(), {output_file(0): "no\n"}, tmp_path / "log")
        assert caught.value.layer == "collectives"

    def test_a_check_that_left_nothing_has_not_passed(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match="it left no output"):
            judge(image_of(self.BUILD), {}, tmp_path / "log")

    def test_packages_and_notes_are_found_in_the_environment(
        self, container: Container, make_wheel: MakeWheel, tmp_path: Path
    ) -> None:
        make_wheel("My.App")
        image = image_of(Build().python("3.12").install(Alternative(("My.App",), note="a note")))
        (step,) = (step for step in image.build.steps if isinstance(step, Install))
        assert container.install(step).returncode == 0
        for exec_ in check_commands(image):
            done = self.run(Exec(exec_.text.replace("/venv", str(container.prefix))), tmp_path)
            assert done.returncode == 0, done.stderr
        proven = judge(image, self.files(tmp_path), tmp_path / "log")
        assert proven.packages == {"my-app": "1.0"}
        assert proven.notes == ("a note",)
        assert proven.alternatives == ("My.App",)

    @pytest.mark.parametrize("has_find", [True, False])
    def test_sizes_are_told_in_bytes_and_where_nothing_can_tell_them_nothing_fails(
        self, tmp_path: Path, has_find: bool
    ) -> None:
        prefix = tmp_path / "a prefix"
        prefix.mkdir()
        (prefix / "file").write_bytes(bytes(5000))
        image = replace(image_of(Build()), layers=(Layer("kit", str(prefix), PLAIN, (), Build().run("true")),))
        exec_ = check_commands(image)[0]
        text = exec_.text if has_find else exec_.text.replace("find ", "no-such-program ")
        assert self.run(Exec(text), tmp_path).returncode == 0
        sizes = judge(image, self.files(tmp_path), tmp_path / "log").sizes
        if has_find:
            assert sizes == {"kit": 5000}
            lowered = lower(image, "p")
            manifest = read_container_manifest(container_manifest(lowered, "p", Proven(sizes=sizes), "probe"))
            assert manifest is not None
            assert manifest.sizes == sizes
        else:
            assert sizes == {}

    def measured(self, container: Container, image: Image, tmp_path: Path) -> Proven:
        """What the commands show of the image, when this has been installed."""
        for step in image.build.steps:
            if isinstance(step, Install):
                done = container.install(step)
                assert done.returncode == 0, done.stderr
        for exec_ in check_commands(image):
            done = self.run(Exec(exec_.text.replace("/venv", str(container.prefix))), tmp_path)
            assert done.returncode == 0, done.stderr
        return judge(image, self.files(tmp_path), tmp_path / "log")

    def test_each_file_of_an_environment_is_of_one_part_or_of_no_package(
        self, container: Container, make_wheel: MakeWheel, tmp_path: Path
    ) -> None:
        make_wheel("vep-app", needs=("vep-big-lib", "vep-small-lib"))
        make_wheel("vep-big-lib", files={"vep_big_lib/data": "x" * 200_000, "common/data": "x" * 7000})
        # Its program lies outside of where packages do.
        program = {"vep_small_lib-1.0.data/scripts/vep_small_lib": "#!python\n" + "#" * 4000}
        small = {"vep_small_lib/data": "x" * 3000, "common/data": "x" * 7000}
        make_wheel("vep-small-lib", files={**small, **program})
        parts = {"large ones": ("vep-big-*",), "small ones": ("vep-small-lib",), "none": ("vep-nothing",)}
        (container.prefix / "own").write_bytes(bytes(50_000))
        proven = self.measured(container, image_of(Build().python("3.12").install("vep-app", parts=parts)), tmp_path)
        site = next(container.prefix.glob("lib/python*/site-packages"))
        files = [file for file in container.prefix.rglob("*") if file.is_file() and not file.is_symlink()]
        sizes = {file: file.stat().st_size for file in files}

        assert proven.sizes["environment"] == sum(sizes.values())
        assert list(proven.parts) == ["large ones", "small ones", "none", "other packages", UNOWNED]
        assert sum(proven.parts.values()) == proven.sizes["environment"]
        bytecode = next((site / "vep_big_lib" / "__pycache__").iterdir())
        assert sizes[bytecode] > 0
        alone = {
            name: sum(size for file, size in sizes.items() if f"/{name}" in str(file))
            for name in ("vep_app", "vep_big_lib", "vep_small_lib")
        }
        # The file that both bring is there once, and so it counts once.
        both = alone["vep_big_lib"] + alone["vep_small_lib"] + 7000
        assert proven.parts["large ones"] + proven.parts["small ones"] == both
        assert proven.parts["other packages"] == alone["vep_app"]
        assert proven.parts["none"] == 0
        assert proven.parts[UNOWNED] > 50_000

    def test_packages_of_another_installation_count_as_the_rest(
        self, container: Container, make_wheel: MakeWheel, tmp_path: Path
    ) -> None:
        make_wheel("vep-app"), make_wheel("vep-lib"), make_wheel("vep-late", files={"vep_late/data": "x" * 90_000})
        build = Build().python("3.12").install("vep-app", parts={"lib": ("vep-lib",), "the rest": ("*",)})
        parts = self.measured(container, image_of(build.install("vep-late")), tmp_path).parts
        assert list(parts) == ["lib", "the rest", UNOWNED]
        assert parts["the rest"] > 90_000 > parts[UNOWNED]

    def test_a_package_is_of_the_part_that_names_it_whichever_installation_that_is_of(self, tmp_path: Path) -> None:
        build = Build().python("3.12").install("app", parts={"lib": ("lib",), "rest": ("*",)})
        build = build.install("late", parts={"late": ("late",)})
        files = {PYTHON_SIZES: json.dumps({"bytes": 100, "packages": {"late": 10, "lib": 20, "app": 30}})}
        told = {"lib": 20, "rest": 30, "late": 10, "other packages": 0, UNOWNED: 40}
        assert judge(image_of(build), files, tmp_path / "log").parts == told
        only = image_of(replace(build, steps=(build.steps[0], build.steps[-2])))
        assert judge(only, files, tmp_path / "log").parts == {"late": 10, "other packages": 50, UNOWNED: 40}

    def test_an_environment_that_was_not_installed_in_parts_has_a_size_and_no_parts(
        self, container: Container, make_wheel: MakeWheel, tmp_path: Path
    ) -> None:
        make_wheel("vep-app")
        proven = self.measured(container, image_of(Build().python("3.12").install("vep-app")), tmp_path)
        assert proven.sizes["environment"] > 0
        assert proven.parts == {}

    def test_an_environment_that_cannot_be_measured_fails_nothing_and_has_no_size(
        self, container: Container, tmp_path: Path
    ) -> None:
        image = image_of(Build().python("3.12").install("vep-app", parts=(("vep-lib",),)))
        exec_ = next(each for each in check_commands(image) if PYTHON_SIZES in each.text)
        # It dies with half of its answer given.
        text = exec_.text.replace("/venv", str(container.prefix)).replace(
            "sort_keys=True", "sort_keys=print(1) or nothing"
        )
        assert self.run(Exec(text), tmp_path).returncode == 0
        proven = judge(image, self.files(tmp_path), tmp_path / "log")
        assert (dict(proven.sizes), dict(proven.parts)) == ({}, {})

    def test_what_a_check_printed_is_kept_without_secrets(self, tmp_path: Path) -> None:
        image = image_of(Build().check("says", "env"))
        proven = judge(
            image, {output_file(0): "A=s3cret\n"}, tmp_path / "log", lambda text: text.replace("s3cret", "-")
        )
        assert proven.checks[0][1] == "A=-"

    def test_an_environment_in_which_nothing_was_installed_has_no_notes(
        self, container: Container, tmp_path: Path
    ) -> None:
        image = image_of(Build().python("3.12"))
        for exec_ in check_commands(image):
            assert self.run(Exec(exec_.text.replace("/venv", str(container.prefix))), tmp_path).returncode == 0
        assert set(self.files(tmp_path)) - {SYSTEM} == {PACKAGES, PYTHON_SIZES}
        assert judge(image, self.files(tmp_path), tmp_path / "log").notes == ()


class TestManifest:
    def test_it_says_of_what_the_image_was_made_and_can_be_read_back(self) -> None:
        image = sample_image()
        lowered = lower(image, "plain@sha256:00")
        checks = tuple((check, "ok") for check in image.checks)
        proven = Proven(checks, {"app": "1.0"}, ("app==1.0",), ("a note",))
        text = container_manifest(lowered, None, proven, "probe")
        manifest = read_container_manifest(text)
        assert manifest is not None
        assert (manifest.key, manifest.image, manifest.builder) == (image.key, image.key, "probe")
        assert manifest.base == "devel"
        assert [(each.name, each.prefix) for each in manifest.layers] == [
            ("devel", "/"),
            ("collectives", "/opt/collectives"),
            ("kernels", "/opt/kernels"),
        ]
        devel, collectives, kernels = manifest.layers
        assert not isinstance(devel.base, str)
        assert (devel.base.ref, devel.base.digest) == ("example.org/devel:13.0", DIGEST)
        assert [(each.kind, each.where, each.ref, each.content) for each in collectives.sources] == [
            ("git", "https://example.org/collectives.git", "v2.27.7-1", COMMIT),
            ("http", "https://example.org/data.tar.gz", None, "ab" * 32),
            ("http", "https://example.org/licence", None, "cd" * 32),
        ]
        assert collectives.pins == {"version": "v2.27.7-1", "architectures": ["90a", "100"]}
        assert kernels.needs == ["collectives"]
        assert manifest.libraries == ["/opt/collectives/lib"]
        assert manifest.env == {"CUDA_HOME": "/usr/local/cuda", "QUIET": "1"}
        assert [(each.name, each.output) for each in manifest.checks] == [("header and library agree", "ok")]
        assert (manifest.packages, manifest.notes) == ({"app": "1.0"}, ["a note"])

    def test_it_has_the_parts_of_the_environment_and_one_without_them_can_be_read_too(self) -> None:
        proven = Proven(sizes={"environment": 30}, parts={"torch": 20, UNOWNED: 10})
        text = container_manifest(lower(sample_image(), "p"), "p", proven, "probe")
        manifest = read_container_manifest(text)
        assert manifest is not None
        assert manifest.sizes["environment"] == 30
        assert list(manifest.environment_parts.items()) == [("torch", 20), (UNOWNED, 10)]
        without = container_manifest(lower(sample_image(), "p"), "p", Proven(sizes={"environment": 30}), "probe")
        older = json.loads(text)
        del older["environment_parts"]
        assert json.loads(without) == older, "images of older versions say the same"
        read = read_container_manifest(without)
        assert read is not None
        assert (read.sizes, read.environment_parts) == (manifest.sizes, {})

    def test_it_has_the_distributions_packages_and_a_digest_that_anybody_can_make_of_them(self, tmp_path: Path) -> None:
        def made(system: dict[str, str]) -> str:
            return container_manifest(lower(sample_image(), "p"), "p", Proven(system=system), "probe")

        manifest = read_container_manifest(made({"libc6:amd64": "2.36", "libc6-dev": "2.36"}))
        assert manifest is not None
        assert manifest.system_packages == {"libc6:amd64": "2.36", "libc6-dev": "2.36"}
        (tmp_path / "list").write_text("libc6:amd64=2.36\nlibc6-dev=2.36\n")
        command = ["sh", "-c", f"LC_ALL=C sort {tmp_path}/list | sha256sum"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
        assert manifest.system_digest == told
        other = read_container_manifest(made({"libc6:amd64": "2.36", "libc6-dev": "2.37"}))
        assert other is not None
        assert (other.key, other.system_digest != told) == (manifest.key, True)
        without = json.loads(made({}))
        assert not {"system_packages", "system_digest"} & set(without), "images of older versions say the same"

    def test_the_same_build_gives_the_same_text(self) -> None:
        made = {container_manifest(lower(sample_image(), "p"), "p", Proven(), "probe") for _ in range(2)}
        assert len(made) == 1

    def test_what_stood_for_the_plain_base_is_in_it_by_digest(self) -> None:
        lowered = lower(image_of(Build()), DIGEST)
        manifest = read_container_manifest(container_manifest(lowered, DIGEST, Proven(), "probe"))
        assert manifest is not None
        assert not isinstance(manifest.base, str)
        assert (manifest.base.ref, manifest.base.digest, manifest.base.plain) == ("plain", DIGEST, True)
        assert manifest.key == lowered.key != lowered.image.key

    def test_text_that_is_none_is_none(self) -> None:
        assert read_container_manifest("{}") is None
        assert read_container_manifest("no JSON") is None


class TestFailures:
    LOG = Path("/runs/build.log")

    def test_a_step_that_failed_is_told_as_a_person_would_type_it(self) -> None:
        lowered = lower(sample_image(), "p")
        stage = lowered.stage("collectives")
        operation = next(each for each in stage.operations if isinstance(each.step, Run))
        error = step_failed(lowered.image, stage, operation, 2, ["cc1plus: no such header", ""], self.LOG, "a shell: x")
        assert isinstance(error, BuildError)
        assert error.what.startswith(
            "sample1, layer 'collectives': `make -j\"$(nproc)\" arch=90a arch=100` exited with 2:"
        )
        assert error.what.endswith("\n    cc1plus: no such header")
        assert (error.layer, error.code, error.where, error.hint) == ("collectives", 2, str(self.LOG), "a shell: x")
        assert error.output == ("cc1plus: no such header", "")

    @pytest.mark.parametrize(("code", "words"), [(137, "was killed by SIGKILL"), (-11, "was killed by SIGSEGV")])
    def test_a_signal_is_called_by_its_name(self, code: int, words: str) -> None:
        lowered = lower(sample_image(), "p")
        stage = lowered.stage("kernels")
        assert (
            f"{words}: it printed nothing"
            in step_failed(lowered.image, stage, stage.operations[-1], code, [], self.LOG).what
        )

    @pytest.mark.parametrize(
        ("code", "line"), [(137, ""), (2, "g++: fatal error: Killed signal terminated program cc1plus")]
    )
    def test_what_was_killed_most_likely_had_no_memory(self, code: int, line: str) -> None:
        lowered = lower(sample_image(), "p")
        stage = lowered.stage("kernels")
        hint = step_failed(lowered.image, stage, stage.operations[-1], code, [line], self.LOG, "a shell: x").hint
        assert hint == "memory ran out, most likely: try fewer jobs at a time, with VEP_JOBS=2; a shell: x"

    def test_a_check_is_called_by_its_name(self) -> None:
        image = sample_image()
        stage = lower(image, "p").stage("image")
        error = step_failed(image, stage, check_commands(image)[0], 1, ["no"], self.LOG)
        assert "sample1, check 'header and library agree': `/opt/collectives/bin/agree` exited with 1" in error.what

    def test_an_index_that_cannot_be_reached_is_the_machines_matter(self) -> None:
        image = sample_image()
        stage = lower(image, "p").stage("environment")
        operation = next(each for each in stage.operations if isinstance(each.step, Install))
        error = step_failed(image, stage, operation, 1, ["error: Failed to fetch: `https://x`"], self.LOG)
        assert isinstance(error, MachineError)
        unsolved = step_failed(image, stage, operation, 1, ["No solution found"], self.LOG, "a shell: x")
        assert isinstance(unsolved, BuildError)
        assert unsolved.hint == "releases after 2026-01-01T00:00:00Z are not seen, since the pin 'before' says so"

    def test_a_base_that_cannot_be_had_is_told_with_what_it_was_asked_for_as(self) -> None:
        message = base_missing("debian:12", "not found", where="layer 'devel'", tried="mirror/debian:12").render()
        assert "the base image debian:12 cannot be had (asked for as mirror/debian:12, as [mirrors] says)" in message

    @pytest.mark.parametrize(
        ("ref", "registry"),
        [
            ("debian:12", "docker.io"),
            ("me/x", "docker.io"),
            ("ghcr.io/me/x:1", "ghcr.io"),
            ("localhost/x", "localhost"),
        ],
    )
    def test_a_registry_that_lets_nobody_in_is_told_with_the_way_in(self, ref: str, registry: str) -> None:
        refused = base_missing(ref, "pull access denied for x", where="layer 'devel'").hint or ""
        assert refused.startswith(f"`docker login {registry}`")
        assert "docker login" not in (base_missing(ref, "not found", where="layer 'devel'").hint or "")


class TestNames:
    def test_images_that_share_a_tag_are_told_apart_by_their_keys(self) -> None:
        one, two = image_of(Build().run("a")), image_of(Build().run("b"))
        other = Image("probe", "other", "1", PLAIN, Build())
        assert publish_tags([one, two, one, other]) == {
            one.key: f"probe1-{one.key[:12]}",
            two.key: f"probe1-{two.key[:12]}",
            other.key: "other",
        }

    def test_an_image_has_the_tag_that_its_matrix_gives_it_also_when_it_is_built_alone(self) -> None:
        one, two = image_of(Build().run("a")), image_of(Build().run("b"))
        tags = publish_tags([one, two])
        assert tag_of(two, tags) == f"probe1-{two.key[:12]}"
        assert tag_of(one, {}) == "probe1"

    def test_labels_hold_the_key_as_it_was_built_and_the_images_own(self) -> None:
        lowered = lower(image_of(Build()), "p")
        assert labels(lowered) == {
            "dev.vep.key": lowered.key,
            "dev.vep.image": lowered.image.key,
            "dev.vep.recipe": "probe",
        }


class TestKeep:
    @pytest.mark.parametrize(
        "text", ["ghcr.io/me/layers", "localhost/layers", "127.0.0.1:5000/layers", "registry:5000/a/b-c"]
    )
    def test_what_begins_with_a_registry_is_a_repository(self, text: str) -> None:
        assert parse_keep(text) == KeepRepository(text)

    @pytest.mark.parametrize("text", ["layers", "./ghcr.io/me", "/srv/layers", "a/b", "../x", "ghcr.io"])
    def test_everything_else_is_a_directory(self, text: str) -> None:
        assert parse_keep(text) == KeepDirectory(Path(text).absolute())

    def test_a_directory_that_is_there_is_meant(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "ghcr.io" / "me").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert parse_keep("ghcr.io/me") == KeepDirectory(tmp_path / "ghcr.io" / "me")

    @pytest.mark.parametrize("text", ["", " ", "ghcr.io/Me", "ghcr.io/me:tag", "ghcr.io/"])
    def test_what_is_neither_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_keep(text)

    def test_a_layer_has_one_name_everywhere(self) -> None:
        key = "ab" * 32
        assert KeepDirectory(Path("/k")).layer(key) == Path(f"/k/{layer_tag(key)}.tar")
        assert KeepRepository("r/l").layer(key) == f"r/l:{layer_tag(key)}"
        assert len(layer_tag(key)) <= 128
