"""Pins of ``vllm-ep`` that fail together, or with a backend: impossible, with the reason and what to pin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vep_dagger.dsl import Impossible
from vep_dagger.plan import load_plan
from vep_dagger.recipes import vllm_ep_checks
from vep_dagger.recipes.vllm_ep import vllm_ep

LEGACY = "73b6ea4a439ba03a695563f9fd242c8e4b02b37c"
V2 = "d4f41e4e93602a15e95f55f6ee8df8f1aaa0e4bb"


def why(**pins: Any) -> str:
    with pytest.raises(Impossible) as reason:
        vllm_ep.image(pins)
    return str(reason.value)


def cells(directory: Path, vllm: str, backends: str, pins: str = "") -> dict[str, str | None]:
    """Why the cells of a matrix are impossible, by their backend."""
    file = directory / "matrix.toml"
    file.write_text(
        f'recipe = "vllm-ep"\n[pins]\nvllm = "{vllm}"\n{pins}\n[axes]\nall2all = [{backends}]\n'
        '[serve]\nmodel = "some/model"\ndata_parallel = 2\nexpert_parallel = true\n',
        encoding="utf-8",
    )
    return {dict(cell.cell.choices)["all2all"]: cell.impossible for cell in load_plan(file).cells}


@pytest.mark.parametrize(
    ("vllm", "pinned", "torch", "wanted", "default"),
    [
        ("0.33.0", "v2.27.7-1", "2.14.0", "2.30.7", "v2.30.7-1"),
        ("0.27.0", "v2.28.9-1", "2.13.0", "2.29.7", "v2.30.7-1"),
        ("0.20.0", "v2.27.7-1", "2.11.0", "2.28.9", "v2.28.9-1"),
        ("0.11.0", "v2.26.2-1", "2.8.0", "2.27.3", "v2.27.7-1"),
    ],
)
def test_an_nccl_older_than_torchs_own_is_impossible_and_both_are_told(
    vllm: str, pinned: str, torch: str, wanted: str, default: str
) -> None:
    said = why(vllm=vllm, nccl=pinned)

    assert f"torch {torch}, which vLLM {vllm} requires, is made for NCCL {wanted} and would call what {pinned}" in said
    assert f'pin nccl = "{default}" or newer' in said
    assert vllm_ep.image({"vllm": vllm, "nccl": default}).key


@pytest.mark.parametrize(
    ("vllm", "pin", "torchs", "others"),
    [
        ("0.13.0", "3.3.9", "3.3.20", "3.3.9"),
        ("0.16.0", "v3.4.5-0", "3.3.20", "3.4.5"),
        ("0.19.0", "3.3.24", "3.4.5", "3.3.24"),
        ("0.33.0", "v3.6.0-0", "3.4.5", "3.6.0"),
    ],
)
def test_an_nvshmem_other_than_the_one_that_torch_loads_is_impossible(
    vllm: str, pin: str, torchs: str, others: str
) -> None:
    said = why(vllm=vllm, nvshmem=pin)

    assert f"loads its own NVSHMEM {torchs}, and kernels for {others} hang or fail with it" in said
    assert "leave the pin nvshmem out" in said
    assert ('or pin nvshmem = "v3.4.5-0"' in said) == (torchs == "3.4.5")


def test_the_same_release_of_nvshmem_from_another_source_is_as_good() -> None:
    assert vllm_ep.image({"vllm": "0.33.0", "nvshmem": "v3.4.5-0"}).key != vllm_ep.image({"vllm": "0.33.0"}).key
    assert vllm_ep.image({"vllm": "0.10.2", "nvshmem": "v3.4.5-0"}).key, "its torch links none"


def test_whether_deepep_can_fault_on_an_nvshmem_is_a_matter_of_its_commit(tmp_path: Path) -> None:
    # torch 2.8 brings no NVSHMEM, so that any can be pinned.
    assert "DeepEP's first interface can fault on NVSHMEM 3.6.0" in why(
        vllm="0.11.0", nvshmem="v3.6.0-0", deepep=LEGACY
    )
    pins = f'nvshmem = "v3.6.0-0"\ndeepep = "{V2}"\nnccl = "v2.30.7-1"'

    said = cells(tmp_path, "0.11.0", '"pplx", "deepep_low_latency", "deepep_high_throughput"', pins)

    assert said["pplx"] is None, "the newer commit may be in the image"
    for backend in ("deepep_low_latency", "deepep_high_throughput"):
        assert "can fault on NVSHMEM 3.6.0" in str(said[backend]), "and its kernels of the first interface may not run"


@pytest.mark.parametrize("vllm", ["0.24.0", "0.26.0"])
def test_deepep_v2_is_impossible_where_nccl_or_deepep_is_older_and_what_to_pin_works(tmp_path: Path, vllm: str) -> None:
    backends = '"deepep_v2", "deepep_low_latency"'

    said = cells(tmp_path, vllm, backends)

    assert said["deepep_low_latency"] is None
    assert said["deepep_v2"] == (
        f'deepep_v2 is DeepEP\'s second interface: pin deepep = "{V2}", since 73b6ea4 has no ElasticBuffer; and nccl = '
        '"v2.30.7-1", since it needs v2.30.4-1 or newer, and the image has v2.28.9-1'
    )
    pinned = cells(tmp_path, vllm, backends, f'deepep = "{V2}"\nnccl = "v2.30.7-1"')
    assert pinned == {"deepep_v2": None, "deepep_low_latency": None}


def test_a_release_whose_own_image_has_deepep_v2_can_use_it(tmp_path: Path) -> None:
    assert cells(tmp_path, "0.33.0", '"deepep_v2"') == {"deepep_v2": None}
    assert "no ElasticBuffer" in str(cells(tmp_path, "0.33.0", '"deepep_v2"', f'deepep = "{LEGACY}"')["deepep_v2"])


def test_a_deepep_that_is_built_on_nccl_is_not_built_on_an_older_one() -> None:
    assert 'DeepEP d4f41e4 is built on NCCL v2.30.4-1 or newer, and nccl is v2.28.9-1: pin nccl = "v2.30.7-1"' in why(
        vllm="0.26.0", deepep=V2
    )


def test_a_deepgemm_whose_submodules_nobody_knows_is_refused_with_what_to_pin(tmp_path: Path) -> None:
    commit = "a" * 40
    with pytest.raises(ValueError, match=r"submodules of DeepGEMM aaaaaaa are not known here.*cutlass = \"…\", fmt"):
        vllm_ep.image({"vllm": "0.16.0", "deepgemm": commit})
    with pytest.raises(ValueError, match="submodules of DeepGEMM aaaaaaa are not known here"):
        vllm_ep.image({"vllm": "0.16.0", "deepgemm": {"commit": commit, "cutlass": "b" * 40}})

    assert vllm_ep.image({"vllm": "0.16.0", "deepgemm": {"commit": commit, "cutlass": "b" * 40, "fmt": "c" * 40}}).key


STUB = """
void nvshmemx_vendor_get_version_info(int *major, int *minor, int *patch) { *major = 3; *minor = %d; *patch = %d; }
"""


@pytest.mark.parametrize(("torch_brings", "called"), [(False, "3.3.9"), (True, "3.4.5")])
def test_the_nvshmem_that_is_asked_is_the_first_that_the_process_loaded(
    tmp_path: Path, needs: Any, torch_brings: bool, called: str
) -> None:
    compiler = needs("cc", "apt-get install gcc libc6-dev")

    def library(place: str, numbers: tuple[int, int]) -> None:
        (tmp_path / place).mkdir()
        source = tmp_path / place / "stub.c"
        source.write_text(STUB % numbers)
        soname = f"-Wl,-soname,{vllm_ep_checks.HOST_LIBRARY}"
        to = tmp_path / place / vllm_ep_checks.HOST_LIBRARY
        subprocess.run([compiler, "-shared", "-fPIC", soname, "-o", to, source], check=True)

    library("image", (3, 9))
    library("torchs", (4, 5))
    empty = tmp_path / "empty.c"
    empty.write_text("int deep_ep;\n")
    # Linked as DeepEP's setup.py does it: with the directory of the image's NVSHMEM as RUNPATH.
    found = [f"-L{tmp_path}/image", f"-l:{vllm_ep_checks.HOST_LIBRARY}", f"-Wl,-rpath,{tmp_path}/image"]
    module = tmp_path / "deep_ep_cpp.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wl,--no-as-needed", "-o", module, empty, *found], check=True)
    loads = f"ctypes.CDLL('{tmp_path}/torchs/{vllm_ep_checks.HOST_LIBRARY}')" if torch_brings else ""
    (tmp_path / "torch.py").write_text(f"import ctypes\n{loads}\n")
    (tmp_path / "deep_ep.py").write_text(f"import ctypes\nctypes.CDLL('{module}')\n")

    result = subprocess.run(
        [sys.executable, "-c", vllm_ep_checks.WHICH_NVSHMEM],
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    place = "torchs" if torch_brings else "image"
    assert result.stdout == f"DeepEP calls NVSHMEM {called} of {tmp_path}/{place}/{vllm_ep_checks.HOST_LIBRARY}\n"
