from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from vep_dagger.dsl import GitSource, HttpSource, Image, ImageSource, Layer, Source
from vep_dagger.dsl.step import Env, Install
from vep_dagger.layers import cuda, deepep, efa, kernels, nccl, nvshmem
from vep_dagger.layers.architectures import gencode
from vep_dagger.recipes.vllm_ep import vllm_ep

Seed: TypeAlias = Callable[..., Image]
Keys: TypeAlias = Callable[[Image], dict[str, str]]

OTHER = "0" * 39 + "1"


def changed(keys: Keys, before: Image, after: Image) -> set[str]:
    old, new = keys(before), keys(after)
    assert old.keys() == new.keys()
    return {name for name in old if old[name] != new[name]}


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        ({"nvshmem": "v3.4.5-0"}, {"nvshmem", "pplx", "deepep"}),
        ({"nccl": "v2.28.9-1"}, {"nccl", "nccl_tests", "nvshmem", "pplx", "deepep"}),
        ({"gdrcopy": "v2.4.4"}, {"gdrcopy", "nvshmem", "pplx", "deepep"}),
        ({"efa": "1.44.0"}, {"efa", "aws_ofi_nccl", "nccl_tests", "nvshmem", "pplx", "deepep"}),
        ({"aws_ofi_nccl": "v1.17.0"}, {"aws_ofi_nccl"}),
        ({"nccl_tests": "v2.17.6"}, {"nccl_tests"}),
        ({"pplx": OTHER}, {"pplx"}),
        ({"deepgemm": {"commit": OTHER, "cutlass": OTHER, "fmt": OTHER}}, {"deepgemm"}),
        ({"deepep": OTHER}, {"deepep"}),
        ({"torch": {"build": "cu126"}}, {"torch_build", "pplx", "deepgemm", "deepep"}),
        ({"python": "3.12.10"}, {"python", "torch_build", "pplx", "deepgemm", "deepep"}),
        ({"flashinfer": "0.3.0"}, set()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and value else "",
)
def test_a_pin_changes_exactly_the_layers_that_need_it(
    seed: Seed, keys: Keys, pins: dict[str, Any], expected: set[str]
) -> None:
    before, after = seed(), seed(**pins)

    assert changed(keys, before, after) == expected
    assert before.key != after.key


def test_another_cuda_changes_every_layer(seed: Seed, keys: Keys) -> None:
    assert changed(keys, seed(), seed(cuda="12.8.0")) == set(keys(seed()))


@pytest.mark.parametrize(
    ("pins", "name"),
    [
        ({"nccl": {"version": "v2.27.7-1", "gencode": ["90"]}}, "nccl"),
        ({"nccl_tests": {"version": "v2.16.9", "gencode": ["90"]}}, "nccl_tests"),
        ({"nvshmem": {"version": "3.3.9", "architectures": ["90a"]}}, "nvshmem"),
        ({"pplx": {"architectures": ["9.0a"]}}, "pplx"),
        ({"deepep": {"architectures": ["9.0a"]}}, "deepep"),
    ],
)
def test_architectures_are_part_of_a_key(seed: Seed, keys: Keys, pins: dict[str, Any], name: str) -> None:
    assert name in changed(keys, seed(), seed(**pins))


def test_an_architecture_is_written_as_nvcc_writes_it(seed: Seed) -> None:
    assert gencode(["90a", "100"]) == "-gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_100,code=sm_100"
    with pytest.raises(ValueError, match="gencode"):
        seed(nccl={"version": "v2.27.7-1", "gencode": ["sm_90"]})


def test_a_tag_waits_for_the_lock_and_an_explicit_commit_is_taken(seed: Seed) -> None:
    def source(pin: Any) -> Source:
        return next(layer for layer in seed(nccl=pin).layers if layer.name == "nccl").build.sources[0]

    assert source("v2.28.9-1") == GitSource("https://github.com/NVIDIA/nccl.git", None, "v2.28.9-1")
    assert source({"version": "v2.28.9-1", "commit": OTHER}) == GitSource(
        "https://github.com/NVIDIA/nccl.git", OTHER, "v2.28.9-1"
    )


