from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vep_dagger.dsl import HttpSource, Image, ImageSource, Layer, Source
from vep_dagger.dsl.step import Install, Write
from vep_dagger.matrix import Matrix
from vep_dagger.plan.planner import make_plan
from vep_dagger.recipes import vllm_ep_checks
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
    steps = [step for step in made.build.steps if isinstance(step, Install)]
    assert len({str(step.request()) for step in steps}) == 1, "one resolution, in parts"
    return steps[0]


def unresolved(made: Image) -> set[str]:
    assert isinstance(made.base, Layer)
    todo: list[Layer] = [made.base, *made.layers]
    found = {source.url for source in made.build.sources if isinstance(source, HttpSource) and not source.resolved}
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

    assert set(pins.values()) == by_hand - {"0.10.1.1"} | {"12.8.1", "3.12.11"}


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
        "nvidia/cuda:12.8.1-devel-ubuntu22.04",
        "nvidia/cuda:12.8.1-runtime-ubuntu22.04",
        "https://github.com/NVIDIA/gdrcopy.git",
        "https://github.com/NVIDIA/nccl.git",
        "https://github.com/NVIDIA/nccl-tests.git",
        "https://github.com/aws/aws-ofi-nccl.git",
        "https://github.com/astral-sh/python-build-standalone/releases/download/20251007/"
        "cpython-3.12.11%2B20251007-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz",
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
    ("vllm", "kernels"),
    [
        ("0.16.0", {"pplx", "deepgemm", "deepep"}),
        ("0.17.0", {"deepgemm", "deepep"}),
        ("0.19.0", {"deepgemm", "deepep"}),
        ("0.20.0", {"deepep"}),
        ("0.9.0", {"pplx", "deepgemm"}),
    ],
)
def test_a_release_gets_the_kernels_that_it_can_use_and_finds_them(vllm: str, kernels: set[str]) -> None:
    made = vllm_ep.image({"vllm": vllm})

    assert by_name(made).keys() & {"pplx", "deepgemm", "deepep"} == kernels
    (pth,) = [step for step in made.build.steps if isinstance(step, Write)]
    assert pth.path == "/venv/lib/python3.12/site-packages/vep_kernels.pth"
    assert set(pth.text.split()) == {f"/opt/{name}" for name in kernels}


def test_torch_and_what_is_resolved_with_it_follow_the_release() -> None:
    old, new = installed(image("0.10.1.1")), installed(image("0.11.0"))

    assert {"torch==2.7.1+cu128", "vllm==0.10.1.1", "flashinfer-python==0.2.11"} <= set(
        old.alternatives[0].requirements
    )
    assert {"torch==2.8.0+cu128", "vllm==0.11.0", "flashinfer-python==0.3.1"} <= set(new.alternatives[0].requirements)
    assert "transformers<5" in old.alternatives[0].requirements, "transformers 5 breaks this release's tokenizers"
    newer = installed(vllm_ep.image({"vllm": "0.11.1"})).alternatives[0].requirements
    assert "transformers<5" not in newer, "its wheel says so itself"
    assert old.before == "2025-08-30T00:00:00Z"
    assert image().release == "0.10.1.1"


def test_pins_of_the_python_environment_win_over_those_of_the_release() -> None:
    step = installed(image(torch={"build": "cu126"}, flashinfer="0.2.12", before="2025-08-29T00:00:00Z"))

    assert {"torch==2.7.1+cu126", "vllm==0.10.1.1", "flashinfer-python==0.2.12"} <= set(
        step.alternatives[0].requirements
    )
    assert step.before == "2025-08-29T00:00:00Z"


def test_pypis_own_build_of_torch_has_no_index_and_is_checked_by_what_it_is() -> None:
    made = image(torch={"build": "pypi"})

    assert "torch==2.7.1" in installed(made).alternatives[0].requirements
    assert not installed(made).indexes
    (check,) = [check for check in made.checks if check.name == "torch and its libraries are what was pinned"]
    assert check.expect == "torch 2.7.1+cu126"


