"""What every builder does. A new one gets a laboratory in ``builder_labs.py``, and passes all of this.

What is asked of builders whose images have a root file system is in ``test_conformance_layers.py`` and
``test_conformance_sources.py``; what of Python environments in ``test_conformance_python.py``; what of results in a
directory of ours in ``test_conformance_own_cache.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.builder_labs import Lab, read
from vep_dagger.dsl import JOBS, PLAIN, Build, Image
from vep_dagger.errors import BuildError, MachineError


def image_of(build: Build, tag: str = "probe1") -> Image:
    return Image(recipe="probe", tag=tag, release="1", base=PLAIN, build=build, device="cpu")


def append(lab: Lab, name: str, what: str) -> tuple[str, ...]:
    """A command that adds the value of an expression to a file of the lab's place."""
    return lab.script(f"import os, sys; open('{lab.place}/{name}', 'a').write({what})")


def test_steps_run_in_the_order_they_are_written(lab: Lab) -> None:
    one, two, three = (append(lab, "order", repr(text)) for text in "123")
    built = lab.build(image_of(lab.begin.run(*one).run(*two).run(*three)))
    assert read(lab, built, f"{lab.place}/order") == "123"


def test_arguments_reach_a_command_as_they_are_written(lab: Lab) -> None:
    words = ["a b", "$HOME", "`id`", "it's", '"', "", "*", "\\", "grüße", "two\nlines", "#", "~"]
    see = (*append(lab, "words", "repr(sys.argv[1:])"), *words)
    built = lab.build(image_of(lab.begin.run(*see)))
    assert read(lab, built, f"{lab.place}/words") == repr(words)


def test_a_variable_is_seen_by_the_steps_after_it_and_not_by_those_before(lab: Lab) -> None:
    see = append(lab, "seen", "os.environ.get('COLOUR', '-')")
    built = lab.build(image_of(lab.begin.run(*see).env(COLOUR="red").run(*see).env(COLOUR="blue $x 'y'").run(*see)))
    assert read(lab, built, f"{lab.place}/seen") == "-redblue $x 'y'"


def test_the_number_of_jobs_is_put_into_commands_and_variables(lab: Lab) -> None:
    see = (*append(lab, "jobs", "os.environ['MAX_JOBS'] + sys.argv[1]"), f" -j{JOBS}")
    built = lab.build(image_of(lab.begin.env(MAX_JOBS=JOBS).run(*see)))
    number, flag = read(lab, built, f"{lab.place}/jobs").split()
    assert int(number) >= 1
    assert flag == f"-j{number}"


def test_only_exported_variables_reach_whoever_uses_the_result(lab: Lab) -> None:
    built = lab.build(image_of(lab.begin.env(INNER="1").export(OUTER="2 $x", WHERE=f"{lab.place}/share")))
    told = {name: value for name, value in built.env.items() if name != "PATH"}
    assert told == {"OUTER": "2 $x", "WHERE": built.translate(f"{lab.place}/share")}
    see = lab.script("import os; print([os.environ.get(name) for name in ('INNER', 'OUTER', 'WHERE', 'MAX_JOBS')])")
    assert lab.run(built, *see) == str([None, "2 $x", built.translate(f"{lab.place}/share"), None])


