from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vep_dagger.dsl import Image, ImageSource, Layer, Source
from vep_dagger.dsl.step import Install, Write
from vep_dagger.matrix import Matrix
from vep_dagger.plan.planner import make_plan
from vep_dagger.recipes.vllm_ep import vllm_ep

MATRIX = Path(__file__).parents[2] / "matrix.toml"

BY_HAND = """
GDRCOPY_VERSION=v2.5.1
EFA_INSTALLER_VERSION=1.43.2
AWS_OFI_NCCL_VERSION=v1.16.3
NCCL_VERSION=v2.27.7-1
NCCL_TESTS_VERSION=v2.16.9
NVSHMEM_VERSION=3.3.9
PPLX_KERNELS_COMMIT=12cecfda252e4e646417ac263d96e994d476ee5d
DEEPGEMM_COMMIT=ea9c5d9270226c5dd7a577c212e9ea385f6ef048
DEEPEP_COMMIT=c18eabdebf1381978ff884d278f6083a6153be3f
VLLM_VERSION=0.10.1.1
TAG="vllm${VLLM_VERSION}-efa${EFA_INSTALLER_VERSION}-ofi${AWS_OFI_NCCL_VERSION}-nccl${NCCL_VERSION}-tests${NCCL_TESTS_VERSION}-nvshmem${NVSHMEM_VERSION}"
"""
"""How an image of this stack is named by people who build it with a shell script."""


def image(vllm: str = "0.10.1.1", **changes: object) -> Image:
    pins = tomllib.loads(MATRIX.read_text(encoding="utf-8"))["pins"]
    return vllm_ep.image(pins | {"vllm": vllm} | changes)


def by_name(made: Image) -> dict[str, str]:
    return {layer.name: layer.key for layer in made.layers}


def installed(made: Image) -> Install:
    (step,) = [step for step in made.build.steps if isinstance(step, Install)]
    return step


def unresolved(made: Image) -> set[str]:
    assert isinstance(made.base, Layer)
    todo: list[Layer] = [made.base, *made.layers]
    found: set[str] = set()
    while todo:
        layer = todo.pop()
        sources: list[Source] = [*layer.build.sources]
        if isinstance(layer.base, Layer):
            todo.append(layer.base)
        else:
            sources.append(layer.base)
        todo += layer.needs
        found |= {
            source.ref if isinstance(source, ImageSource) else source.url for source in sources if not source.resolved
        }
    return found


def test_the_tag_is_what_the_shell_makes_of_the_same_versions() -> None:
    script = f'{BY_HAND}printf %s "$TAG"'
    by_hand = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout

    assert image().tag == by_hand
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", by_hand), "it must be a tag that registries take"


def test_the_matrix_file_pins_the_versions_that_are_built_by_hand() -> None:
    by_hand = set(re.findall(r"^[A-Z_]+_(?:VERSION|COMMIT)=(\S+)$", BY_HAND, flags=re.M))
    pins = tomllib.loads(MATRIX.read_text(encoding="utf-8"))["pins"]

    assert set(pins.values()) == by_hand - {"0.10.1.1"} | {"12.8.1", "3.12"}


def test_cells_of_the_matrix_file_that_differ_in_their_switches_alone_share_an_image() -> None:
    plan = make_plan(Matrix.load(MATRIX))

    assert len(plan.cells) == 8
    assert not [cell for cell in plan.cells if cell.impossible]
    assert len(plan.deployments) == 8, "the switches still make eight different servers"
    of_release: dict[str, set[str]] = {}
    for cell in plan.cells:
        assert cell.deployment is not None
        of_release.setdefault(dict(cell.cell.choices)["vllm"], set()).add(cell.deployment.image.key)
    assert {release: len(images) for release, images in of_release.items()} == {"0.10.1.1": 1, "0.11.0": 1}
    assert len(plan.images) == 2


def test_a_release_with_its_v_is_the_same_release() -> None:
    assert image("v0.11.0").key == image("0.11.0").key
    assert image("v0.11.0").tag == image("0.11.0").tag


def test_what_is_not_pinned_yet_is_known_by_name() -> None:
    assert unresolved(image()) == {
        "nvidia/cuda:12.8.1-runtime-ubuntu22.04",
        "https://efa-installer.amazonaws.com/aws-efa-installer-1.43.2.tar.gz",
        "https://developer.download.nvidia.com/compute/redist/nvshmem/3.3.9/source/"
        "nvshmem_src_cuda12-all-all-3.3.9.tar.gz",
    }


