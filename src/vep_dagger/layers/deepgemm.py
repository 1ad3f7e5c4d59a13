"""DeepGEMM: FP8 matrix kernels, compiled at run time.

Source: https://github.com/deepseek-ai/DeepGEMM (README, setup.py, .gitmodules, csrc/jit/compiler.hpp).
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, kernels, provenance, torch
from vep_dagger.layers.known import commit_of, with_submodules

PREFIX = "/opt/deepgemm"

# As csrc/jit/compiler.hpp calls nvcc. One file that includes the kernel's template and cutlass is enough to know that
# compiler, its host compiler, and all headers are there.
COMPILE = f"""
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
header=$(find {PREFIX}/deep_gemm/include -name sm90_fp8_gemm_1d2d.cuh -o -name fp8_gemm.cuh | head -n 1)
echo "#include <${{header#{PREFIX}/deep_gemm/include/}}>" >"$work/kernel.cu"
cat >>"$work/kernel.cu" <<'END'
using namespace deep_gemm;
extern "C" __global__ void __launch_bounds__(128, 1) probe(float* out) {{
    cutlass::arch::warpgroup_reg_alloc<232>();
    out[threadIdx.x] = static_cast<float>(ceil_div(threadIdx.x, 3u));
}}
END
nvcc "$work/kernel.cu" -o "$work/kernel.cubin" -std=c++20 --gpu-architecture=sm_90a -cubin -O3 \\
    -I{PREFIX}/deep_gemm/include --diag-suppress=39,161,174,177,186,940 \\
    --compiler-options=-fPIC,-O3,-fconcepts,-Wno-deprecated-declarations,-Wno-abi \\
    --expt-relaxed-constexpr --expt-extended-lambda
cuobjdump -elf "$work/kernel.cubin" | grep -m1 -o 'probe'
"""


IMPORT = "import torch, deep_gemm; print('deep_gemm of', *deep_gemm.__path__)"


class Pins(LayerPins):
    """The commit, and those of its submodules, which a git tree names but does not hold: for commits that vLLM builds
    they are known (``compat/pins.toml``), for others they have to be pinned as well.

    No architectures: it compiles where it runs.
    """

    commit: Commit = "ea9c5d9270226c5dd7a577c212e9ea385f6ef048"
    cutlass: Commit | None = None
    fmt: Commit | None = None
    """None for a commit from before its C++ extension, which alone uses it."""

    @model_validator(mode="before")
    @classmethod
    def _submodules_of_the_commit(cls, value: Any) -> Any:
        return with_submodules("deepgemm", value, cls.model_fields["commit"].default)

    @model_validator(mode="after")
    def _submodules_are_known(self) -> Pins:
        if self.cutlass and (self.fmt or commit_of("deepgemm", self.commit)):
            return self
        raise ValueError(
            f"the submodules of DeepGEMM {self.commit[:7]} are not known here, and another commit's may not compile: "
            f'pin them too, deepgemm = {{ commit = "{self.commit}", cutlass = "…", fmt = "…" }}, as '
            f"`git ls-tree {self.commit[:7]} third-party/` names them in a clone"
        )


@layer(prefix=PREFIX, needs=[cuda.devel, torch.torch_build])
def deepgemm(build: Build, pins: Pins) -> Build:
    """The Python package with the headers that its compiler needs at run time. Its submodules are sources of their own,
    so that each is pinned, cached and mirrored by itself.
    """
    source = git("https://github.com/deepseek-ai/DeepGEMM.git", pins.commit, submodules=False)
    cutlass = git("https://github.com/NVIDIA/cutlass.git", pins.cutlass, submodules=False)
    build = build.mount(source, "/src").mount(cutlass, "/src/third-party/cutlass")
    if pins.fmt:
        fmt = git("https://github.com/fmtlib/fmt.git", pins.fmt, submodules=False)
        build = build.mount(fmt, "/src/third-party/fmt")
    built = torch.install_kernels(provenance.recorded(build, PREFIX), "/src", PREFIX)
    # torch first: the extension finds torch's libraries only in a process that has them.
    return (
        kernels.proven(built, "DeepGEMM", PREFIX, pins.commit, compiled=pins.fmt is not None)
        .check("DeepGEMM can be imported", *cuda.without_driver("python3", "-c", IMPORT), expect="deep_gemm of")
        .check("DeepGEMM's kernels compile in the image", "sh", "-c", COMPILE, expect="probe")
    )
