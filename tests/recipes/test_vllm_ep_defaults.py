"""What ``vllm-ep`` takes for a pin that nobody wrote: what fits the vLLM release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vep_dagger.compat import Compat
from vep_dagger.dsl import GitSource, HttpSource, Image, Layer, Source
from vep_dagger.layers import kernels
from vep_dagger.layers.vllm import has_wheel
from vep_dagger.matrix import Matrix
from vep_dagger.plan.planner import make_plan
from vep_dagger.recipes.vllm_ep import vllm_ep
from vep_dagger.recipes.vllm_ep_pins import VllmEpPins

RELEASES = [release for release in Compat.shipped().releases if release not in ("0.9.0", "0.9.1")]


def pins(vllm: str, **written: Any) -> VllmEpPins:
    return VllmEpPins.model_validate({"vllm": vllm, **written})


def sources(made: Image) -> dict[str, Source]:
    """Every source of every layer, by its address."""
    found: dict[str, Source] = {}
    todo = [*made.layers]
    while todo:
        layer = todo.pop()
        todo += layer.needs
        found |= {source.url: source for source in layer.build.sources if isinstance(source, (GitSource, HttpSource))}
    return found


@pytest.mark.parametrize("vllm", [*RELEASES, "0.15.0", "0.34.0"])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_a_release_alone_is_an_image_with_the_kernels_that_it_uses(vllm: str, platform: str) -> None:
    if not has_wheel(vllm, platform):
        return  # nobody could install it there
    made = vllm_ep.image({"vllm": vllm, "platform": platform})

    assert {"pplx", "deepgemm", "deepep"} & {layer.name for layer in made.layers} == kernels.used_by(vllm)
    assert isinstance(made.base, Layer)
    assert f"nvidia/cuda:{pins(vllm).cuda.version}-runtime" in str(made.base.base)


def test_one_matrix_over_all_releases_plans_each_cell_and_none_is_impossible(tmp_path: Path) -> None:
    file = tmp_path / "matrix.toml"
    file.write_text(
        f'recipe = "vllm-ep"\n[axes]\nvllm = {json.dumps(RELEASES)}\ndeep_gemm = [true, false]\n'
        '[serve]\nmodel = "some/model"\n',
        encoding="utf-8",
    )

    plan = make_plan(Matrix.load(file))

    assert len(plan.cells) == 2 * len(RELEASES)
    assert {cell.cell.slug: cell.impossible for cell in plan.cells if cell.impossible} == {}
    assert len(plan.images) == len(RELEASES)


@pytest.mark.parametrize(
    ("vllm", "cuda", "nccl", "nvshmem", "pplx", "deepgemm", "deepep"),
    [
        ("0.10.1.1", "12.8.1", "v2.27.7-1", "3.3.9", "12cecfd", "7b6b556", "c18eabd"),
        ("0.11.0", "12.8.1", "v2.27.7-1", "3.3.9", "c336faf", "ea9c5d9", "e3908bf"),
        ("0.13.0", "12.9.1", "v2.27.7-1", "3.3.20", "12cecfd", "594953a", "73b6ea4"),
        ("0.16.0", "12.9.1", "v2.27.7-1", "3.3.20", "12cecfd", "477618c", "73b6ea4"),
        ("0.19.0", "12.9.1", "v2.27.7-1", "3.4.5", None, "477618c", "73b6ea4"),
        ("0.20.0", "13.0.2", "v2.28.9-1", "3.4.5", None, None, "73b6ea4"),
        ("0.33.0", "13.0.3", "v2.30.7-1", "3.4.5", None, None, "d4f41e4"),
    ],
)
def test_what_nobody_pins_follows_the_release(
    vllm: str, cuda: str, nccl: str, nvshmem: str, pplx: str | None, deepgemm: str | None, deepep: str
) -> None:
    made = pins(vllm)

    assert (made.cuda.version, made.nccl.version, made.nvshmem.release) == (cuda, nccl, nvshmem)
    for component, commit in ((made.pplx, pplx), (made.deepgemm, deepgemm), (made.deepep, deepep)):
        assert component is None if commit is None else component and component.commit.startswith(commit)


def test_what_is_written_wins_key_by_key_and_is_all_that_counts_as_written() -> None:
    made = pins("0.20.0", nccl={"gencode": ["90"]}, deepep="d" * 40, cuda={"distribution": "ubuntu24.04"})

    assert (made.nccl.version, made.nccl.gencode) == ("v2.28.9-1", ("90",))
    assert (made.cuda.version, made.cuda.distribution) == ("13.0.2", "ubuntu24.04")
    assert made.deepep is not None
    assert made.deepep.commit == "d" * 40
    assert made.model_fields_set == {"vllm", "nccl", "deepep", "cuda"}
    assert made.nccl.model_fields_set == {"gencode"}
    assert made.nvshmem.model_fields_set == set()


@pytest.mark.parametrize(
    ("vllm", "platform", "name"),
    [
        ("0.11.1", "linux/amd64", "nvidia_nvshmem_cu12-3.3.20-py3-none-manylinux2014_x86_64"),
        ("0.16.0", "linux/arm64", "nvidia_nvshmem_cu12-3.3.20-py3-none-manylinux2014_aarch64"),
        ("0.17.0", "linux/amd64", "nvidia_nvshmem_cu12-3.4.5-py3-none-manylinux2014_x86_64"),
        ("0.33.0", "linux/arm64", "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_aarch64"),
    ],
)
def test_where_torch_brings_an_nvshmem_the_image_has_the_wheel_of_that_one_with_its_hash(
    vllm: str, platform: str, name: str
) -> None:
    made = vllm_ep.image({"vllm": vllm, "platform": platform})

    (wheel,) = [source for url, source in sources(made).items() if "nvshmem" in url]
    assert isinstance(wheel, HttpSource)
    assert name in wheel.url
    assert wheel.sha256
    release = Compat.shipped().release(vllm).nvshmem
    (check,) = [check for check in made.checks if check.name == "DeepEP calls an NVSHMEM of the release that is pinned"]
    assert check.expect == f"DeepEP calls NVSHMEM {release} of"


def test_what_an_image_does_not_hold_is_none_of_its_pins() -> None:
    made = vllm_ep.image({"vllm": "0.20.0"}).pins

    assert made is not None
    dumped = made.model_dump(mode="json")
    assert (dumped["pplx"], dumped["deepgemm"]) == (None, None)
    assert dumped["deepep"]["commit"].startswith("73b6ea4")


@pytest.mark.parametrize(("vllm", "version"), [("0.13.0", "3.3.20"), ("0.20.0", "v3.4.5-0"), ("0.11.0", "3.3.9")])
def test_an_nvshmem_for_chosen_architectures_is_built_of_the_same_release(vllm: str, version: str) -> None:
    made = pins(vllm, nvshmem={"architectures": ["90a"]}).nvshmem

    assert (made.version, made.wheel, made.architectures) == (version, None, ("90a",))


@pytest.mark.parametrize("vllm", RELEASES)
def test_a_lock_has_tags_and_archives_to_resolve_and_kernels_are_whole_without_it(vllm: str) -> None:
    found = sources(vllm_ep.image({"vllm": vllm}))

    unresolved = {url.rpartition("/")[2] for url, source in found.items() if not source.resolved}
    assert {name for name in unresolved if name.endswith(".git")} == {
        "gdrcopy.git", "nccl.git", "nccl-tests.git", "aws-ofi-nccl.git",
    }  # fmt: skip
    assert [name for name in unresolved if "nvshmem" in name] == (
        [] if Compat.shipped().release(vllm).nvshmem else ["nvshmem_src_cuda12-all-all-3.3.9.tar.gz"]
    )


@pytest.mark.parametrize(
    ("commit", "cutlass", "fmt"),
    [
        ("7b6b5563b9d4c1ae07ffbce7f78ad3ac9204827c", "b244379", "553ec11"),
        ("ea9c5d9270226c5dd7a577c212e9ea385f6ef048", "a49a78f", "553ec11"),
        ("594953acce41793ae00a1233eb516044d604bcb6", "a49a78f", "553ec11"),
        ("477618cd51baffca09c4b0b87e97c03fe827ef03", "f3fde58", "553ec11"),
        ("d374456787c51ad9c4b3c5dbc3668ea3ad9bb9c2", "eefa171", None),
    ],
)
def test_deepgemm_of_a_known_commit_brings_the_submodules_that_its_tree_names(
    commit: str, cutlass: str, fmt: str | None
) -> None:
    made = pins("0.16.0", deepgemm=commit).deepgemm
    other = pins("0.16.0", deepgemm={"commit": commit, "cutlass": "c" * 40}).deepgemm

    assert made is not None
    assert str(made.cutlass).startswith(cutlass)
    assert made.fmt is None if fmt is None else str(made.fmt).startswith(fmt)
    assert other is not None
    assert other.cutlass == "c" * 40


def test_a_deepep_with_the_second_interface_finds_the_images_nccl_and_an_older_one_needs_none() -> None:
    old, new = vllm_ep.image({"vllm": "0.26.0"}), vllm_ep.image({"vllm": "0.33.0"})

    assert "EP_NCCL_ROOT_DIR" not in old.env
    assert new.env["EP_NCCL_ROOT_DIR"] == "/opt/nccl"
    assert {url for url in sources(new) if "fmtlib" in url} == {"https://github.com/fmtlib/fmt.git"}
