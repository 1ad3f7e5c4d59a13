"""What every builder does. A new one gets a laboratory in ``builder_labs.py``, and passes all of this."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.builders.builder_labs import Lab
from vep_dagger.dsl import JOBS, PLAIN, Alternative, Build, Image, git
from vep_dagger.errors import BuildError, MachineError

PYTHON = "/venv/bin/python"
MakeWheel = Callable[..., Path]


def image_of(build: Build, tag: str = "probe1") -> Image:
    return Image(recipe="probe", tag=tag, release="1", base=PLAIN, build=build, device="cpu")


def environment() -> Build:
    return Build().python(">=3.11")


def append(file: Path, text: str) -> tuple[str, ...]:
    return (PYTHON, "-c", f"open({str(file)!r}, 'a').write({text!r})")


def slow_once(started: Path) -> tuple[str, ...]:
    """A command that takes a minute when it runs for the first time."""
    script = (
        f"import os, time; first = not os.path.exists({str(started)!r}); "
        f"open({str(started)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(60 if first else 0)"
    )
    return (PYTHON, "-c", script)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_steps_run_in_the_order_they_are_written(lab: Lab) -> None:
    file = lab.outside / "order"
    lab.build(image_of(environment().run(*append(file, "1")).run(*append(file, "2")).run(*append(file, "3"))))
    assert file.read_text() == "123"


def test_a_variable_is_seen_by_the_steps_after_it_and_not_by_those_before(lab: Lab) -> None:
    file = lab.outside / "seen"
    see = (PYTHON, "-c", f"import os; open({str(file)!r}, 'a').write(os.environ.get('COLOUR', '-'))")
    lab.build(image_of(environment().run(*see).env(COLOUR="red").run(*see).env(COLOUR="blue").run(*see)))
    assert file.read_text() == "-redblue"


def test_the_number_of_jobs_is_put_into_commands_and_variables(lab: Lab) -> None:
    file = lab.outside / "jobs"
    see = (
        PYTHON,
        "-c",
        f"import os, sys; open({str(file)!r}, 'w').write(os.environ['MAX_JOBS'] + sys.argv[1])",
        f" -j{JOBS}",
    )
    lab.build(image_of(environment().env(MAX_JOBS=JOBS).run(*see)))
    number, flag = file.read_text().split()
    assert int(number) >= 1
    assert flag == f"-j{number}"


def test_only_exported_variables_reach_whoever_uses_the_result(lab: Lab) -> None:
    built = lab.build(image_of(environment().env(INNER="1").export(OUTER="2", WHERE="/venv/share")))
    assert built.env == {"OUTER": "2", "WHERE": built.translate("/venv/share")}


def test_the_users_own_python_settings_do_not_reach_the_build(lab: Lab, tmp_path: Path) -> None:
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "CONDA_PREFIX"):
        lab.environ[name] = str(tmp_path / "elsewhere")
    file = lab.outside / "seen"
    names = "PYTHONPATH VIRTUAL_ENV UV_PYTHON CONDA_PREFIX"
    see = (
        PYTHON,
        "-c",
        f"import os; open({str(file)!r}, 'w').write(str([n for n in {names.split()!r} if n in os.environ]))",
    )
    lab.build(image_of(environment().run(*see)))
    assert file.read_text() == "[]"


def test_a_written_file_has_its_text_and_its_mode(lab: Lab) -> None:
    script = "#!/venv/bin/python\nprint('grüße')\n"
    built = lab.build(
        image_of(environment().write("/venv/bin/greet", script, 0o755).write("/venv/etc/x", "private", 0o600))
    )
    assert lab.output(built, "/venv/bin/greet") == "grüße"
    assert lab.mode(built, "/venv/bin/greet") == 0o755
    assert lab.mode(built, "/venv/etc/x") == 0o600


def test_packages_are_installed_with_what_they_need_and_without_what_is_excluded(
    lab: Lab, make_wheel: MakeWheel
) -> None:
    make_wheel("vep-app", needs=("vep-lib>=1", "vep-unwanted"))
    make_wheel("vep-lib", "1.2")
    make_wheel("vep-unwanted")
    built = lab.build(image_of(environment().install("vep-app==1.0", excluded=("vep-unwanted",))))
    assert built.packages == {"vep-app": "1.0", "vep-lib": "1.2"}
    assert lab.output(built, PYTHON, "-c", "import vep_lib; print(vep_lib.VERSION)") == "1.2"


def test_the_first_alternative_that_resolves_is_taken_and_both_choices_are_said(
    lab: Lab, make_wheel: MakeWheel
) -> None:
    make_wheel("vep-torchy", "2.0")
    make_wheel("vep-app", needs=("vep-torchy==2.0+cpu",))
    build = environment().install(
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
    make_wheel("vep-torchy", "2.0")
    make_wheel("vep-torchy", "2.0+cpu", to=further)
    make_wheel("vep-app", needs=("vep-torchy==2.0+cpu",))
    build = environment().install(
        Alternative(("vep-app",), indexes=(str(further),), note="the CPU build"),
        Alternative(("vep-app",), overrides=("vep-torchy==2.0",), note="the ordinary build"),
        before="2020-01-01T00:00:00Z",
    )
    built = lab.build(image_of(build))
    assert built.packages["vep-torchy"] == "2.0+cpu"
    assert built.notes == ("the CPU build",)


def test_a_further_place_that_does_not_answer_is_passed_over_with_its_reason(
    lab: Lab,
    make_wheel: MakeWheel,
) -> None:
    del lab.environ["UV_OFFLINE"]
    make_wheel("vep-app")
    # Port 9 of this machine: nobody listens there, and the kernel says so at once.
    build = environment().install(
        Alternative(("vep-app==2.0",), indexes=("http://127.0.0.1:9/simple/",), note="the better one"),
        Alternative(("vep-app==1.0",), note="the plain one"),
    )
    lab.environ["UV_DEFAULT_INDEX"] = Path(lab.environ["UV_FIND_LINKS"]).as_uri()
    begin = time.monotonic()
    built = lab.build(image_of(build))
    assert time.monotonic() - begin < 30
    assert built.packages == {"vep-app": "1.0"}
    assert "Connection refused" in built.notes[0]


def test_a_mistake_in_an_alternative_is_not_hidden_by_the_next(lab: Lab, make_wheel: MakeWheel) -> None:
    make_wheel("vep-app")
    build = environment().install(Alternative(("vep-app ==== nonsense",)), Alternative(("vep-app",)))
    with pytest.raises(BuildError, match="nonsense"):
        lab.build(image_of(build))


def test_a_failing_step_is_named_with_its_exit_code_and_last_lines(lab: Lab) -> None:
    bad = (PYTHON, "-c", "import sys; print('the reason'); sys.exit(7)")
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(environment().run(PYTHON, "-c", "print('fine')").run(*bad)))
    message = caught.value.render()
    assert "probe1, step 3 of 3: run /venv/bin/python" in message
    assert "exited with 7" in message
    assert "the reason" in message
    assert "fine" not in message
    assert str(lab.log) in message
    assert "the reason" in lab.log.read_text()
    assert (lab.in_place(), lab.half_made()) == (0, 0)


def test_a_package_that_is_nowhere_fails_the_build_with_what_the_installer_said(lab: Lab) -> None:
    with pytest.raises(BuildError, match="vep-nowhere"):
        lab.build(image_of(environment().install("vep-nowhere==1.0")))
    assert (lab.in_place(), lab.half_made()) == (0, 0)


def test_an_index_that_cannot_be_reached_is_the_machines_fault_and_says_what_to_do(
    lab: Lab,
) -> None:
    del lab.environ["UV_OFFLINE"]
    lab.environ |= {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple/", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(MachineError) as caught:
        lab.build(image_of(environment().install("vep-nowhere==1.0")))
    assert "the package index cannot be reached" in caught.value.what
    assert "127.0.0.1:9" in caught.value.what
    assert caught.value.hint is not None
    assert "UV_DEFAULT_INDEX" in caught.value.hint


def test_checks_run_on_the_finished_result_and_their_output_is_in_the_manifest(lab: Lab) -> None:
    build = (
        environment().check("it speaks", PYTHON, "-c", "print('hello')", expect="hello").write("/venv/etc/late", "x")
    )
    build = build.check("all is there", PYTHON, "-c", "print(open('/venv/etc/late').read())")
    checks = lab.manifest(lab.build(image_of(build)))["checks"]
    assert [(check["name"], check["output"]) for check in checks] == [("it speaks", "hello"), ("all is there", "x")]


@pytest.mark.parametrize(
    ("script", "expect", "said"),
    [
        ("import sys; print('torn'); sys.exit(3)", None, "exited with 3"),
        ("print('torn')", "whole", "'whole' is not in"),
    ],
)
def test_a_failing_check_is_named_and_leaves_nothing(lab: Lab, script: str, expect: str | None, said: str) -> None:
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(environment().check("it is whole", PYTHON, "-c", script, expect=expect)))
    message = caught.value.render()
    assert "check 'it is whole'" in message
    assert said in message
    assert "torn" in message
    assert (lab.in_place(), lab.half_made()) == (0, 0)


def test_the_manifest_says_what_the_image_holds(lab: Lab, make_wheel: MakeWheel) -> None:
    make_wheel("vep-app")
    image = image_of(environment().install("vep-app==1.0").export(A="1"))
    built = lab.build(image)
    manifest = lab.manifest(built)
    assert manifest["image"] == image.key
    assert manifest["packages"] == {"vep-app": "1.0"}
    assert manifest["env"] == {"A": "1"}
    assert manifest["alternatives"] == ["vep-app==1.0"]
    assert [step["name"] for step in manifest["steps"]] == ["python >=3.11 at /venv", "install vep-app==1.0"]
    assert [layer.name for layer in built.layers] == [step["name"] for step in manifest["steps"]]


def test_the_same_key_is_found_and_another_is_built(lab: Lab) -> None:
    first = lab.build(image_of(environment().write("/venv/etc/x", "1")))
    again = lab.build(image_of(environment().write("/venv/etc/x", "1")))
    other = lab.build(image_of(environment().write("/venv/etc/x", "2")))
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert {layer.state for layer in first.layers} == {"built"}
    assert {layer.state for layer in again.layers} == {"cached"}
    assert again.location == first.location != other.location
    assert again.size_bytes == first.size_bytes
    assert again.key == first.key != other.key


def test_a_cache_mount_lives_from_build_to_build_and_is_no_content(lab: Lab) -> None:
    count = (
        PYTHON,
        "-c",
        "open('/cache/x', 'a').write('|'); print(len(open('/cache/x').read()), file=open('/venv/count', 'w'))",
    )
    show = ("/venv/bin/python", "-c", "print(open('/venv/count').read())")

    def build(text: str) -> Build:
        return environment().write("/venv/etc/x", text).cache("counter", "/cache").run(*count)

    lab.build(image_of(build("1")))
    second = lab.build(image_of(build("2")))
    assert lab.output(second, *show) == "2"
    assert image_of(build("1")).key == image_of(environment().write("/venv/etc/x", "1").run(*count)).key


def test_a_secret_reaches_the_commands_and_neither_log_nor_message_nor_manifest(lab: Lab) -> None:
    file = lab.outside / "told"
    tell = (
        PYTHON,
        "-c",
        f"import os; s = os.environ['SECRET_TOKEN']; print('it is', s); open({str(file)!r}, 'w').write(s)",
    )
    build = environment().secret("SECRET_TOKEN").run(*tell)
    with_check = build.check(
        "unknown here", PYTHON, "-c", "import os; print('SECRET_TOKEN' in os.environ)", expect="False"
    )
    built = lab.build(image_of(with_check))
    assert file.read_text() == "s3cr3t-value"
    assert "it is <SECRET_TOKEN>" in lab.log.read_text()
    assert "s3cr3t-value" not in lab.log.read_text() + str(lab.manifest(built))
    leak = (PYTHON, "-c", "import os, sys; sys.exit('broken ' + os.environ['SECRET_TOKEN'])")
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(build.run(*leak)))
    assert "broken <SECRET_TOKEN>" in caught.value.render()


def test_a_secret_that_is_not_there_is_named(lab: Lab) -> None:
    with pytest.raises(MachineError, match="NO_SUCH_TOKEN"):
        lab.build(image_of(environment().secret("NO_SUCH_TOKEN").run(PYTHON, "-c", "0")))


def test_a_refusal_names_the_step_and_touches_nothing(lab: Lab) -> None:
    source = git("https://example.org/x.git", "a" * 40)
    image = image_of(environment().mount(source, "/src").run("make", "-C", "/src"))
    try:
        lab.builder().refuse(image)
    except BuildError as error:
        refused = error
    else:
        pytest.skip("this builder lowers every step")
    assert "step 2, `mount /src`" in refused.what
    assert refused.hint is not None
    assert "builder" in refused.hint
    with pytest.raises(BuildError, match="mount /src"):
        lab.build(image)
    assert lab.in_place() == 0
    assert not lab.log.exists()


def test_two_processes_that_want_the_same_image_build_it_once(lab: Lab) -> None:
    ran, go = lab.outside / "ran", lab.outside / "go"
    script = (
        f"import os, time; open({str(ran)!r}, 'a').write('x\\n'); end = time.monotonic() + 60\n"
        f"while not os.path.exists({str(go)!r}) and time.monotonic() < end: time.sleep(0.05)"
    )
    image = image_of(environment().run(PYTHON, "-c", script))
    first = lab.process(image, lab.log.with_name("first.log"))
    wait_for(ran)
    second = lab.process(image, lab.log.with_name("second.log"))
    assert second.stdout is not None
    # Only once the second has found the first at work may the first go on.
    assert f"waiting for process {first.pid}" in second.stdout.readline()
    go.touch()
    said_first, said_second = first.communicate()[0], second.communicate()[0]
    assert (said_first.split()[-1], said_second.split()[-1]) == ("built", "cached")
    assert ran.read_text() == "x\n"


def test_kill_minus_nine_leaves_nothing_in_place_and_the_next_build_succeeds(lab: Lab) -> None:
    started = lab.outside / "started"
    image = image_of(environment().run(*slow_once(started)).write("/venv/etc/x", "whole"))
    process = lab.process(image, lab.log.with_name("killed.log"))
    wait_for(started)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lab.in_place() == 0
    assert lab.half_made() == 1
    assert ended(int(started.read_text())), "the command outlived the builder"
    built = lab.build(image)
    assert not built.cached
    assert lab.output(built, PYTHON, "-c", "print(open(__import__('sys').prefix + '/etc/x').read())") == "whole"
    assert lab.half_made() == 0


def test_cancelling_kills_the_command_and_leaves_nothing(lab: Lab) -> None:
    started = lab.outside / "started"
    image = image_of(environment().run(*slow_once(started)))

    async def build_and_cancel() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lab.builder().build, image, lab.log, lab.said.append)
            await anyio.to_thread.run_sync(wait_for, started)
            group.cancel_scope.cancel()

    anyio.run(build_and_cancel)
    assert ended(int(started.read_text()))
    assert (lab.in_place(), lab.half_made()) == (0, 0)
    assert not lab.build(image).cached


def test_the_result_works_in_the_place_where_it_is(lab: Lab, make_wheel: MakeWheel) -> None:
    info = "vep_tool-1.0.dist-info"
    make_wheel(
        "vep-tool",
        files={
            "vep_tool/main.py": "import sys\ndef main():\n    print('tool of', sys.prefix)\n",
            f"{info}/entry_points.txt": "[console_scripts]\nvep-tool = vep_tool.main:main\n",
        },
    )
    script = "#!/venv/bin/python\nprint(1 + 1)\n"
    foreign = f"import os; p = '/venv/bin/foreign'; open(p, 'w').write({script!r}); os.chmod(p, 0o755)"
    built = lab.build(image_of(environment().install("vep-tool").run(PYTHON, "-c", foreign)))
    assert lab.output(built, "/venv/bin/vep-tool") == f"tool of {built.translate('/venv')}"
    assert lab.output(built, "/venv/bin/foreign") == "2"
