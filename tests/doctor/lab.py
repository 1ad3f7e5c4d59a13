"""A machine of a test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vep_dagger.doctor import Disk, Finding, Machine, Probe


@dataclass
class Lab:
    """A machine of a test's own: a root directory, programs that are shell scripts, variables, sizes of disks."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    cores: int = 4

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def program(self, name: str, script: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def file(self, absolute: str, text: str = "") -> Path:
        path = self.root / absolute.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def folder(self, absolute: str) -> Path:
        path = self.root / absolute.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def rdma(self, name: str, vendor: str) -> None:
        self.file(f"/sys/class/infiniband/{name}/device/vendor", vendor + "\n")

    def disk(self, path: Path) -> Disk:
        for part, disk in self.disks.items():
            if part in str(path):
                return disk
        return Disk(2**40, 2**39)

    @property
    def machine(self) -> Machine:
        surroundings = {"PATH": str(self.directory / "bin"), "HOME": str(self.root / "home"), **self.environ}
        return Machine(
            environ=surroundings,
            cache=self.directory / "cache",
            work=self.directory / "work",
            root=self.root,
            cores=self.cores,
            python="3.11.7",
            disk=self.disk,
        )

    def find(self, probe: Probe, name: str | None = None) -> Finding:
        """The only finding of a probe, or the one called ``name``."""
        found = [finding for finding in probe(self.machine) if name in {None, finding.name}]
        assert len(found) == 1
        return found[0]
