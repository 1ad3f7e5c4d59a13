"""flash-attn: the package of that name, for models that import it themselves.

vLLM does not need it: its wheel holds a build of its own (``vllm.vllm_flash_attn``), which serves attention. A few
vision encoders look for ``flash_attn`` and are slower without it; DeepSeek's models never do. So it is left out unless
it is pinned, and it is then built for an hour: PyPI has its source alone.

Source: https://github.com/Dao-AILab/flash-attention (setup.py).
"""

from __future__ import annotations

from vep_dagger.dsl import Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda, torch
from vep_dagger.layers.architectures import Architectures

PREFIX = "/opt/flash-attn"


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit, and the architectures."""

    version: Version = "v2.8.3"
    commit: Commit | None = None
    architectures: Architectures = ("80", "90")


@layer(prefix=PREFIX, needs=[cuda.devel, torch.torch_build])
def flash_attn(build: Build, pins: Pins) -> Build:
    """The Python package, without the one of its requirements (einops) that vLLM brings too."""
    source = git("https://github.com/Dao-AILab/flash-attention.git", pins.commit, ref=pins.version)
    # Otherwise setup.py looks for a wheel on GitHub, and installs that, which nobody has pinned.
    build = build.mount(source, "/src").env(
        FLASH_ATTENTION_FORCE_BUILD="TRUE", FLASH_ATTN_CUDA_ARCHS=";".join(pins.architectures)
    )
    check = "import torch, flash_attn; print('flash-attn', flash_attn.__version__)"
    return torch.install_kernels(build, "/src", PREFIX).check(
        "flash-attn is the pinned release",
        *cuda.without_driver("python3", "-c", check),
        expect=f"flash-attn {pins.version.removeprefix('v')}",
    )
