"""EFA: Amazon's libfabric, Open MPI, PMIx and rdma-core.

Source: the EFA installer's documentation (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html). Its
archive has a published signature; the sha256 of a release is a pin.
"""

from __future__ import annotations

from pathlib import Path

from vep_dagger.dsl import Build, LayerPins, Sha256, Version, http, layer
from vep_dagger.layers import cuda, efa_devices

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

PROVIDERS = tuple(efa_devices.DEVICES)
"""The adapters that libibverbs is to know: EFA, and NVIDIA's for InfiniBand and RoCE."""

DRIVERS = ":".join(f"{RDMA}/lib/libibverbs/lib{name}" for name in PROVIDERS)
"""For ``RDMAV_DRIVERS``. libibverbs looks for providers in directories that are compiled in, and nowhere else, but for
those that this variable names by their paths, to which it adds ``-rdmav<ABI>.so`` (rdma-core,
``libibverbs/dynamic_driver.c``).
"""

# rdma-core is the one part that the installer puts into the system's directories. A provider stays a link to its
# library, as in the system: libfabric calls the library by its own name, and of two copies one would not know the
# devices of the other.
KEEP_RDMA = f"""
set -eu
system=/usr/lib/$(uname -m)-linux-gnu
mkdir -p {RDMA}/lib/libibverbs {RDMA}/include
for name in ibverbs rdmacm {" ".join(PROVIDERS)}; do cp -a $system/lib$name.so* {RDMA}/lib/; done
for name in {" ".join(PROVIDERS)}; do cp -a $system/libibverbs/lib$name-rdmav*.so {RDMA}/lib/libibverbs/; done
cp -a /usr/include/infiniband /usr/include/rdma {RDMA}/include/
"""

VERSION = f"""
set -eu
sed -n '1s/^# //p' {PREFIX}/efa_installed_packages
grep -qxF "# EFA installer version: $1" {PREFIX}/efa_installed_packages
{LIBFABRIC}/bin/fi_info --version | grep -i '^libfabric:'
"""
"""The installer writes down what it was."""


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
        .export(OPAL_PREFIX=OPENMPI, RDMAV_DRIVERS=DRIVERS)
        .library(f"{RDMA}/lib")
        .library(f"{LIBFABRIC}/lib")
        .library(f"{OPENMPI}/lib")
        .library(f"{PMIX}/lib")
        .program(f"{LIBFABRIC}/bin")
        .program(f"{OPENMPI}/bin")
        .check("EFA is the pinned release", "sh", "-c", VERSION, "version", pins.version, expect=pins.version)
        .check("libibverbs knows EFA's and mlx5's devices", "python3", "-c", _known_devices(), f"{RDMA}/lib")
        .check("libfabric has the efa provider", f"{LIBFABRIC}/bin/fi_info", "-l", expect="efa:")
    )


def _known_devices() -> str:
    return Path(efa_devices.__file__).read_text(encoding="utf-8")
