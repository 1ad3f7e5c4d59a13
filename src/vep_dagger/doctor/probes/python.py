"""What the ``venv`` builder makes environments with."""

from __future__ import annotations

import json
from collections.abc import Iterator

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine

LIBRARY_PATHS = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib", "lib/*-linux-gnu", "usr/lib/*-linux-gnu")


def probe_uv(machine: Machine) -> Iterator[Finding]:
    """uv, which comes with this package."""
    enables = "environments with vLLM in them (--builder venv)"
    program = machine.which("uv")
    if program is None:
        yield Finding("uv", "missing", "no uv in this installation, none on PATH", enables, "reinstall the package uv")
        return
    answer = machine.run([program, "--version"])
    if answer.ok:
        yield Finding("uv", "ok", " ".join(answer.out.split()[:2]), enables)
    else:
        yield Finding("uv", "missing", answer.complaint, enables, "reinstall the package uv")


def probe_python(machine: Machine) -> Iterator[Finding]:
    """The Python that vep runs under, which environments are made of where it fits, and the others that uv finds."""
    enables = "environments with vLLM in them: each release runs on some Pythons alone"
    own = f"{machine.python} (vep's own)"
    program = machine.which("uv")
    argv = [program or "uv", "python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"]
    answer = machine.run(argv)
    try:
        listed = json.loads(answer.out)
        found = {str(each["version"]) for each in listed if each["implementation"] == "cpython"}
    except (ValueError, KeyError, TypeError):
        what = f"{own}; uv lists no others: {answer.complaint}"
        yield Finding("python", "limited", what, enables, "uv python list must work")
        return
    others = sorted(found - {machine.python}, key=_numbers)
    yield Finding("python", "ok", ", ".join([own, *others]), enables)


def probe_libnuma(machine: Machine) -> Iterator[Finding]:
    """libnuma, which vLLM's CPU kernels are linked to."""
    enables = "vLLM on CPUs"
    searched = [machine.root / place for place in machine.environ.get("LD_LIBRARY_PATH", "").split(":") if place]
    searched += [path for place in LIBRARY_PATHS for path in sorted(machine.root.glob(place))]
    found = next((path for path in searched if (path / "libnuma.so.1").exists()), None)
    if found:
        yield Finding("libnuma", "ok", str(found / "libnuma.so.1"), enables)
    else:
        hint = "apt install libnuma1; dnf install numactl-libs"
        yield Finding("libnuma", "missing", "no libnuma.so.1", enables, hint)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
