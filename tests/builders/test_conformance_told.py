"""What every builder tells of images that have a root file system, and what it keeps to itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.builder_labs import RootLab
from vep_dagger.builders.checks import UNOWNED
from vep_dagger.dsl import PLAIN, Alternative, Build, Image
from vep_dagger.errors import BuildError

MakeWheel = Callable[..., Path]


def test_sizes_of_layers_are_told_of_what_was_built_and_of_what_was_found(root_lab: RootLab) -> None:
    lab = root_lab
    large = lab.layer("large", Build().run("sh", "-c", "mkdir -p /opt/large; head -c 300000 /dev/zero > /opt/large/x"))
    small = lab.layer("small", Build().run("mkdir", "-p", "/opt/small"))
    image = Image("probe", "probe1", "1", PLAIN, Build(), (large, small), device="cpu")
    for built in (lab.build(image), lab.build(image)):
        sizes = {layer.name: layer.size_bytes for layer in built.layers}
        assert (sizes["large"], sizes["small"]) == (300_000, 0)
    assert "vep" not in lab.run(built, "ls", "-A", "/run")


def test_the_size_of_a_python_environment_is_told_by_the_parts_that_it_was_installed_in(
    root_lab: RootLab, make_wheel: MakeWheel
) -> None:
    lab = root_lab
    wheels = (
        make_wheel("vep-app", needs=("vep-big-lib",)),
        make_wheel("vep-big-lib", files={"vep_big_lib/data": "x" * 300_000}),
    )
    build, places = lab.wheels(lab.begin.python(">=3.11"), *wheels)
    way = Alternative(("vep-app",), indexes=places)
    build = build.install(way, parts={"libraries": ("vep-big-*",), "the app": ("*",)})
    image = Image("probe", "probe1", "1", PLAIN, build, device="cpu")
    for built in (lab.build(image), lab.build(image)):
        told = next(layer for layer in built.layers if layer.name == "environment")
        assert list(told.parts) == ["libraries", "the app", UNOWNED]
        assert 300_000 < told.parts["libraries"] < 302_000
        assert 0 < told.parts["the app"] < 2000
        files = "find /venv -type f -printf '%s\n' | awk '{ bytes += $1 } END { print bytes }'"
        assert sum(told.parts.values()) == told.size_bytes == int(lab.run(built, "sh", "-c", files))
        manifest = lab.manifest(built)
        assert (manifest["environment_bytes"], manifest["environment_parts"]) == (told.size_bytes, dict(told.parts))


def test_the_distributions_packages_are_in_the_manifest_where_there_is_dpkg(root_lab: RootLab) -> None:
    lab = root_lab
    package = "Package: vep-probe\nVersion: 1:2.0-3\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: a probe\n"
    make = "dpkg-deb --build /probe /probe.deb; dpkg --install /probe.deb; rm -r /probe /probe.deb"
    build = lab.begin.write("/probe/DEBIAN/control", package).run("sh", "-ec", make)
    built = lab.build(Image("probe", "probe1", "1", PLAIN, build, device="cpu"))
    manifest = lab.manifest(built)
    assert manifest["system_packages"]["vep-probe"] == "1:2.0-3"
    line = "${binary:Package}=${Version}\\n"
    told = lab.run(built, "sh", "-c", f"dpkg-query -W -f '{line}' | LC_ALL=C sort | tee /tmp/list; sha256sum /tmp/list")
    *lines, digest = told.split("\n")[:-1] if told.endswith("\n") else told.split("\n")
    assert [f"{name}={version}" for name, version in manifest["system_packages"].items()] == lines
    assert manifest["system_digest"] == digest.split()[0]
    without = build.run("sh", "-c", "rm $(command -v dpkg-query)")
    manifest = lab.manifest(lab.build(Image("probe", "probe2", "1", PLAIN, without, device="cpu")))
    assert not {"system_packages", "system_digest"} & set(manifest)


def test_credentials_of_package_indexes_are_in_no_log_message_or_manifest(root_lab: RootLab) -> None:
    lab = root_lab
    password, token = f"pw-{lab.fresh}", f"token-{lab.fresh}"
    lab.environ |= {
        "UV_INDEX_MINE_PASSWORD": password,
        "UV_DEFAULT_INDEX": f"https://me:{token}@example.org/simple",
    }
    # In pieces, so that no engine knows it by the whole file or a whole line of it.
    show = "echo said $UV_INDEX_MINE_PASSWORD; echo at ${UV_DEFAULT_INDEX#*me:}"
    image = Image("probe", "probe1", "1", PLAIN, lab.begin.run("sh", "-c", f"{show}; exit 3"), device="cpu")
    with pytest.raises(BuildError) as caught:
        lab.build(image)
    error = caught.value
    told = "\n".join([error.render(), *error.output, *lab.said, lab.log.read_text()])
    assert "said <" in told
    assert password not in told
    assert token not in told
