"""aws-ofi-nccl: NCCL's network plugin for libfabric.

Source: https://github.com/aws/aws-ofi-nccl (INSTALL, release notes).
"""

from __future__ import annotations

import re

from vep_dagger.dsl import JOBS, Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda, efa, provenance

PREFIX = "/opt/aws-ofi-nccl"

CHECK = f"""
import ctypes, os, re, sys
file = "{PREFIX}/lib/libnccl-net.so"
plugin = ctypes.CDLL(file, mode=os.RTLD_NOW)
for symbol in ("ncclNetPlugin_v10", "ncclTunerPlugin_v3"):
    ctypes.c_void_p.in_dll(plugin, symbol)
    print("plugin", symbol)
said = sorted({{each.decode() for each in re.findall(rb"aws-ofi-nccl \\d[0-9A-Za-z.-]*", open(file, "rb").read())}})
print("it calls itself", *said)
sys.exit(sys.argv[1] != "" and said != ["aws-ofi-nccl " + sys.argv[1]])
"""
"""The plugin says its release in NCCL's log, and so has it in itself."""

# Without the addresses, which differ each time.
LDD = f"""
set -eu
needed=$(ldd {PREFIX}/lib/libnccl-net.so)
echo "$needed" | sed 's/ (0x.*//; s/^[[:space:]]*//'
if echo "$needed" | grep -q 'not found'; then exit 1; fi
"""


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit."""

    version: Version = "v1.16.3"
    commit: Commit | None = None

    @property
    def release(self) -> str:
        """``1.16.3`` of the tag ``v1.16.3``; empty for another name, which says no release."""
        return found[1] if (found := re.fullmatch(r"v(\d+\.\d+\.\d+)(?:-aws)?", self.version)) else ""


@layer(prefix=PREFIX, needs=[cuda.devel, efa.efa])
def aws_ofi_nccl(build: Build, pins: Pins) -> Build:
    """Plugin and tuner, from the commit, whose content is known, where a release archive would first need a hash."""
    source = git("https://github.com/aws/aws-ofi-nccl.git", pins.commit, ref=pins.version)
    build = provenance.recorded(build.mount(source, "/src"), PREFIX)
    built = (
        build.workdir("/src")
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
        .check("the OFI plugin has its network and its tuner", "python3", "-c", CHECK, pins.release)
        .check("the OFI plugin finds its libraries", "sh", "-c", LDD, expect="libfabric.so")
    )
    return provenance.proven(built, "the OFI plugin", PREFIX, pins.commit)
