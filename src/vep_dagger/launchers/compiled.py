"""What servers compile at run time, kept between starts: kernels and graphs that cost minutes when they are made
afresh, and nothing when they are there.

There is one place for each image and kind of GPU, since nothing that was compiled for another may be used: vLLM keeps
more below its cache root than its key covers, such as measured memory and tuned kernels. A deployment's key is noted in
it once a server of it was healthy, so that a start can say whether it is warm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from vep_dagger.builders.base import BuiltImage

MOUNT = "/var/cache/vep/compiled"
"""Where containers see the place of their image."""

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "VLLM_CACHE_ROOT": "vllm",
        "DG_JIT_CACHE_DIR": "deep_gemm",
        "DG_CACHE_DIR": "deep_gemm",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
    }
)
"""The variables that say where each of them keeps what it compiles, and the directory of each.

vLLM: ``vllm/envs.py``, and ``vllm/utils/deep_gemm.py``, which puts DeepGEMM's below its own unless told. DeepGEMM:
``csrc/jit/compiler.hpp``; before 2.0 ``deep_gemm/jit/compiler.py``, by the older name. FlashInfer:
``flashinfer/jit/env.py`` (it adds ``.cache/flashinfer``). Triton: ``python/triton/knobs.py``. Inductor:
``torch/_inductor/runtime/cache_dir_utils.py``; vLLM moves it and Triton's below its own where it compiles a whole model
(``vllm/compilation/compiler_interface.py``).
"""

SETTLED = "settled"
"""The directory of the notes, one empty directory for each deployment's key (``mkdir -p`` makes it)."""

ASK_GPUS = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
"""The command that lists the GPUs, one a line."""

CPU = "cpu"
"""The kind of a machine whose GPUs are not used, or which has none."""


def variables(directory: str = MOUNT) -> dict[str, str]:
    """The environment of a server that finds the place of its image at ``directory``. Image and cell may overrule
    it."""
    return {name: f"{directory}/{below}" for name, below in VARIABLES.items()}


def note(key: str) -> str:
    """What is there, below the place, once a deployment was healthy in it: an empty directory."""
    return f"{SETTLED}/{key}"


def kind_of(listed: str) -> str:
    """The kind of GPU from what :data:`ASK_GPUS` printed: ``nvidia-h100-80gb-hbm3``; of a mixed machine all, in
    order."""
    names = sorted({_plain(line) for line in listed.splitlines()} - {""})
    return "_".join(names) or CPU


async def gpu_kind(gpus: bool, environ: Mapping[str, str], ask: Sequence[str] = ASK_GPUS) -> str:
    """The kind of GPU of this machine, :data:`CPU` if a server gets none or none answers within ten seconds."""
    import subprocess

    import anyio

    if not gpus:
        return CPU
    try:
        with anyio.fail_after(10):
            done = await anyio.run_process(list(ask), env=dict(environ), check=False, stderr=subprocess.DEVNULL)
    except (OSError, TimeoutError):
        return CPU
    return kind_of(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else CPU


def volume_name(image: BuiltImage, gpu: str = CPU) -> str:
    """The name of the place of an image and a kind of GPU: of a volume, or of a directory. The same content of an image
    has the same place, wherever it was built."""
    identity = (image.digest or image.key).rpartition(":")[2]
    return f"vep-compiled-{identity[:12]}-{gpu}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
