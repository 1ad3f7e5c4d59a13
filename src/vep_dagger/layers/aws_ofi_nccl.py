"""aws-ofi-nccl: NCCL's network plugin for libfabric.

Source: https://github.com/aws/aws-ofi-nccl (INSTALL, release notes).
"""

from __future__ import annotations

from vep_dagger.dsl import JOBS, Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda, efa

PREFIX = "/opt/aws-ofi-nccl"

CHECK = f"""
import ctypes, os
plugin = ctypes.CDLL("{PREFIX}/lib/libnccl-net.so", mode=os.RTLD_NOW)
for symbol in ("ncclNetPlugin_v10", "ncclTunerPlugin_v3"):
    ctypes.c_void_p.in_dll(plugin, symbol)
"""

LDD = f"! ldd {PREFIX}/lib/libnccl-net.so | grep 'not found'"


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit."""

    version: Version = "v1.16.3"
    commit: Commit | None = None


@layer(prefix=PREFIX, needs=[cuda.devel, efa.efa])
def aws_ofi_nccl(build: Build, pins: Pins) -> Build:
    """Plugin and tuner, from the commit, whose content is known, where a release archive would first need a hash."""
    source = git("https://github.com/aws/aws-ofi-nccl.git", pins.commit, ref=pins.version)
    return (
        build.mount(source, "/src")
        .workdir("/src")
        .env(**efa.LINK)
        .run("./autogen.sh")
        .run(
            "./configure",
            # The prefix is compiled in: the topology files are looked for there.
            f"--prefix={PREFIX}",
            f"--with-libfabric={efa.LIBFABRIC}",
            f"--with-cuda={cuda.HOME}",
            f"--with-mpi={efa.OPENMPI}",
            # Without it configure asks whether the *build* machine is one of EC2, and leaves the tuner out elsewhere.
            "--enable-platform-aws",
        )
        .run("make", f"-j{JOBS}")
        .run("make", "install")
        .library(f"{PREFIX}/lib")
        .check("the OFI plugin has its network and its tuner", "python3", "-c", CHECK)
        .check("the OFI plugin finds its libraries", "sh", "-c", LDD)
    )
