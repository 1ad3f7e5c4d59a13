"""Fabrics: the network between a server's nodes, as the variables that its transports want and the devices that a
container needs.

Sources: NVSHMEM's ``REMOTE_TRANSPORT`` (ibrc, ucx, libfabric, ibdevx, none; ibrc by default) and
``LIBFABRIC_PROVIDER`` (cxi, efa, verbs; cxi by default), in ``src/include/host/env/env_defs.h`` and
``src/modules/transport/common/env_defs.h`` of https://github.com/NVIDIA/nvshmem; ``FI_PROVIDER`` in
``doc/efa-env-var.md`` of https://github.com/aws/aws-ofi-nccl; ``NCCL_NET`` (IB, Socket) in NCCL's user guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vep_dagger.matrix.schema import Fabric

RDMA_DEVICES = ("/dev/infiniband/uverbs*", "/dev/gdrdrv")
"""Verbs of the network cards, and GDRCopy's driver. A star stands for every device of that name on the node."""

BY_NVSHMEM = ("pplx", "deepep_high_throughput", "deepep_low_latency")
"""All-to-all backends that go through NVSHMEM between nodes."""


@dataclass(frozen=True, slots=True)
class FabricNeeds:
    """What one fabric asks of a server and its container."""

    env: tuple[tuple[str, str], ...]
    """Variables of the server, sorted by name."""
    devices: tuple[str, ...] = ()
    """Device files of the node."""

    @property
    def ulimits(self) -> tuple[tuple[str, int], ...]:
        """Limits of the container; -1 is none. RDMA locks the memory that it registers."""
        return (("memlock", -1),) if self.devices else ()


FABRICS: Mapping[Fabric, FabricNeeds] = MappingProxyType(
    {
        # No NCCL_NET: the plugin's name is another in each release of it ("AWS Libfabric", "Libfabric").
        "efa": FabricNeeds(
            (
                ("FI_PROVIDER", "efa"),
                ("NVSHMEM_LIBFABRIC_PROVIDER", "efa"),
                ("NVSHMEM_REMOTE_TRANSPORT", "libfabric"),
            ),
            RDMA_DEVICES,
        ),
        # With NCCL_NET a missing network is an error, where NCCL would take sockets without a word.
        "infiniband": FabricNeeds((("NCCL_NET", "IB"), ("NVSHMEM_REMOTE_TRANSPORT", "ibrc")), RDMA_DEVICES),
        "tcp": FabricNeeds((("NCCL_NET", "Socket"),)),
    }
)

NO_FABRIC = FabricNeeds(())
"""Every library finds its network by itself."""


def needs_of(fabric: Fabric | None) -> FabricNeeds:
    """What the fabric asks for; nothing, where none is named."""
    return FABRICS[fabric] if fabric else NO_FABRIC


def why_impossible(fabric: Fabric | None, all2all: str | None) -> str | None:
    """Why a backend cannot go over a fabric; None if nothing is known against it."""
    if fabric == "tcp" and all2all in BY_NVSHMEM:
        return f"all2all backend {all2all!r} needs NVSHMEM between nodes, which has no transport over TCP"
    return None
