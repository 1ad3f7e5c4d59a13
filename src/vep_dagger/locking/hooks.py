"""What the build of a source distribution asks for as it runs (``get_requires_for_build_wheel``, PEP 517): only its own
code can say, so that it is run, in an environment that holds what its ``pyproject.toml`` asks for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vep_dagger.locking.sdist import BuildSystem

TIMEOUT_S = 600
"""For each command: the packages of a build may be some gigabytes."""


class HookError(Exception):
    """Why a build could not be asked, in one line."""


@dataclass(frozen=True)
class Hook:
    """A build that can be asked."""

    tree: Path
    """The unpacked distribution, all in one directory of it (PEP 625). It is written into."""
    system: BuildSystem
    tools: Sequence[str]
    """The packages that it is run with, at their versions."""
    python: str
    """The minor release of Python that it is for. Where this machine has none of it, ours is taken."""
    for_uv: Mapping[str, str]
    for_commands: Mapping[str, str]

    def ask(self, place: Path) -> tuple[str, ...]:
        """The requirements that it answers with; ``place`` is a new directory for its environment. Raises HookError."""
        import pyproject_hooks

        try:
            self._prepare(place)
            try:
                # Without the machine's programs: what a build takes from there, CMake for instance, may be missing
                # where it is built.
                return self._call(place, str(place / "bin"))
            except (subprocess.SubprocessError, pyproject_hooks.BackendUnavailable):
                return self._call(place, f"{place / 'bin'}:{self.for_commands.get('PATH', os.defpath)}")
        except subprocess.CalledProcessError as error:
            said = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
            raise HookError(said[-1].strip() if said else f"it exited with {error.returncode}") from None
        except (subprocess.SubprocessError, pyproject_hooks.BackendUnavailable, OSError, ValueError) as error:
            raise HookError(str(error).partition("\n")[0] or type(error).__name__) from None

    def _prepare(self, place: Path) -> None:
        import uv

        program, make = uv.find_uv_bin(), ("venv", "--quiet", "--no-project", str(place), "--python")
        try:
            _run([program, *make, self.python], env=self.for_uv)
        except subprocess.CalledProcessError:
            _run([program, *make, sys.executable], env=self.for_uv)
        if self.tools:
            into = ("pip", "install", "--quiet", "--no-deps", "--python", str(place / "bin" / "python"))
            _run([program, *into, *self.tools], env=self.for_uv)

    def _call(self, place: Path, path: str) -> tuple[str, ...]:
        from pyproject_hooks import BuildBackendHookCaller

        own = {"PATH": path, "VIRTUAL_ENV": str(place), "PYTHONNOUSERSITE": "1"}

        def run(cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
            _run(cmd, env={**self.for_commands, **own, **(extra_environ or {})}, cwd=cwd)

        (tree,), python = self.tree.iterdir(), str(place / "bin" / "python")
        caller = BuildBackendHookCaller(str(tree), self.system.backend, self.system.path, run, python)
        return tuple(map(str, caller.get_requires_for_build_wheel()))


def _run(command: Sequence[str], *, env: Mapping[str, str], cwd: str | None = "/") -> None:
    # In the root directory uv finds nobody's project.
    subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
