"""The machine as probes see it: one value, so that a test can make a machine of its own."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_TIMEOUT_S = 4.0
"""Below :data:`vep_dagger.doctor.diagnose.PROBE_TIMEOUT_S`, so that a program that hangs is named by its probe."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of a file system."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Output:
    """What a program answered; ``code`` is None if it had to be killed for taking too long."""

    code: int | None
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The first line of what it says is wrong."""
        if self.code is None:
            return f"it does not answer within {COMMAND_TIMEOUT_S:g} s"
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return lines[0][:200] if lines else f"exit code {self.code}"


def _disk(path: Path) -> Disk:
    usage = shutil.disk_usage(path)
    return Disk(usage.total, usage.free)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where probes look: files below ``root``, variables in ``environ``, programs on its PATH."""

    environ: Mapping[str, str]
    cache: Path
    """Where builders keep environments; it need not exist."""
    work: Path
    """Where runs are written."""
    root: Path = Path("/")
    programs: Path | None = None
    """Where this installation's own programs are, uv among them; looked at before PATH."""
    cores: int = 1
    python: str = "3.11.0"
    """The version of the Python that vep runs under."""
    disk: Callable[[Path], Disk] = field(default=_disk)

    @classmethod
    def here(cls, cache: Path | None = None) -> Machine:
        """This machine; ``cache`` is the builders' cache unless another is given."""
        if cache is None:
            from vep_dagger.builders.cache import cache_root

            cache = cache_root()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(
            environ=dict(os.environ),
            cache=cache,
            work=Path.cwd(),
            programs=Path(sys.prefix) / "bin",
            cores=cores,
            python=platform.python_version(),
        )

    def path(self, absolute: str) -> Path:
        """A path of the machine, ``/dev/shm`` for instance."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """What a file says, stripped, or None if it cannot be read."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def home(self, *parts: str) -> Path:
        """A path below the user's home directory."""
        return Path(self.environ.get("HOME") or self.root / "root", *parts)

    def which(self, program: str) -> str | None:
        """The path of a program, or None."""
        own = shutil.which(program, path=str(self.programs)) if self.programs else None
        return own or shutil.which(program, path=self.environ.get("PATH", os.defpath))

    def run(self, argv: Sequence[str], stdin: str = "") -> Output:
        """Run a program for at most :data:`COMMAND_TIMEOUT_S`; nothing of it is alive afterwards."""
        try:
            process = subprocess.Popen(
                argv,
                env={**self.environ, "LC_ALL": "C"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return Output(127, "", f"{argv[0]}: {error.strerror}")
        with process:
            try:
                out, err = process.communicate(stdin, timeout=COMMAND_TIMEOUT_S)
                return Output(process.returncode, out, err)
            except subprocess.TimeoutExpired:
                # The whole group: a child that holds the pipes would keep communicate() waiting.
                os.killpg(process.pid, signal.SIGKILL)
                return Output(None, *process.communicate())