def test_nvshmem_is_an_archive_under_a_release_and_a_git_tree_under_a_tag() -> None:
    archive, tag = nvshmem.Pins(version="3.3.9").source, nvshmem.Pins(version="v3.4.5-0").source

    assert isinstance(archive, HttpSource)
    assert archive.url == (
        "https://developer.download.nvidia.com/compute/redist/nvshmem/3.3.9/source/"
        "nvshmem_src_cuda12-all-all-3.3.9.tar.gz"
    )
    assert not archive.resolved
    assert isinstance(tag, GitSource)
    assert (tag.ref, tag.resolved) == ("v3.4.5-0", False)


def test_an_archive_is_resolved_by_its_sha256() -> None:
    image = vllm_ep.image({"vllm": "0.10.1.1", "efa": {"version": "1.43.2", "sha256": "a" * 64}})

    (source,) = next(layer for layer in image.layers if layer.name == efa.efa.name).build.sources
    assert source.resolved


def test_both_of_nvidias_images_wait_for_the_lock(seed: Seed) -> None:
    image = seed()
    assert isinstance(image.base, Layer)
    devel = image.layers[0].base
    assert isinstance(devel, Layer)

    assert devel.base == ImageSource("nvidia/cuda:12.8.1-devel-ubuntu22.04", None)
    assert image.base.base == ImageSource("nvidia/cuda:12.8.1-runtime-ubuntu22.04", None)


def test_no_step_upgrades_packages_or_takes_a_file_that_is_not_a_source(seed: Seed) -> None:
    image = seed()
    assert isinstance(image.base, Layer)
    devel = image.layers[0].base
    assert isinstance(devel, Layer)
    steps = [step.describe() for layer in (image.base, devel, *image.layers) for step in layer.build.steps]

    assert not [step for step in steps if re.search(r"apt-get upgrade|curl|wget|git clone", step)]


def test_layers_leave_prefixes_that_do_not_lie_in_each_other(seed: Seed) -> None:
    prefixes = [layer.prefix + "/" for layer in seed().layers]

    assert not [(a, b) for a in prefixes for b in prefixes if a != b and a.startswith(b)]
    assert len(set(prefixes)) == len(prefixes)


def test_every_check_is_a_program_that_parses(seed: Seed) -> None:
    scripts = 0
    for check in seed().checks:
        argv = list(check.argv)
        if argv[0] == "sh":
            subprocess.run(["sh", "-n", "-c", argv[2]], check=True)
            argv = argv[4:]
            scripts += 1
        if argv[:2] == ["python3", "-c"]:
            compile(argv[2], check.name, "exec")
            scripts += 1
    assert scripts > 8


