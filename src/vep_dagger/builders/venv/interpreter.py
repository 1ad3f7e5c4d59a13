"""Which Python of this machine an environment is made of. None is ever downloaded."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from vep_dagger.builders.manifest import Interpreter
from vep_dagger.errors import MachineError

_SEARCH_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class _Found:
    interpreter: Interpreter
    ordinary: bool
    """CPython, not free-threaded."""


def specifier(version: str) -> SpecifierSet:
    """The interpreters that ``version`` means: a PEP 440 specifier, or a release (``3.12`` is every 3.12.*)."""
    if not version[:1].isdigit():
        return SpecifierSet(version)
    return SpecifierSet(f"=={version}" if version.count(".") >= 2 else f"=={version}.*")


def choose(version: str, uv: Path, env: Mapping[str, str]) -> Interpreter:
    """The interpreter that ``vep`` itself runs under, if it will do: so all environments of a machine have the same
    one.

    Else the newest that uv finds. Raises MachineError if there is none, with those that were found.
    """
    wanted = specifier(version)
    own = running()
    ordinary = own.implementation == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    if ordinary and wanted.contains(own.version, prereleases=True):
        return own
    found = _installed(uv, env)
    fits = [each for each in found if each.ordinary and wanted.contains(each.interpreter.version)]
    if fits:
        return max(fits, key=lambda each: _release(each.interpreter.version)).interpreter
    seen = sorted({f"{each.interpreter.version} ({each.interpreter.path})" for each in found})
    raise MachineError(
        f"no Python {version} on this machine; found: {', '.join(seen) or 'none'}",
        hint="have one on PATH (the system's packages, pyenv, `uv python install`), or change the pin 'python'",
    )


def running() -> Interpreter:
    """The interpreter that ``vep`` runs under; for one of a virtual environment, the one that it was made of."""
    path = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(implementation=sys.implementation.name, version=platform.python_version(), path=str(path))


def platform_tag() -> str:
    """What compiled packages depend on besides the interpreter: ``linux-x86_64-glibc2.36``."""
    libc, version = platform.libc_ver()
    return f"{sys.platform}-{platform.machine()}-{libc or 'libc'}{version}"


def _installed(uv: Path, env: Mapping[str, str]) -> list[_Found]:
    command = [str(uv), "python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"]
    try:
        done = subprocess.run(
            command, env=dict(env), cwd="/", capture_output=True, text=True, timeout=_SEARCH_TIMEOUT_S, check=True
        )
        listed = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return [
        _Found(
            Interpreter(implementation=each["implementation"], version=each["version"], path=each["path"]),
            each["implementation"] == "cpython" and each.get("variant", "default") == "default",
        )
        for each in listed
        if each.get("path")
    ]


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
