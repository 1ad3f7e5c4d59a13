"""What every builder tells of images that have a root file system, and what it keeps to itself."""

from __future__ import annotations

import pytest

from tests.builders.builder_labs import RootLab
from vep_dagger.dsl import PLAIN, Build, Image
from vep_dagger.errors import BuildError


def test_sizes_of_layers_are_told_of_what_was_built_and_of_what_was_found(root_lab: RootLab) -> None:
    lab = root_lab
    large = lab.layer("large", Build().run("sh", "-c", "mkdir -p /opt/large; head -c 300000 /dev/zero > /opt/large/x"))
    small = lab.layer("small", Build().run("mkdir", "-p", "/opt/small"))
    image = Image("probe", "probe1", "1", PLAIN, Build(), (large, small), device="cpu")
    for built in (lab.build(image), lab.build(image)):
        sizes = {layer.name: layer.size_bytes for layer in built.layers}
        assert (sizes["large"], sizes["small"]) == (300_000, 0)
    assert "vep" not in lab.run(built, "ls", "-A", "/run")


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