def test_without_a_driver_a_check_finds_the_stub_and_keeps_the_directories_that_it_had() -> None:
    show = 'readlink "${LD_LIBRARY_PATH%%:*}/libcuda.so.1"; echo "${LD_LIBRARY_PATH#*:}"; echo "$1"'
    argv = cuda.without_driver("sh", "-c", show, "sh", "an argument")

    result = subprocess.run(
        argv, env={"LD_LIBRARY_PATH": "/had", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )

    assert result.stdout.splitlines() == ["/usr/local/cuda/lib64/stubs/libcuda.so", "/had", "an argument"]


@pytest.mark.parametrize(("header", "passes"), [(22707, True), (22602, False)])
def test_the_check_of_nccl_tells_a_library_of_another_release_from_its_own(
    tmp_path: Path, needs: Callable[[str, str], str], header: int, passes: bool
) -> None:
    compiler = needs("cc", "apt-get install gcc libc6-dev")
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "nccl.h").write_text(f"#define NCCL_VERSION_CODE {header}\n")
    (tmp_path / "lib").mkdir()
    code = tmp_path / "nccl.c"
    code.write_text("int ncclGetVersion(int *version) { *version = 22707; return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(tmp_path / "lib" / "libnccl.so"), str(code)], check=True)

    result = subprocess.run(
        ["python3", "-c", nccl.CHECK.replace(nccl.PREFIX, str(tmp_path))], capture_output=True, text=True, check=False
    )

    assert result.stdout == f"library 22707 header {header}\n"
    assert (result.returncode == 0) is passes
    assert nccl.Pins(version="v2.27.7-1").code == 22707


def test_kernels_are_built_against_torch_by_the_pinned_python_alone(seed: Seed) -> None:
    for layer in seed().layers:
        if layer.name in {"pplx", "deepgemm", "deepep"}:
            assert {"python", "torch_build"} <= {each.name for each in layer.visible}
            env = {name: value for step in layer.build.steps if isinstance(step, Env) for name, value in step.variables}
            assert env["PATH"].startswith("/venv/bin:/opt/python/bin:")
            assert (env["CC"], env["CXX"]) == ("gcc", "g++"), "the interpreter itself was compiled by clang"


def test_torch_and_the_build_tools_are_one_resolution_in_parts(seed: Seed) -> None:
    build = next(layer for layer in seed().layers if layer.name == "deepgemm").needs[0].build
    installs = [step for step in build.steps if isinstance(step, Install)]

    assert len({str(step.request()) for step in installs}) == 1
    assert {"torch==2.7.1+cu128", "cmake", "ninja"} <= set(installs[0].alternatives[0].requirements)
    assert [step.part is not None and step.part.fits("torch") for step in installs] == [False, True, False]


@pytest.mark.parametrize(
    ("package", "part"),
    [
        ("nvidia-nccl-cu12", 0),
        ("nvidia-cublas", 0),
        ("torch", 1),
        ("triton", 1),
        ("torchvision", 1),
        ("flashinfer-python", 2),
        ("nvidia-cudnn-frontend", 2),
        ("nvidia-cutlass-dsl", 2),
        ("vllm", 3),
        ("nvidia-ml-py", 3),
        ("transformers", 3),
    ],
)
def test_a_package_is_in_one_part_of_the_environment(seed: Seed, package: str, part: int) -> None:
    parts = [step.part for step in seed().build.steps if isinstance(step, Install)]

    assert [number for number, each in enumerate(parts) if each and each.fits(package)] == [part]


def test_the_parts_of_the_environment_have_names(seed: Seed) -> None:
    parts = [step.part for step in seed().build.steps if isinstance(step, Install)]

    assert [part.title for part in parts if part] == [
        "NVIDIA's libraries",
        "torch",
        "FlashInfer and kernels",
        "vLLM and the rest",
    ]


@pytest.mark.parametrize(("missing", "passes"), [("libcuda.so.1", True), ("libnvshmem_host.so.3", False)])
def test_a_kernel_library_must_find_all_but_the_drivers(
    tmp_path: Path, needs: Callable[[str, str], str], missing: str, passes: bool
) -> None:
    compiler = needs("cc", "apt-get install gcc libc6-dev")
    kernel, used, use = tmp_path / "kernels", tmp_path / "used.c", tmp_path / "use.c"
    used.write_text("int used(void) { return 1; }\n")
    use.write_text("int used(void); int kernel(void) { return used(); }\n")
    kernel.mkdir()
    there = str(tmp_path / "there.so")
    subprocess.run([compiler, "-shared", f"-Wl,-soname,{missing}", "-o", there, str(used)], check=True)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(kernel / "kernel.so"), str(use), there], check=True)
    script = re.sub(r"torch=\$\(.*", f"torch={tmp_path}", kernels.LDD)

    result = subprocess.run(["sh", "-c", script, str(kernel)], capture_output=True, text=True, check=False)

    assert (result.returncode == 0) is passes, result.stdout + result.stderr
    assert (missing in result.stdout) is not passes


def test_a_check_without_a_driver_leaves_no_stub_behind_and_keeps_the_exit_code(tmp_path: Path) -> None:
    command = cuda.without_driver("sh", "-c", 'echo "$LD_LIBRARY_PATH"; exit 3')
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stdout.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_where_deepep_finds_nvshmem_is_told_without_the_address_of_the_day(tmp_path: Path) -> None:
    line = "libnvshmem_host.so.3 => /opt/nvshmem/lib/libnvshmem_host.so.3"
    for name, text in {
        "find": "echo x.so",
        "ldd": f"echo 'libc.so.6 => /lib/libc.so.6 (0x1)'; echo '\t{line} (0x7f1)'",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", deepep.WHICH_NVSHMEM],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == line
