"""Proofs about the finished image of ``vllm-ep`` as a whole; its layers have their own. None needs a GPU or driver."""

from __future__ import annotations

from vep_dagger.dsl import Build
from vep_dagger.layers import aws_ofi_nccl, cuda, efa, gdrcopy, kernels, nccl, nvshmem, python, torch
from vep_dagger.recipes.vllm_ep_pins import VllmEpPins

FOUND = """
import ctypes, sys
wrong = []
for pair in sys.argv[1:]:
    name, prefix = pair.split("=")
    ctypes.CDLL(name)
    stem = "/" + name.partition(".so")[0]
    loaded = sorted({line.split()[-1] for line in open("/proc/self/maps") if stem in line})
    print(name, "is", *loaded)
    if not loaded or not all(path.startswith(prefix + "/") for path in loaded):
        wrong.append(f"{name} is not that of {prefix}")
sys.exit("; ".join(wrong) or 0)
"""
"""The loader, asked by name alone, as NCCL asks for its plugin, finds this image's own."""

HOST_LIBRARY = "libnvshmem_host.so.3"

LIBRARIES = {
    "libnccl.so.2": nccl.PREFIX,
    "libnccl-net.so": aws_ofi_nccl.PREFIX,
    "libfabric.so.1": efa.LIBFABRIC,
    "libgdrapi.so.2": gdrcopy.PREFIX,
    HOST_LIBRARY: nvshmem.PREFIX,
}

WHICH_NCCL = f"""
import ctypes, pathlib, torch
library = ctypes.CDLL(str(pathlib.Path(torch.__file__).parent / "lib" / "libtorch_cuda.so"))
{nccl.ASK}
print("torch calls NCCL", version.value)
"""

WHICH_NVSHMEM = f"""
import ctypes, os, torch, deep_ep
library = ctypes.CDLL("{HOST_LIBRARY}", mode=os.RTLD_NOLOAD)
{nvshmem.ASK}
loaded = sorted({{line.split()[-1] for line in open("/proc/self/maps") if "/libnvshmem_host" in line}})
print("DeepEP calls NVSHMEM", version, "of", *loaded)
"""
"""A process has one library of a name, the first that it loads, and torch loads its own: DeepEP's device code must be
of the same release, whatever its own search path says.
"""

UNCHANGED = """
import importlib.metadata as metadata, sys, torch
from packaging.requirements import Requirement
print("torch", torch.__version__)
wrong = []
for line in metadata.requires("torch"):
    wanted = Requirement(line)
    if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
        continue
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        wrong.append(f"{line}, and it is missing")
        continue
    if wanted.name.startswith(("nvidia-", "triton")):
        print(wanted.name, found)
    if not wanted.specifier.contains(found, prereleases=True):
        wrong.append(f"{line}, and there is {found}")
sys.exit("; ".join(wrong) or 0)
"""
"""torch is the pinned build, and every package that it requires (its own NCCL among them) is of the release that it
requires: no later installation has replaced one.
"""

VERSIONS = """
import importlib.metadata as metadata, sys
print("python", sys.version.split()[0], "of", sys.base_prefix)
wrong = []
for wanted in sys.argv[1:]:
    name, _, version = wanted.partition("==")
    found = metadata.version(name)
    print(f"{name}=={found}")
    if found.partition("+")[0] != version:
        wrong.append(wanted)
sys.exit("not as pinned: " + ", ".join(wrong) if wrong else 0)
"""

TOOLS = 'set -e; for tool in nvcc cuobjdump ninja g++; do command -v "$tool"; done; nvcc --version'
"""What DeepGEMM and FlashInfer call at run time."""

DRIVERS = """
command -v find || exit 1
found=$(find / -xdev -name 'libcuda.so.[0-9]*' -not -path '*/stubs/*' 2>/dev/null)
if [ -n "$found" ]; then echo "the driver's library belongs to the host, and the image has $found"; exit 1; fi
echo 'no libcuda.so.1 in the image'
"""
"""A driver's library in an image hides the host's, which alone fits the host's kernel module."""

LOAD_VLLM = "import vllm, vllm._C, vllm._moe_C; print('vllm', vllm.__version__)"
LOAD_VENDORED = "import torch, vllm.third_party.deep_gemm as found; print('deep_gemm of', *found.__path__)"

TOKENIZE = """
import tempfile
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
try:
    from vllm.transformers_utils.tokenizer import get_tokenizer
except ImportError:
    from vllm.tokenizers import get_tokenizer
words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
with tempfile.TemporaryDirectory() as place:
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(place)
    print("tokens", get_tokenizer(place)("a")["input_ids"])
"""
"""vLLM and this transformers make a tokenizer together: with a transformers that is too new every import passes."""


def proven(build: Build, pins: VllmEpPins) -> Build:
    """The chain of the image with the proofs that these pins call for."""

    def loading(script: str, *arguments: str) -> tuple[str, ...]:
        return cuda.without_driver("python3", "-c", script, *arguments)

    code = pins.nccl.code
    libraries = tuple(f"{name}={prefix}" for name, prefix in LIBRARIES.items())
    wanted = pins.torch_build
    exact = tuple(each for each in (f"vllm=={pins.vllm}", *pins.requirements) if "==" in each)
    built_for = torch.cuda_of(wanted.version, wanted.build)
    local = f"+cu{built_for.replace('.', '')}" if built_for else ""
    build = (
        build.check("the loader finds the image's libraries by name", *loading(FOUND, *libraries))
        .check(
            "torch calls the NCCL that is pinned",
            *loading(WHICH_NCCL),
            expect=f"torch calls NCCL {code}" if code else None,
        )
        .check(
            "torch and its libraries are what was pinned",
            *loading(UNCHANGED),
            expect=f"torch {wanted.version}{local}",
        )
        .check(
            "versions are as pinned",
            "python3", "-c", VERSIONS, *dict.fromkeys(exact),
            expect=f"python {pins.python.version} of {python.PREFIX}",
        )
        .check("tools for compiling at run time", "sh", "-c", TOOLS, expect=f"release {pins.cuda.minor}")
        .check("the driver is the host's", "sh", "-c", DRIVERS)
        .check("vLLM's own kernels load", *loading(LOAD_VLLM), expect=f"vllm {pins.vllm}")
        .check("vLLM makes a tokenizer", *loading(TOKENIZE), expect="tokens [1]")
        .check("FlashInfer can be imported", *loading("import flashinfer; print(flashinfer.__version__)"))
    )  # fmt: skip
    if "deepep" in kernels.used_by(pins.vllm):
        build = build.check(
            "DeepEP calls an NVSHMEM of the release that is pinned",
            *loading(WHICH_NVSHMEM),
            expect=f"DeepEP calls NVSHMEM {pins.nvshmem.release} of",
        )
    if kernels.vendors_deepgemm(pins.vllm):
        build = build.check("the DeepGEMM in vLLM can be imported", *loading(LOAD_VENDORED), expect="deep_gemm of")
    return build