def test_the_users_own_python_settings_do_not_reach_the_build(lab: Lab, tmp_path: Path) -> None:
    names = ["PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "CONDA_PREFIX"]
    lab.environ |= dict.fromkeys(names, str(tmp_path / "elsewhere"))
    see = append(lab, "seen", f"str([name for name in {names!r} if name in os.environ])")
    built = lab.build(image_of(lab.begin.run(*see)))
    assert read(lab, built, f"{lab.place}/seen") == "[]"


def test_a_written_file_has_its_text_and_its_mode_and_its_directories_are_open(lab: Lab) -> None:
    text = "grüße\n$HOME `id` 'x' \\n\tEOF\n\n"
    build = lab.begin.write(f"{lab.place}/deep/er/x", text).write(f"{lab.place}/bin/y", "#!/bin/sh\necho y\n", 0o755)
    build = build.write(f"{lab.place}/private", "", 0o600).write(f"{lab.place}/deep/z", "no newline")
    show = lab.script(f"print(ascii([open('{lab.place}/deep/' + name).read() for name in ('er/x', 'z')]))")
    built = lab.build(image_of(build))
    assert lab.run(built, *show) == ascii([text, "no newline"])
    assert lab.run(built, f"{lab.place}/bin/y") == "y"
    paths = ("deep/er/x", "bin/y", "private", "deep", "deep/er")
    assert [lab.mode(built, f"{lab.place}/{path}") for path in paths] == [0o644, 0o755, 0o600, 0o755, 0o755]


def test_a_later_file_replaces_what_an_earlier_step_left(lab: Lab) -> None:
    file = f"{lab.place}/x"
    build = lab.begin.write(file, "one", 0o600).run(*append(lab, "x", "'+'")).write(file, "two")
    built = lab.build(image_of(build))
    assert (read(lab, built, file), lab.mode(built, file)) == ("two", 0o644)


def test_a_failing_step_is_named_with_its_exit_code_and_last_lines(lab: Lab) -> None:
    fine = lab.script("print('all was well')")
    bad = lab.script("import os; os.system('echo the reason; echo on stderr >&2'); exit(7)")
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(lab.begin.run(*fine).run(*bad).run(*fine)))
    message = caught.value.render()
    assert "probe1" in message
    assert "exit(7)" in message
    assert "exited with 7" in message
    assert "the reason" in message
    assert "on stderr" in message
    assert "well\n" not in message
    assert str(lab.log) in message
    assert "the reason" in lab.log.read_text()
    assert caught.value.code == 7
    assert "exit(7)" in (caught.value.command or "")
    assert {"the reason", "on stderr"} <= set(caught.value.output)


def test_a_long_output_of_a_failing_step_is_in_the_log_and_its_end_in_the_message(lab: Lab) -> None:
    bad = lab.script("import sys; [print('line', n) for n in range(500)]; sys.exit(1)")
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(lab.begin.run(*bad)))
    assert "line 499" in caught.value.render()
    assert "line 17\n" not in caught.value.render()
    assert "line 17\n" in lab.log.read_text()


def test_a_program_that_is_not_there_fails_its_step(lab: Lab) -> None:
    with pytest.raises(BuildError, match="no-such-program"):
        lab.build(image_of(lab.begin.run(f"{lab.place}/bin/no-such-program")))


def test_checks_run_on_the_finished_result_and_their_output_is_in_the_manifest(lab: Lab) -> None:
    build = lab.begin.check("it speaks", *lab.script("print('hello')"), expect="hello")
    build = build.check("all is there", *lab.script(f"print(open('{lab.place}/late').read())"))
    built = lab.build(image_of(build.write(f"{lab.place}/late", "x")))
    checks = lab.manifest(built)["checks"]
    assert [(check["name"], check["output"]) for check in checks] == [("it speaks", "hello"), ("all is there", "x")]


@pytest.mark.parametrize(
    ("script", "expect", "said"),
    [
        ("import sys; print('torn'); sys.exit(3)", None, "exited with 3"),
        ("print('torn')", "whole", "'whole' is not in"),
    ],
)
def test_a_failing_check_is_named(lab: Lab, script: str, expect: str | None, said: str) -> None:
    image = image_of(lab.begin.check("it is whole", *lab.script(script), expect=expect))
    for _ in range(2):  # what failed is not taken for finished the next time
        with pytest.raises(BuildError) as caught:
            lab.build(image)
        message = caught.value.render()
        assert "check 'it is whole'" in message
        assert said in message
        assert "torn" in message


def test_the_manifest_says_what_the_image_holds(lab: Lab) -> None:
    image = image_of(lab.begin.write(f"{lab.place}/x", "1").export(A="1"))
    built = lab.build(image)
    manifest = lab.manifest(built)
    assert (manifest["image"], manifest["recipe"], manifest["tag"]) == (image.key, "probe", "probe1")
    assert manifest["env"] == {"A": "1"}


