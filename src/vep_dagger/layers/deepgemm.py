"""DeepGEMM: FP8 matrix kernels, compiled at run time.

Source: https://github.com/deepseek-ai/DeepGEMM (README, setup.py, .gitmodules, csrc/jit/compiler.hpp).
"""

from __future__ import annotations

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, kernels, provenance, torch

PREFIX = "/opt/deepgemm"

# As csrc/jit/compiler.hpp calls nvcc. One file that includes the kernel's template and cutlass is enough to know that
# compiler, its host compiler, and all headers are there.
COMPILE = f"""
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
header=$(find {PREFIX}/deep_gemm/include -name sm90_bf16_gemm.cuh -o -name 'sm90_fp8_gemm_1d2d.cuh' | sort | head -n 1)
echo "#include <${{header#{PREFIX}/deep_gemm/include/}}>" >"$work/kernel.cu"
cat >>"$work/kernel.cu" <<'END'
extern "C" __global__ void __launch_bounds__(128, 1) probe(float* out) {{
    cutlass::arch::warpgroup_reg_alloc<232>();
    out[threadIdx.x] = static_cast<float>(deep_gemm::ceil_div(threadIdx.x, 3u));
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
    """The commit, and those of its submodules, which a git tree names but does not hold.

    No architectures: it compiles where it runs.
    """

    commit: Commit = "ea9c5d9270226c5dd7a577c212e9ea385f6ef048"
    cutlass: Commit = "a49a78ffefc86a87160dfe0ccc3a3a2d1622c918"
    fmt: Commit = "553ec11ec06fbe0beebfbb45f9dc3c9eabd83d28"


@layer(prefix=PREFIX, needs=[cuda.devel, torch.torch_build])
def deepgemm(build: Build, pins: Pins) -> Build:
    """The Python package with the headers that its compiler needs at run time. Its submodules are sources of their own,
    so that each is pinned, cached and mirrored by itself.
    """
    build = (
        build.mount(git("https://github.com/deepseek-ai/DeepGEMM.git", pins.commit, submodules=False), "/src")
        .mount(git("https://github.com/NVIDIA/cutlass.git", pins.cutlass, submodules=False), "/src/third-party/cutlass")
        .mount(git("https://github.com/fmtlib/fmt.git", pins.fmt, submodules=False), "/src/third-party/fmt")
    )
    links = {"third-party/cutlass": pins.cutlass, "third-party/fmt": pins.fmt}
    built = torch.install_kernels(provenance.recorded(build, PREFIX, submodules=links), "/src", PREFIX)
    # torch first: the extension finds torch's libraries only in a process that has them.
    return (
        kernels.proven(built, "DeepGEMM", PREFIX, pins.commit)
        .check("DeepGEMM can be imported", *cuda.without_driver("python3", "-c", IMPORT), expect="deep_gemm of")
        .check("DeepGEMM's kernels compile in the image", "sh", "-c", COMPILE, expect="probe")
    )