def test_for_arm64_every_layer_is_of_that_platform_and_python_of_that_machine() -> None:
    made = image("0.11.0", platform="linux/arm64")

    assert {made.platform, made.build.platform, *(layer.platform for layer in made.layers)} == {"linux/arm64"}
    (archive,) = [source.url for source in made.build.sources if isinstance(source, HttpSource)]
    assert archive.endswith("cpython-3.12.11%2B20251007-aarch64-unknown-linux-gnu-install_only_stripped.tar.gz")


def test_flash_attn_is_built_only_where_it_is_pinned() -> None:
    assert "flash_attn" not in by_name(image())
    assert "flash_attn" in by_name(image(flash_attn="v2.8.3"))


def test_the_image_has_the_proofs_of_its_whole() -> None:
    assert {
        "the loader finds the image's libraries by name",
        "torch calls the NCCL that is pinned",
        "torch and its libraries are what was pinned",
        "versions are as pinned",
        "tools for compiling at run time",
        "the driver is the host's",
        "vLLM makes a tokenizer",
        "DeepEP is of the pinned commit",
        "DeepGEMM's kernels compile in the image",
    } <= {check.name for check in image().checks}


def test_the_environment_is_the_one_that_the_stack_is_used_with() -> None:
    env = image().env

    assert env["LD_PRELOAD"] == "/opt/nccl/lib/libnccl.so"
    # NCCL opens its plugin by the name of a file, which the loader's cache does not know.
    assert env["LD_LIBRARY_PATH"].split(":")[0] == "/opt/aws-ofi-nccl/lib"
    assert env["NVSHMEM_DIR"] == env["NVSHMEM_HOME"] == "/opt/nvshmem"
    assert env["OPAL_PREFIX"] == "/opt/amazon/openmpi"
    assert env["OMPI_MCA_pml"] == "^ucx"
    assert env["OMPI_MCA_btl"] == "tcp,self"
    assert env["OMPI_MCA_btl_tcp_if_exclude"] == "lo,docker0,veth_def_agent"
    assert env["NCCL_SOCKET_IFNAME"] == "^docker,lo,veth"
    assert env["PMIX_MCA_gds"] == "hash"
    assert "PATH" not in env, "one that is exported would hide the others'"
    programs = image().programs
    assert programs[0] == "/venv/bin"
    assert {"/usr/local/cuda/bin", "/opt/amazon/openmpi/bin", "/opt/nccl-tests/bin", "/opt/nvshmem/bin"} <= set(
        programs
    )


def test_nothing_is_installed_after_the_variables_are_set() -> None:
    # LD_PRELOAD names a library that is merged in later: every command after it would complain.
    assert image().build.steps[-1].describe().startswith("env ")


@pytest.mark.parametrize(("prefix", "code"), [("/", 0), ("/opt/another", 1)])
def test_a_library_that_the_loader_takes_from_elsewhere_is_told(prefix: str, code: int) -> None:
    argv = ["python3", "-c", vllm_ep_checks.FOUND, f"libm.so.6={prefix.rstrip('/')}"]

    result = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert result.returncode == code
    assert result.stdout.startswith("libm.so.6 is /")
    assert ("libm.so.6 is not that of /opt/another" in result.stderr) is bool(code)


@pytest.mark.parametrize(("found", "code"), [("2.26.2", 0), ("2.27.7", 1), (None, 1)])
def test_a_package_that_a_later_installation_replaced_or_took_away_is_told(
    tmp_path: Path, found: str | None, code: int
) -> None:
    def distribution(name: str, version: str, *requires: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
        (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "".join(f"{line}\n" for line in lines))

    (tmp_path / "torch.py").write_text('__version__ = "2.7.1+cu128"\n')
    distribution("torch", "2.7.1", "nvidia-nccl-cu12 (==2.26.2)", "never; python_version < '3'")
    if found:
        distribution("nvidia_nccl_cu12", found)

    result = subprocess.run(
        [sys.executable, "-c", vllm_ep_checks.UNCHANGED],
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == code, result.stderr
    assert result.stdout.startswith("torch 2.7.1+cu128")
    assert ("nvidia-nccl-cu12" in result.stderr) is bool(code)
