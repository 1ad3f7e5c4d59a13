"""What every builder does whose images have a root file system: layers, what they see of each other, and what of them
is in the finished image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.builders.builder_labs import RootLab, read
from vep_dagger.dsl import JOBS, PLAIN, Build, Image, Layer, image
from vep_dagger.errors import BuildError, VepError


def image_of(*layers: Layer, **more: Any) -> Image:
    fields: dict[str, Any] = {"recipe": "probe", "tag": "probe1", "release": "1", "base": PLAIN, "build": Build()}
    return Image(layers=layers, device="cpu", **(fields | more))


def shell(build: Build, script: str) -> Build:
    return build.run("sh", "-c", script)


LISTING = """
import os, stat, sys
for top in sys.argv[1:]:
    for directory, names, files in os.walk(top):
        for path in sorted(os.path.join(directory, name) for name in [*names, *files]):
            state = os.lstat(path)
            what = f" -> {os.readlink(path)}" if stat.S_ISLNK(state.st_mode) else ""
            mode = "link" if what else oct(state.st_mode)
            print(path, mode, f"{state.st_uid}:{state.st_gid}", what)
"""


def test_of_a_layer_its_prefix_is_kept_and_nothing_else(root_lab: RootLab) -> None:
    lab = root_lab
    script = "mkdir -p /opt/one/lib /src /opt/other; touch /opt/one/lib/kept /src/gone /opt/other/gone /etc/gone"
    built = lab.build(image_of(lab.layer("one", shell(Build(), script))))
    assert lab.run(built, "ls", "/opt/one/lib") == "kept"
    assert (
        lab.run(
            built,
            *lab.script("import os; print([p for p in ('/src', '/opt/other', '/etc/gone') if os.path.exists(p)])"),
        )
        == "[]"
    )


def test_modes_links_and_empty_directories_survive_the_merge(root_lab: RootLab) -> None:
    lab = root_lab
    script = """