def test_two_releases_share_every_layer_but_the_kernels_that_are_built_against_torch() -> None:
    old, new = by_name(image("0.10.1.1")), by_name(image("0.11.0"))

    assert {name for name in old if old[name] == new[name]} == {
        "gdrcopy",
        "efa",
        "nccl",
        "aws_ofi_nccl",
        "nccl_tests",
        "nvshmem",
    }
    assert {name for name in old if old[name] != new[name]} == {"pplx", "deepgemm", "deepep"}


def test_two_releases_with_the_same_torch_share_the_kernels_too() -> None:
    assert by_name(image("0.10.2")) == by_name(image("0.11.0"))
    assert image("0.10.2").key != image("0.11.0").key


@pytest.mark.parametrize(
    ("vllm", "cuda", "kernels"),
    [
        ("0.16.0", "12.8.1", {"pplx", "deepgemm", "deepep"}),
        ("0.17.0", "12.8.1", {"deepgemm", "deepep"}),
        ("0.19.0", "12.8.1", {"deepgemm", "deepep"}),
        ("0.20.0", "13.0.2", {"deepep"}),
    ],
)
def test_a_release_gets_the_kernels_that_it_can_use_and_finds_them(vllm: str, cuda: str, kernels: set[str]) -> None:
    made = image(vllm, cuda=cuda)

    assert by_name(made).keys() & {"pplx", "deepgemm", "deepep"} == kernels
    (pth,) = [step for step in made.build.steps if isinstance(step, Write)]
    assert pth.path == "/venv/lib/python3.12/site-packages/vep_kernels.pth"
    assert set(pth.text.split()) == {f"/opt/{name}" for name in kernels}


def test_torch_and_what_is_resolved_with_it_follow_the_release() -> None:
    old, new = installed(image("0.10.1.1")), installed(image("0.11.0"))

    assert {"torch==2.7.1+cu128", "vllm[flashinfer]==0.10.1.1"} <= set(old.alternatives[0].requirements)
    assert {"torch==2.8.0+cu128", "vllm[flashinfer]==0.11.0"} <= set(new.alternatives[0].requirements)
    assert old.before == "2025-09-01T00:00:00Z", "transformers 5 breaks this release's tokenizers"
    assert image().release == "0.10.1.1"


def test_pins_of_the_python_environment_win_over_those_of_the_release() -> None:
    step = installed(image(torch="2.7.0", flashinfer="0.2.12", before="2025-08-30T00:00:00Z"))

    assert {"torch==2.7.0+cu128", "vllm==0.10.1.1", "flashinfer-python==0.2.12"} <= set(
        step.alternatives[0].requirements
    )
    assert step.before == "2025-08-30T00:00:00Z"


def test_the_environment_is_the_one_that_the_stack_is_used_with() -> None:
    env = image().env

    assert env["LD_PRELOAD"] == "/opt/nccl/lib/libnccl.so"
    assert env["NVSHMEM_DIR"] == env["NVSHMEM_HOME"] == "/opt/nvshmem"
    assert env["OPAL_PREFIX"] == "/opt/amazon/openmpi"
    assert env["OMPI_MCA_pml"] == "^ucx"
    assert env["OMPI_MCA_btl"] == "tcp,self"
    assert env["OMPI_MCA_btl_tcp_if_exclude"] == "lo,docker0,veth_def_agent"
    assert env["NCCL_SOCKET_IFNAME"] == "^docker,lo,veth"
    assert env["PMIX_MCA_gds"] == "hash"
    assert env["PATH"].startswith("/venv/bin:")
    assert "/usr/local/cuda/bin" in env["PATH"].split(":")


def test_nothing_is_installed_after_the_variables_are_set() -> None:
    # LD_PRELOAD names a library that is merged in later: every command after it would complain.
    assert image().build.steps[-1].describe().startswith("env ")


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"vllm": "0.99.7.3.1x"}, "0.99"),
        ({"python": "3.13"}, r"vLLM 0.10.1.1 runs on Python .*3.13, and the pin python is 3.13"),
        ({"python": ">=3.12"}, "python"),
        ({"cuda": "13.0.2"}, r"vLLM 0.10.1.1 is made for CUDA 12.8, and the pin cuda is 13.0.2"),
        ({"cuda": "12.8"}, "cuda"),
        ({"before": "2025-09-01"}, "no instant in UTC"),
        ({"pplx": "12cecfd"}, "pplx"),
        ({"all2all": "pplx"}, "all2all"),
        ({"deep_gemm": True}, "deep_gemm"),
    ],
)
def test_a_pin_that_cannot_be_is_refused_by_name(pins: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        image(**({"vllm": "0.10.1.1"} | pins))