def test_the_same_key_is_found_and_another_is_built(lab: Lab) -> None:
    def image(text: str) -> Image:
        return image_of(lab.begin.write(f"{lab.place}/x", text).run(*append(lab, "x", "'+'")))

    first, again, other = lab.build(image("1")), lab.build(image("1")), lab.build(image("2"))
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert "built" in {layer.state for layer in first.layers}
    assert {layer.state for layer in again.layers} == {"cached"}
    assert [layer.name for layer in again.layers] == [layer.name for layer in first.layers]
    assert again.key == first.key != other.key
    assert (read(lab, again, f"{lab.place}/x"), read(lab, other, f"{lab.place}/x")) == ("1+", "2+")


def test_layers_are_told_of_when_they_begin_and_when_they_end(lab: Lab) -> None:
    image = image_of(lab.begin.run(*append(lab, "x", "'1'")))
    built = lab.build(image)
    ends = [layer for layer in lab.heard if layer.state != "building"]
    assert {(layer.name, layer.key, layer.state) for layer in ends} == {
        (layer.name, layer.key, layer.state) for layer in built.layers
    }
    new = next(layer.name for layer in built.layers if layer.state == "built")
    states = [layer.state for layer in lab.heard if layer.name == new]
    assert (states[0], states[-1]) == ("building", "built")
    found = lab.build(image)
    again = [layer.state for layer in lab.heard if layer.state != "building"]
    assert again == ["cached"] * len(found.layers)


def test_ways_to_build_make_no_new_build(lab: Lab) -> None:
    plain = lab.begin.run(*append(lab, "x", "'1'"))
    first = lab.build(image_of(plain))
    told = lab.begin.cache(f"cache-{first.key[:8]}", "/cache").secret("SECRET_TOKEN").run(*append(lab, "x", "'1'"))
    assert image_of(plain).key == image_of(told).key
    assert lab.build(image_of(plain)).cached
    lab.environ |= {"SECRET_TOKEN": "another", "HTTP_PROXY": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "1"}
    assert lab.build(image_of(plain)).cached


def test_a_cache_mount_lives_from_build_to_build_and_is_no_content(lab: Lab) -> None:
    count = lab.script(
        f"open('/cache/x', 'a').write('|'); print(len(open('/cache/x').read()), file=open('{lab.place}/count', 'w'))"
    )
    name = f"counter-{image_of(lab.begin).key[:12]}"

    def build(text: str) -> Image:
        return image_of(lab.begin.write(f"{lab.place}/x", text).cache(name, "/cache").run(*count))

    lab.build(build("1"))
    second = lab.build(build("2"))
    assert read(lab, second, f"{lab.place}/count").strip() == "2"
    assert lab.run(second, *lab.script("import os; print(os.path.exists('/cache/x'))")) == "False"


def test_a_secret_reaches_the_commands_and_neither_log_nor_message_nor_manifest(lab: Lab) -> None:
    tell = lab.script(
        f"import os; s = os.environ['SECRET_TOKEN']; print('it is', s); open('{lab.place}/told', 'w').write(s[::-1])"
    )
    build = lab.begin.secret("SECRET_TOKEN").run(*tell)
    unknown = lab.script("import os; print('SECRET_TOKEN' in os.environ)")
    built = lab.build(image_of(build.check("unknown here", *unknown, expect="False")))
    assert read(lab, built, f"{lab.place}/told") == "s3cr3t-value"[::-1]
    assert "it is <SECRET_TOKEN>" in lab.log.read_text()
    assert "s3cr3t-value" not in lab.log.read_text() + str(lab.manifest(built)) + "".join(lab.said) + repr(built)
    assert lab.run(built, *unknown) == "False"
    leak = lab.script("import os, sys; sys.exit('broken ' + os.environ['SECRET_TOKEN'])")
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(build.run(*leak)))
    assert "broken <SECRET_TOKEN>" in caught.value.render()
    assert "s3cr3t-value" not in caught.value.render() + repr(caught.value.output) + lab.log.read_text()


def test_a_secret_that_is_not_there_is_named(lab: Lab) -> None:
    with pytest.raises(MachineError, match="NO_SUCH_TOKEN"):
        lab.build(image_of(lab.begin.secret("NO_SUCH_TOKEN").run(*lab.script("0"))))


def test_a_builder_is_ready_before_it_builds(lab: Lab) -> None:
    image = image_of(lab.begin.run(*append(lab, "x", "'1'")))
    lab.ready(image)
    assert not lab.build(image).cached
