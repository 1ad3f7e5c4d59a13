"""EFA: Amazon's libfabric, Open MPI, PMIx and rdma-core.

Source: the EFA installer's documentation (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html). Its
archive has a published signature; the sha256 of a release is a pin.
"""

from __future__ import annotations

from vep_dagger.dsl import Build, LayerPins, Sha256, Version, http, layer
from vep_dagger.layers import cuda

PREFIX = "/opt/amazon"
LIBFABRIC = f"{PREFIX}/efa"
OPENMPI = f"{PREFIX}/openmpi"
PMIX = f"{PREFIX}/pmix"
RDMA = f"{PREFIX}/rdma-core"

LINK = {
    "CPATH": f"{RDMA}/include",
    "LIBRARY_PATH": f"{RDMA}/lib",
    "LD_LIBRARY_PATH": f"{RDMA}/lib:{LIBFABRIC}/lib:{PMIX}/lib",
}
"""What a build that links libfabric, Open MPI or ibverbs must see, the libraries that those need among them."""

# rdma-core is the one part that the installer puts into the system's directories. A provider is found by its name on
# the loader's path too, so that copies in the prefix serve (of the files: the system's are links to the parent).
KEEP_RDMA = f"""
set -eu
system=/usr/lib/$(uname -m)-linux-gnu
mkdir -p {RDMA}/lib {RDMA}/include
for name in ibverbs efa mlx5 rdmacm; do cp -a $system/lib$name.so* {RDMA}/lib/; done
cp -L $system/libibverbs/*.so {RDMA}/lib/
cp -a /usr/include/infiniband /usr/include/rdma {RDMA}/include/
"""


class Pins(LayerPins):
    """The installer's release, and its archive's sha256 (or the lock knows it)."""

    version: Version = "1.43.2"
    sha256: Sha256 | None = None


@layer(prefix=PREFIX, needs=[cuda.devel])
def efa(build: Build, pins: Pins) -> Build:
    """User space alone: no kernel module, no limits of the host, no test of a device that a build machine lacks."""
    archive = f"https://efa-installer.amazonaws.com/aws-efa-installer-{pins.version}.tar.gz"
    return (
        build.mount(http(archive, pins.sha256, unpack=True), "/src")
        .workdir("/src/aws-efa-installer")
        .env(DEBIAN_FRONTEND="noninteractive")
        .run("apt-get", "update")
        .run("./efa_installer.sh", "-y", "-g", "-d", "--skip-kmod", "--skip-limit-conf", "--no-verify")
        .run("sh", "-c", KEEP_RDMA)
        # From 1.44 on the installer brings an NCCL plugin of its own, which must not be found beside the pinned one.
        .run("rm", "-rf", f"{PREFIX}/ofi-nccl")
        .export(OPAL_PREFIX=OPENMPI)
        .library(f"{RDMA}/lib")
        .library(f"{LIBFABRIC}/lib")
        .library(f"{OPENMPI}/lib")
        .library(f"{PMIX}/lib")
        .program(f"{LIBFABRIC}/bin")
        .program(f"{OPENMPI}/bin")
        .check("libfabric has the efa provider", f"{LIBFABRIC}/bin/fi_info", "-l", expect="efa:")
    )
