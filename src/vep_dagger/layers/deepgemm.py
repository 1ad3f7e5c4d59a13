"""DeepGEMM: FP8 matrix kernels, compiled at run time.

Source: https://github.com/deepseek-ai/DeepGEMM (README, setup.py, .gitmodules).
"""

from __future__ import annotations

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, torch

PREFIX = "/opt/deepgemm"


class Pins(LayerPins):
    """The commit, and those of its submodules, which a git tree names but does not hold.

    No architectures: it compiles where it runs.
    """

    commit: Commit = "ea9c5d9270226c5dd7a577c212e9ea385f6ef048"
    cutlass: Commit = "a49a78ffefc86a87160dfe0ccc3a3a2d1622c918"
    fmt: Commit = "553ec11ec06fbe0beebfbb45f9dc3c9eabd83d28"


@layer(prefix=PREFIX, needs=[cuda.devel, torch.torch_build])
def deepgemm(build: Build, pins: Pins) -> Build:
    """The Python package with the headers that its compiler needs at run time."""
    build = (
        build.mount(git("https://github.com/deepseek-ai/DeepGEMM.git", pins.commit), "/src")
        .mount(git("https://github.com/NVIDIA/cutlass.git", pins.cutlass), "/src/third-party/cutlass")
        .mount(git("https://github.com/fmtlib/fmt.git", pins.fmt), "/src/third-party/fmt")
    )
    # torch first: the extension finds torch's libraries only in a process that has them.
    return torch.install_kernels(build, "/src", PREFIX).check(
        "DeepGEMM can be imported", *cuda.without_driver("python3", "-c", "import torch, deep_gemm")
    )