mkdir -p /opt/one/bin /opt/one/empty /opt/one/private 'opt/one/with space'
cd /opt/one
echo '#!/bin/sh' > bin/tool; chmod 755 bin/tool; echo x > 'with space/grüße'; chmod 640 'with space/grüße'
echo x > bin/suid; chmod 4755 bin/suid; chmod 700 private; chmod 1777 empty
ln -s tool bin/relative; ln -s /opt/one/bin/tool bin/absolute; ln -s /nowhere/at/all bin/dangling; ln -s . self
ln bin/tool bin/hard
"""
    layer = lab.layer("one", shell(Build().workdir("/"), script))
    built = lab.build(image_of(layer))
    listed = lab.run(built, *lab.script(LISTING), "/opt/one").splitlines()
    assert sorted(" ".join(line.split()) for line in listed) == sorted(
        [
            "/opt/one/bin 0o40755 0:0",
            "/opt/one/bin/tool 0o100755 0:0",
            "/opt/one/bin/hard 0o100755 0:0",
            "/opt/one/bin/suid 0o104755 0:0",
            "/opt/one/bin/relative link 0:0 -> tool",
            "/opt/one/bin/absolute link 0:0 -> /opt/one/bin/tool",
            "/opt/one/bin/dangling link 0:0 -> /nowhere/at/all",
            "/opt/one/self link 0:0 -> .",
            "/opt/one/empty 0o41777 0:0",
            "/opt/one/private 0o40700 0:0",
            "/opt/one/with space 0o40755 0:0",
            "/opt/one/with space/grüße 0o100640 0:0",
        ]
    )


def test_a_deep_prefix_has_open_parents_and_its_own_mode(root_lab: RootLab) -> None:
    lab = root_lab
    deep = lab.layer("deep", Build().write("/opt/vendor/kit/1.0/lib/x", "x"), prefix="/opt/vendor/kit/1.0")
    closed = lab.layer("closed", shell(Build(), "mkdir -p /srv/closed; chmod 750 /srv/closed"), prefix="/srv/closed")
    built = lab.build(image_of(deep, closed))
    assert [lab.mode(built, path) for path in ("/opt/vendor", "/opt/vendor/kit", "/opt/vendor/kit/1.0")] == [0o755] * 3
    assert lab.mode(built, "/srv/closed") == 0o750


def test_two_layers_may_have_prefixes_side_by_side_and_one_in_the_other(root_lab: RootLab) -> None:
    lab = root_lab
    outer = lab.layer("outer", Build().write("/opt/kit/x", "outer"), prefix="/opt/kit")
    inner = lab.layer("inner", Build().write("/opt/kit/plugins/y", "inner"), prefix="/opt/kit/plugins")
    built = lab.build(image_of(outer, inner))
    assert read(lab, built, "/opt/kit/x") + read(lab, built, "/opt/kit/plugins/y") == "outerinner"


def test_a_layer_sees_what_it_needs_and_what_that_needs_and_nothing_more(root_lab: RootLab) -> None:
    lab = root_lab
    one = lab.layer("one", Build().write("/opt/one/x", "1").export(OF_ONE="one").env(INNER="1"))
    two = lab.layer("two", shell(Build(), "mkdir -p /opt/two; cp /opt/one/x /opt/two/x").export(OF_TWO="two"), one)
    stranger = lab.layer("stranger", Build().write("/opt/stranger/x", "s").export(OF_STRANGER="s"))
    look = (
        "mkdir -p /opt/three; cat /opt/one/x /opt/two/x > /opt/three/x; ls /opt > /opt/three/opt; env > /opt/three/env"
    )
    three = lab.layer("three", shell(Build(), look), two)
    built = lab.build(image_of(three, stranger))
    assert read(lab, built, "/opt/three/x") == "11"
    seen = dict(line.split("=", 1) for line in read(lab, built, "/opt/three/env").splitlines() if "=" in line)
    assert (seen.get("OF_ONE"), seen.get("OF_TWO")) == ("one", "two")
    assert {"OF_STRANGER", "INNER"}.isdisjoint(seen)
    assert "stranger" not in read(lab, built, "/opt/three/opt")
    # In the image is what its recipe lists: a need that it does not list was there for the build.
    assert (
        lab.run(built, *lab.script("import os; print([d for d in ('one', 'two') if os.path.exists('/opt/' + d)])"))
        == "[]"
    )


def test_the_loader_finds_libraries_and_programs_are_on_the_path(root_lab: RootLab) -> None:
    lab = root_lab
    library = Build().write("/src/a.c", "int answer(void) { return 42; }\n")
    library = library.run("mkdir", "-p", "/opt/lib/lib").run(
        "cc", "-shared", "-o", "/opt/lib/lib/libanswer.so", "/src/a.c"
    )
    one = lab.layer("lib", library.library("/opt/lib/lib"))
    code = '#include <stdio.h>\nint answer(void); int main(void) { printf("%d\\n", answer()); return 0; }\n'
    program = Build().write("/src/b.c", code).run("mkdir", "-p", "/opt/tool/bin")
    program = program.run("cc", "-o", "/opt/tool/bin/ask", "/src/b.c", "-L/opt/lib/lib", "-lanswer")
    two = lab.layer("tool", program.program("/opt/tool/bin"), one)
    # A layer that needs it runs the program, which the loader and PATH find there too.
    three = lab.layer("asked", shell(Build(), "mkdir -p /opt/asked; ask > /opt/asked/answer"), two)
    built = lab.build(image_of(one, two, three, build=Build().check("it answers", "ask", expect="42")))
    assert lab.run(built, "ask") == "42"
    assert read(lab, built, "/opt/asked/answer") == "42"
    assert lab.run(built, "env", "-i", "/opt/tool/bin/ask") == "42"
    assert "LD_LIBRARY_PATH" not in lab.run(built, "env")
    path = lab.run(built, *lab.script("import os; print(os.environ['PATH'])"))
    assert path.split(":")[0] == "/opt/tool/bin"
    assert "/usr/bin" in path.split(":")


def test_base_layers_are_whole_systems_whose_files_and_variables_stay(root_lab: RootLab) -> None:
    lab = root_lab
    tool = Build().write("/usr/local/kit/bin/kit", "#!/bin/sh\necho kit\n", 0o755)
    tool = shell(tool, "echo low > /etc/vep-low").export(LEVEL="low", LOW="1").program("/usr/local/kit/bin")
    low = lab.layer("low", tool, prefix="/")
    high = lab.layer("high", shell(Build(), "echo $LEVEL > /etc/vep-high").export(LEVEL="high"), prefix="/", base=low)
    part = lab.layer(
        "part",
        shell(Build(), "mkdir -p /opt/part; echo $LEVEL $LOW $(kit) $(cat /etc/vep-low) > /opt/part/x"),
        base=high,
    )
    built = lab.build(image_of(part, base=high, build=Build().export(LEVEL="image")))
    assert read(lab, built, "/opt/part/x") == "high 1 kit low"
    assert read(lab, built, "/etc/vep-low") + read(lab, built, "/etc/vep-high") == "lowlow"
    assert built.env.items() >= {"LEVEL": "image", "LOW": "1"}.items()
    assert lab.run(built, "sh", "-c", "echo $LEVEL $LOW $(kit)") == "image 1 kit"


def test_the_working_directory_is_made_and_holds_until_the_next(root_lab: RootLab) -> None:
    lab = root_lab
    build = shell(Build().workdir("/job/deep"), "pwd > here; mkdir -p /opt/one")
    build = shell(shell(build, "cp here /opt/one/first; cd /tmp").workdir("/opt/one"), "pwd > second")
    built = lab.build(image_of(lab.layer("one", build)))
    assert read(lab, built, "/opt/one/first") + read(lab, built, "/opt/one/second") == "/job/deep/opt/one"


def test_a_failing_step_of_a_layer_names_the_layer_and_what_was_built_stays(root_lab: RootLab) -> None:
    lab = root_lab
    good = lab.layer("good", Build().write("/opt/good/x", "1").run("true"))
    bad = lab.layer("bad", shell(Build(), "echo the reason; echo and more >&2; exit 7"), good)
    with pytest.raises(BuildError) as caught:
        lab.build(image_of(good, bad))
    error = caught.value
    assert (error.layer, error.code, error.exit_code) == ("bad", 7, 1)
    assert "exit 7" in (error.command or "")
    assert {"the reason", "and more"} <= set(error.output)
    message = error.render()
    assert all(said in message for said in ("probe1", "bad", "exit 7", "exited with 7", "the reason", str(lab.log)))
    assert error.hint, "how to get a shell there"
    assert {layer.name: layer.state for layer in lab.heard}.get("bad") == "failed"
    assert lab.states(lab.build(image_of(good)))["good"] == "cached"


def test_layers_that_do_not_need_each_other_are_built_at_the_same_time(root_lab: RootLab) -> None:
    lab = root_lab

    def meet(me: str, other: str) -> Build:
        # Each waits for the other: one after the other, they would never end.
        script = f"touch /meet/{me}; for i in $(seq 300); do [ -e /meet/{other} ] && break; sleep 0.1; done; "
        done = f"[ -e /meet/{other} ]; mkdir -p /opt/{me}; touch /opt/{me}/x"
        return shell(Build().cache(f"meet-{lab.fresh}", "/meet"), f"set -e; {script}{done}")

    built = lab.build(image_of(lab.layer("left", meet("left", "right")), lab.layer("right", meet("right", "left"))))
    assert {name: state for name, state in lab.states(built).items() if name in ("left", "right")} == {
        "left": "built",
        "right": "built",
    }


def test_only_what_needs_a_changed_layer_is_built_again(root_lab: RootLab) -> None:
    lab = root_lab

    def stack(text: str) -> Image:
        one = lab.layer("one", shell(Build(), "mkdir -p /opt/one; date +%N > /opt/one/x"))
        two = lab.layer("two", shell(Build(), f"mkdir -p /opt/two; echo {text} > /opt/two/x"), one)
        three = lab.layer("three", shell(Build(), "mkdir -p /opt/three; cat /opt/two/x > /opt/three/x"), two)
        four = lab.layer("four", shell(Build(), "mkdir -p /opt/four; date +%N > /opt/four/x"), one)
        return image_of(one, two, three, four)

    first = lab.build(stack("a"))
    again = lab.build(stack("a"))
    assert again.cached
    assert set(lab.states(again).values()) == {"cached"}
    changed = lab.build(stack("b"))
    states = lab.states(changed)
    assert {name: states[name] for name in ("one", "two", "three", "four")} == {
        "one": "cached",
        "two": "built",
        "three": "built",
        "four": "cached",
    }
    assert not changed.cached
    assert read(lab, changed, "/opt/three/x") == "b"
    for same in ("/opt/one/x", "/opt/four/x"):
        assert read(lab, changed, same) == read(lab, first, same)


def test_jobs_mirrors_caches_and_surroundings_rebuild_nothing(root_lab: RootLab) -> None:
    lab = root_lab

    def stack() -> Image:
        build = shell(Build().env(MAX_JOBS=JOBS), f"echo -j{JOBS} $MAX_JOBS; mkdir -p /opt/one; date +%N > /opt/one/x")
        return image_of(lab.layer("one", build))

    first = lab.build(stack())
    lab.change(mirrors={"https://example.org/": "https://elsewhere.example.org/"})
    lab.environ |= {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "*", "MAX_JOBS": "1", "VEP_JOBS": "1"}
    second = lab.build(stack())
    assert second.cached
    assert read(lab, second, "/opt/one/x") == read(lab, first, "/opt/one/x")


def test_two_images_built_at_once_build_their_common_layer_once(root_lab: RootLab) -> None:
    lab = root_lab
    common = lab.layer("common", shell(Build(), "sleep 1; mkdir -p /opt/common; date +%N > /opt/common/x"))
    mine = lab.layer("mine", shell(Build(), "mkdir -p /opt/mine; cp /opt/common/x /opt/mine/x"), common)
    yours = lab.layer("yours", shell(Build(), "mkdir -p /opt/yours; cp /opt/common/x /opt/yours/x"), common)
    one, two = lab.build_all(image_of(common, mine, tag="a"), image_of(common, yours, tag="b"))
    numbers = {read(lab, one, "/opt/mine/x"), read(lab, two, "/opt/yours/x"), read(lab, one, "/opt/common/x")}
    assert len(numbers) == 1


def test_a_secret_of_a_layer_is_nowhere_in_the_image(root_lab: RootLab) -> None:
    lab = root_lab
    build = shell(
        Build().secret("SECRET_TOKEN"), 'mkdir -p /opt/one; printf %s "$SECRET_TOKEN" | wc -c > /opt/one/length'
    )
    one = lab.layer("one", build)
    two = lab.layer("two", shell(Build(), "mkdir -p /opt/two; env > /opt/two/env; ls -R /run > /opt/two/run"), one)
    built = lab.build(image_of(one, two))
    assert read(lab, built, "/opt/one/length").strip() == str(len("s3cr3t-value"))
    find = "grep -rl s3cr3t-value --exclude-dir={proc,sys,dev} / 2>/dev/null; env | grep s3cr3t; true"
    assert lab.run(built, "bash", "-c", find) == ""
    assert "s3cr3t-value" not in lab.log.read_text() + "".join(lab.said)
    assert "SECRET_TOKEN" not in read(lab, built, "/opt/two/env")


def test_nothing_of_the_way_of_building_is_in_the_image(root_lab: RootLab) -> None:
    lab = root_lab
    lab.environ |= {"HTTPS_PROXY": "http://127.0.0.1:9/told", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/index"}
    built = lab.build(image_of(lab.layer("one", shell(Build(), "mkdir -p /opt/one; touch /opt/one/x"))))
    left = "ls -d /run/vep* /opt/vep/* 2>/dev/null; env | grep -i -e proxy -e vep_jobs -e uv_ -e ssl_cert; true"
    assert lab.run(built, "sh", "-c", left) == "/opt/vep/manifest.json"


def test_the_manifest_names_layers_with_keys_bases_and_needs(root_lab: RootLab) -> None:
    lab = root_lab
    one = lab.layer("one", Build().write("/opt/one/x", "1").check("of one", "cat", "/opt/one/x", expect="1"))
    two = lab.layer("two", Build().write("/opt/two/x", "2").library("/opt/two/lib"), one)
    image = image_of(one, two)
    manifest = lab.manifest(lab.build(image))
    assert manifest["image"] == image.key
    assert manifest["builder"] == lab.name
    assert [(entry["name"], entry["layer"], entry["needs"]) for entry in manifest["layers"]] == [
        ("one", one.key, []),
        ("two", two.key, ["one"]),
    ]
    assert manifest["base"]["plain"]
    assert manifest["base"]["digest"].startswith("sha256:")
    assert manifest["libraries"] == ["/opt/two/lib"]
    assert [check["name"] for check in manifest["checks"]] == ["of one"]


def test_a_base_that_is_not_there_is_said_with_its_name(root_lab: RootLab) -> None:
    missing = image("127.0.0.1:9/no/such:1", "sha256:" + "0" * 64)
    with pytest.raises(VepError) as caught:
        root_lab.build(image_of(root_lab.layer("one", Build().write("/opt/one/x", "1"), base=missing)))
    assert "127.0.0.1:9/no/such" in caught.value.render()
    assert caught.value.hint


def test_a_base_without_a_digest_is_refused(root_lab: RootLab) -> None:
    unresolved = image_of(root_lab.layer("one", Build().write("/opt/one/x", "1"), base=image("debian:12")))
    with pytest.raises(BuildError, match="debian:12"):
        root_lab.builder().refuse(unresolved)
    with pytest.raises(BuildError, match="debian:12"):
        root_lab.build(unresolved)


def test_a_layer_that_leaves_no_prefix_fails_and_is_named(root_lab: RootLab) -> None:
    with pytest.raises(BuildError, match="/opt/empty"):
        root_lab.build(image_of(root_lab.layer("empty", shell(Build(), "true"))))


def test_the_plain_base_is_in_the_key_of_what_is_built_on_it(root_lab: RootLab) -> None:
    one = root_lab.layer("one", Build().write("/opt/one/x", "1"))
    built = root_lab.build(image_of(one))
    entry = root_lab.manifest(built)["layers"][0]
    assert entry["layer"] == one.key != entry["key"]
    assert replace(one, base=image("debian:12", "sha256:" + "0" * 64)).key != one.key
