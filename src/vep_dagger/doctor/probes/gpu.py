"""NVIDIA's GPUs, and containers that may use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine

QUERY = "--query-gpu=name,memory.total,driver_version"


def probe_gpu(machine: Machine) -> Iterator[Finding]:
    """What ``nvidia-smi`` lists: names, memory, driver, how many."""
    enables = "measuring the GPU stack; images are built without one"
    program = machine.which("nvidia-smi")
    if program is None:
        hint = "a machine with NVIDIA GPUs and their driver"
        yield Finding("gpu", "missing", "no nvidia-smi on PATH", enables, hint)
        return
    answer = machine.run([program, QUERY, "--format=csv,noheader,nounits"])
    rows = [tuple(part.strip() for part in line.split(",")) for line in answer.out.splitlines()]
    gpus = [row for row in rows if len(row) == 3]
    if not answer.ok or not gpus:
        what = answer.complaint if not answer.ok else "nvidia-smi lists none"
        yield Finding("gpu", "limited", f"a driver's tools, no GPU: {what}", enables, "nvidia-smi must list the GPUs")
        return
    kinds = Counter((name, memory) for name, memory, _ in gpus)
    listed = ", ".join(f"{count} × {name} ({_gib(memory)})" for (name, memory), count in kinds.items())
    yield Finding("gpu", "ok", f"{listed}, driver {gpus[0][2]}", enables)


def probe_container_toolkit(machine: Machine) -> Iterator[Finding]:
    """Whether NVIDIA's container toolkit is there, without which no container sees a GPU."""
    enables = "GPUs inside containers"
    program = machine.which("nvidia-ctk")
    if program is None:
        hint = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit"
        yield Finding("container-toolkit", "missing", "no nvidia-ctk on PATH", enables, hint)
        return
    answer = machine.run([program, "--version"])
    if answer.ok:
        yield Finding("container-toolkit", "ok", (answer.out.splitlines() or ["there"])[0], enables)
    else:
        yield Finding("container-toolkit", "limited", answer.complaint, enables, "nvidia-ctk --version must work")


def _gib(mebibytes: str) -> str:
    return f"{int(mebibytes) / 1024:.0f} GiB" if mebibytes.isdecimal() else f"memory {mebibytes}"
