"""Which Python makes the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

from bootstrap import SetupError

OLDEST = (3, 11)
PROBE = """
import json, sys
try:
    import ensurepip, venv
    usable = True
except ImportError:
    usable = False
print(json.dumps([sys.executable, list(sys.version_info[:3]), usable]))
"""


class Python(NamedTuple):
    """A Python that was found: its path, its version, and whether it can make environments with pip in them."""

    path: str
    version: tuple[int, ...]
    usable: bool

    def __str__(self) -> str:
        return f"Python {self.number} ({self.path})"

    @property
    def number(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def probe(program: str) -> Python | None:
    """What ``program`` is, or None if it is no Python that runs (pyenv's shim of a version that is not selected)."""
    try:
        done = subprocess.run([program, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
        path, version, usable = json.loads(done.stdout.decode())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Python(path, tuple(version), usable)


def candidates(home: Path) -> list[str]:
    """Programs that may be a Python, the likeliest first: the running one, those on PATH, then pyenv's and uv's."""
    names = ["python3.12", "python3.11", "python3.13", "python3.14", "python3", "python"]
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    managed = home / ".local" / "share" / "uv" / "python"
    elsewhere = [*sorted(pyenv.glob("3.1[1-9]*/bin/python")), *sorted(managed.glob("cpython-3.1[1-9]*/bin/python3"))]
    on_path = [found for found in map(shutil.which, names) if found]
    return [sys.executable, *on_path, *map(str, elsewhere)]


def choose(programs: Sequence[str], look: Callable[[str], Python | None] = probe) -> Python:
    """The first of ``programs`` that is new enough and can make environments. SetupError says what was found."""
    found: list[Python] = []
    for program in programs:
        python = look(program)
        if python is None or python in found:
            continue
        if python.version >= OLDEST and python.usable:
            return python
        found.append(python)
    for python in found:
        if python.version >= OLDEST:
            package = "python{}.{}-venv".format(*python.version)
            raise SetupError(
                f"{python} is without the modules venv and ensurepip.\n"
                f"  Debian, Ubuntu: apt install python3-venv (or {package}); then make again."
            )
    raise SetupError(
        f"Python {'.'.join(map(str, OLDEST))} or newer is needed; found: {', '.join(map(str, found)) or 'none'}.\n"
        "  Debian 12, Ubuntu 24.04 or newer: apt install python3 python3-venv.\n"
        "  Elsewhere: pyenv install 3.12, or uv python install 3.12.\n"
        "  One that is not on PATH: make PYTHON=/path/to/python3.12 ..."
    )
