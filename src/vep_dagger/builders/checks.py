"""Checks in containers: commands in the finished image that leave their output in files, judged on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vep_dagger.builders import measure
from vep_dagger.builders.base import BuiltLayer
from vep_dagger.builders.container_install import RECORD
from vep_dagger.builders.failures import last_lines
from vep_dagger.builders.locked import locked_ways
from vep_dagger.builders.lowering import command
from vep_dagger.builders.stages import ENVIRONMENT, Exec
from vep_dagger.dsl import Check, Image, Layer
from vep_dagger.dsl.step import Install, Part, Run
from vep_dagger.errors import BuildError

CHECKS = "/run/vep-checks"
"""The directory that checks leave their output in. It is no content of the image."""

PACKAGES = "packages.json"
NOTES = "install.jsonl"
SIZES = "sizes.txt"
PYTHON_SIZES = "python-sizes.json"
SYSTEM = "system.txt"

_LIST_PACKAGES = (
    "import importlib.metadata as m, json, sys; "
    "json.dump({d.metadata['Name']: d.version for d in m.distributions()}, sys.stdout)"
)

_LIST_SYSTEM = ("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${binary:Package}=${Version}\\n")
_STATUS = 3
"""Characters of the status before a name: what is wanted of the package, what it is, and whether it is broken."""

UNOWNED = "files of no package"
"""What the environment has besides packages: its interpreter, if that is there, and what steps have written."""

_EACH_FILE = ("-type", "f", "-printf", "%s\\n", "-o", "-printf", "0\\n")
"""Directories print too, so that an empty prefix has a size and one that nobody could look at has none."""
_SUM = 'BEGIN { place = ARGV[1]; ARGC = 1 } { bytes += $1 } END { if (NR) printf "%.0f\\t%s\\n", bytes, place }'


@dataclass(frozen=True, slots=True)
class Proven:
    """What the commands in a finished image have shown."""

    checks: tuple[tuple[Check, str], ...] = ()
    """Each check with what it printed."""
    packages: Mapping[str, str] | None = None
    """The versions of the distributions of the Python environment; None where there is none."""
    alternatives: tuple[str, ...] = ()
    """For each installation, the requirements of the alternative that was taken."""
    notes: tuple[str, ...] = ()
    """What people should know of the installations."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of what layers and the Python environment left in the image, by the names of their stages; of those that
    could be told."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Of the Python environment's bytes those of each part, by name, and those of no package: all of it. Empty where it
    was not installed in parts, or could not be measured."""
    system: Mapping[str, str] = field(default_factory=dict)
    """The versions of the distribution's packages, in the order of their lines ``name=version``; empty where dpkg knows
    of none."""


def sized(layer: BuiltLayer, sizes: Mapping[str, int], parts: Mapping[str, int]) -> BuiltLayer:
    """The layer with its size, and the parts if it is the Python environment."""
    return replace(layer, size_bytes=sizes.get(layer.name), parts=parts if layer.name == ENVIRONMENT else {})


def output_file(number: int) -> str:
    """The file of :data:`CHECKS` that the check of this number (from 0) leaves its output in."""
    return f"{number:02}.txt"


def check_commands(image: Image) -> tuple[Exec, ...]:
    """The commands to run, in this order, in the finished image, and in one container: each leaves a file in
    :data:`CHECKS`.

    A check that fails ends with its own exit code, and its output is shown too.
    """
    done = [
        Exec(_kept(command(check.argv), f"{CHECKS}/{output_file(number)}"), step=check)
        for number, check in enumerate(image.checks)
    ]
    prefix = image.python_prefix
    if prefix:
        record, kept = command([f"{prefix}/{RECORD}"]), f"{CHECKS}/{NOTES}"
        ask = command([f"{prefix}/bin/python", "-I", "-c", _LIST_PACKAGES])
        done.append(Exec(f"mkdir -p {CHECKS}; {ask} > {CHECKS}/{PACKAGES}"))
        done.append(Exec(f"mkdir -p {CHECKS}; if [ -e {record} ]; then cat {record} > {kept}; fi"))
    # What follows proves nothing, and so fails nothing: an image may be without these programs. Files alone, since what
    # a directory takes is the file system's affair, and a manifest is the same on every machine.
    if prefix:
        ask = command([f"{prefix}/bin/python", "-IB", "-c", Path(measure.__file__).read_text(encoding="utf-8"), prefix])
        done.append(Exec(f"mkdir -p {CHECKS}; {ask} > {CHECKS}/{PYTHON_SIZES} || rm -f {CHECKS}/{PYTHON_SIZES}"))
    if places := _places(image):
        ask = "; ".join(
            f"{command(('find', place, *_EACH_FILE))} | {command(['awk', _SUM, place])}" for place in places
        )
        done.append(Exec(f"mkdir -p {CHECKS}; {{ {ask}; }} > {CHECKS}/{SIZES} 2>/dev/null || :"))
    if done or _ran(image):
        listed = f"{CHECKS}/{SYSTEM}"
        done.append(Exec(f"mkdir -p {CHECKS}; {command(_LIST_SYSTEM)} > {listed} 2>/dev/null || rm -f {listed}"))
    return tuple(done)


def _ran(image: Image) -> bool:
    """Whether a command has been run on the way to the image: else it may be without a shell, and its packages are
    those of its base.
    """
    return isinstance(image.base, Layer) or any(isinstance(step, Run) for step in image.build.steps)


def _places(image: Image) -> dict[str, str]:
    """The directories whose sizes are asked, with the layers that they are of."""
    return {layer.prefix: layer.name for layer in image.layers}


def _kept(line: str, file: str) -> str:
    return f"mkdir -p {CHECKS}; code=0; {line} > {file} 2>&1 || code=$?; cat {file}; exit $code"


def judge(image: Image, files: Mapping[str, str], log: Path, redact: Callable[[str], str] = str) -> Proven:
    """What the files of :data:`CHECKS` show, by name. Raises BuildError where an output has not what its check expects,
    or is not there. ``redact`` takes secrets out of what checks and installations said.
    """
    checks = []
    for number, check in enumerate(image.checks):
        where = f"{image.tag}, check {check.name!r}"
        output = files.get(output_file(number))
        if output is None:
            raise BuildError(
                f"{where}: it left no output, and so was not run", where=str(log), layer=_owner(image, check)
            )
        output = redact(output.rstrip("\n"))
        if check.expect is not None and check.expect not in output:
            lines = output.splitlines()
            raise BuildError(
                f"{where}: {check.expect!r} is not in what it printed:{last_lines(lines)}",
                where=str(log),
                layer=_owner(image, check),
                command=" ".join(check.argv),
                code=0,
                output=tuple(lines),
            )
        checks.append((check, output))
    records = [json.loads(line) for line in files.get(NOTES, "").splitlines() if line.strip()]
    locked = tuple(locked_ways(image.build))
    whole, parts = _environment(image, files.get(PYTHON_SIZES, ""))
    return Proven(
        checks=tuple(checks),
        packages=_packages(files[PACKAGES]) if PACKAGES in files else None,
        alternatives=(
            *(" ".join(way.requirements) for way in locked),
            *(" ".join(record["requirements"]) for record in records),
        ),
        notes=(
            *(way.note for way in locked if way.note),
            *(redact(note) for record in records for note in record["notes"]),
        ),
        sizes=_sizes(files.get(SIZES, ""), _places(image)) | whole,
        parts=parts,
        system=_system(files.get(SYSTEM, "")),
    )


def _system(text: str) -> dict[str, str]:
    """The packages that are installed, and not only known."""
    lines = sorted(line[_STATUS:] for line in text.splitlines() if line[1:2] == "i")
    return {name: version for name, _, version in (line.partition("=") for line in lines)}


def _sizes(text: str, places: Mapping[str, str]) -> dict[str, int]:
    """What ``du`` has printed: bytes, a tab, and the directory."""
    found = (line.partition("\t") for line in text.splitlines())
    return {places[place]: int(size) for size, _, place in found if place in places and size.isdecimal()}


def _environment(image: Image, text: str) -> tuple[dict[str, int], dict[str, int]]:
    """What :mod:`.measure` has printed: the size of the Python environment, and of its parts."""
    if not text:
        return {}, {}
    measured = json.loads(text)
    steps = [step for step in image.build.steps if isinstance(step, Install) and step.prefix == image.python_prefix]
    parts = [step.part for step in steps if step.part]
    whole = {ENVIRONMENT: measured["bytes"]}
    if not parts:
        return whole, {}
    # Other installations may have brought packages too: these are of the parts that name them, and else of the rest.
    asked = [*sorted(parts, key=lambda part: part.everything), Part(("*",))]
    sizes = dict.fromkeys((part.title for part in parts), 0)
    for name, size in measured["packages"].items():
        title = next(part.title for part in asked if part.fits(name))
        sizes[title] = sizes.get(title, 0) + size
    return whole, sizes | {UNOWNED: measured["bytes"] - sum(sizes.values())}


def _packages(text: str) -> dict[str, str]:
    from packaging.utils import canonicalize_name

    return dict(sorted((str(canonicalize_name(name)), version) for name, version in json.loads(text).items()))


def _owner(image: Image, check: Check) -> str | None:
    """The layer that declared the check; None for the image itself."""
    below = image.base.lineage if isinstance(image.base, Layer) else ()
    return next((layer.name for layer in (*below, *image.layers) if check in layer.build.checks), None)
