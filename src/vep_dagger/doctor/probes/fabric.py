"""The network between nodes, and between it and the GPUs: EFA, other RDMA devices, GDRCopy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine

AMAZON = "0x1d0f"
"""Amazon's PCI vendor id: an RDMA device with it is an EFA."""
EFA_PROGRAMS = "/opt/amazon/efa/bin"
"""Where Amazon's installer puts libfabric's programs."""

FOR_VERBS = "containers need --device /dev/infiniband; see the device files' permissions otherwise"
"""What to do where :func:`_verbs_trouble` finds some."""


def probe_efa(machine: Machine) -> Iterator[Finding]:
    """EFA devices: known to the kernel, usable by this user, seen by libfabric."""
    enables = "NVSHMEM and NCCL between nodes on AWS"
    devices = [device for device in _devices(machine) if _vendor(device) == AMAZON]
    if not devices:
        hint = "an instance type with EFA, EFA enabled on its network interface, and Amazon's EFA driver"
        yield Finding("efa", "missing", "no EFA device", enables, hint)
        return
    names = _listed(devices)
    if trouble := _verbs_trouble(machine):
        yield Finding("efa", "limited", f"{names}, but {trouble}", enables, FOR_VERBS)
        return
    program = machine.which("fi_info") or machine.which(str(machine.path(EFA_PROGRAMS) / "fi_info"))
    if program is None:
        yield Finding("efa", "ok", f"{names}; no fi_info here to ask libfabric", enables)
        return
    answer = machine.run([program, "-p", "efa"])
    if answer.ok:
        yield Finding("efa", "ok", f"{names}, seen by libfabric", enables)
    else:
        hint = f"{program} -p efa must list the devices; the image has a libfabric of its own"
        yield Finding("efa", "limited", f"{names}; libfabric of this machine: {answer.complaint}", enables, hint)


def probe_rdma(machine: Machine) -> Iterator[Finding]:
    """InfiniBand and RoCE devices, which are not EFA."""
    enables = "NVSHMEM with IBGDA or IBRC between nodes"
    devices = [device for device in _devices(machine) if _vendor(device) != AMAZON]
    if not devices:
        hint = "a network card with RDMA, and its driver"
        yield Finding("rdma", "missing", "no InfiniBand or RoCE device", enables, hint)
        return
    names = _listed(devices)
    if trouble := _verbs_trouble(machine):
        yield Finding("rdma", "limited", f"{names}, but {trouble}", enables, FOR_VERBS)
    else:
        yield Finding("rdma", "ok", names, enables)


def probe_gdrcopy(machine: Machine) -> Iterator[Finding]:
    """GDRCopy's device, which the host's kernel module makes."""
    enables = "low-latency copies between GPU and network card (NVSHMEM, NCCL's EFA plugin)"
    device = machine.path("/dev/gdrdrv")
    if not device.exists():
        loaded = "gdrdrv " in (machine.text("/proc/modules") or "")
        what = "the module gdrdrv is loaded, but there is no /dev/gdrdrv" if loaded else "no /dev/gdrdrv"
        hint = "containers need --device /dev/gdrdrv" if loaded else "install and load gdrdrv on the host (gdrdrv-dkms)"
        yield Finding("gdrcopy", "limited" if loaded else "missing", what, enables, hint)
    elif not os.access(device, os.R_OK | os.W_OK):
        yield Finding("gdrcopy", "limited", "/dev/gdrdrv is not this user's to open", enables, "chmod 666 /dev/gdrdrv")
    else:
        yield Finding("gdrcopy", "ok", "/dev/gdrdrv", enables)


def _devices(machine: Machine) -> list[Path]:
    try:
        return sorted(machine.path("/sys/class/infiniband").iterdir())
    except OSError:
        return []


def _listed(devices: list[Path]) -> str:
    return f"{len(devices)} ({', '.join(device.name for device in devices)})"


def _vendor(device: Path) -> str:
    try:
        return (device / "device" / "vendor").read_text().strip()
    except OSError:
        return ""


def _verbs_trouble(machine: Machine) -> str | None:
    """Why RDMA devices that the kernel has cannot be used by this process, or None."""
    files = sorted(machine.path("/dev/infiniband").glob("uverbs*"))
    if not files:
        return "there is no /dev/infiniband/uverbs*"
    if not all(os.access(file, os.R_OK | os.W_OK) for file in files):
        return "/dev/infiniband/uverbs* are not this user's to open"
    return None
