"""Slurm, and what it runs containers with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine


def probe_slurm(machine: Machine) -> Iterator[Finding]:
    """Whether ``sinfo`` is there and a controller answers it; the partitions with their nodes."""
    enables = "servers over several nodes, as jobs of a cluster"
    program = machine.which("sinfo")
    if program is None:
        yield Finding("slurm", "missing", "no sinfo on PATH", enables, "run vep on a login node of the cluster")
        return
    answer = machine.run([program, "--noheader", "--format=%P %a %D %G"])
    if not answer.ok:
        hint = "the controller must answer sinfo; look at SLURM_CONF and at the network to it"
        yield Finding("slurm", "limited", answer.complaint, enables, hint)
        return
    rows = [row for row in map(str.split, answer.out.splitlines()) if len(row) >= 3]
    up = [f"{name.rstrip('*')} ({nodes} nodes, {' '.join(gres) or 'no GRES'})" for name, _, nodes, *gres in rows]
    if up:
        yield Finding("slurm", "ok", f"partitions: {', '.join(up)}", enables)
    else:
        yield Finding("slurm", "limited", "no partition for this user", enables, "ask for access to a partition")


def probe_enroot(machine: Machine) -> Iterator[Finding]:
    """Whether ``enroot`` is there, which then makes the SquashFS files of images in Docker."""
    enables = "vep squash of images in Docker by enroot itself, not by mksquashfs; starting such files, as pyxis does"
    program = machine.which("enroot")
    if program is None:
        yield Finding("enroot", "missing", "no enroot on PATH", enables, "https://github.com/NVIDIA/enroot/releases")
        return
    answer = machine.run([program, "version"])
    if answer.ok:
        yield Finding("enroot", "ok", answer.out.strip(), enables)
    else:
        yield Finding("enroot", "limited", answer.complaint, enables, "enroot version must work")


def probe_squashfs_tools(machine: Machine) -> Iterator[Finding]:
    """Whether ``mksquashfs`` is there, and can read a tar stream."""
    enables = "images as SquashFS files for enroot and pyxis (vep squash), with and without enroot"
    program = machine.which("mksquashfs")
    if program is None:
        yield Finding("squashfs-tools", "missing", "no mksquashfs on PATH", enables, "apt-get install squashfs-tools")
        return
    answer = machine.run([program, "-version"])
    what = answer.out.partition("\n")[0].strip() or answer.complaint
    found = re.search(r"version (\d+)\.(\d+)", what)
    if found and (int(found[1]), int(found[2])) < (4, 5):
        yield Finding("squashfs-tools", "limited", what, enables, "version 4.5 or newer reads tar streams")
    else:
        yield Finding(
            "squashfs-tools",
            "ok" if answer.ok else "limited",
            what,
            enables,
            None if answer.ok else "mksquashfs -version must work",
        )
