"""What enroot finds in an image: its environment, its mounts, its command script, as ``enroot import`` writes them.

Source of the facts: NVIDIA/enroot v4.1.2 (commit bd51f53b6fa954805ae3e1985c5dc7594ff66d05).

``src/docker.sh``, ``docker::configure``
    ``/etc/environment`` has one line ``KEY=value`` for each of the image's ``Env``, as it is. ``/etc/fstab`` has a line
    for each of its ``Volumes``. ``/etc/rc`` has its labels as comments, an empty line, and a script: it makes the
    working directory and goes there, sources ``/etc/rc.local``, and executes the entry point with the arguments that it
    was given, or, without any, with those of ``Cmd``; both quoted by bash (``${words[@]@Q}``). An image with neither
    gets ``/bin/sh`` as its command. ``/etc/rc.local`` has two comments. The working directory is made.
``src/docker.sh``, ``docker::configure`` after v4.1.2 (commit 8ea147d337da60cb1c557140f3a85cdf0d620968)
    ``/etc/rc`` begins with ``# enroot-provenance: URI``.
``src/docker.sh``, ``docker::import`` and ``docker::daemon::import``
    What is below ``/dev`` is left out, and ``/.dockerenv``; ``mksquashfs`` gets ``-all-root`` and
    ``ENROOT_SQUASH_OPTIONS`` (``-comp lzo -noD -exit-on-error`` by default, ``enroot.in``).
``src/common.sh``, ``common::fixperms``
    Every file can be read by its owner, every directory entered and written.
``src/common.sh``, ``common::envsubst`` and ``common::envfmt``
    Of ``/etc/environment`` a container gets each line with ``${NAME}`` replaced by the host's variable, without the
    quotes around a value, and no line that is not ``NAME=value``, nor any name that begins with ``ENROOT_``.
``bin/enroot-switchroot.c``, ``sys_init``
    Unless ``ENROOT_LOGIN_SHELL`` is ``no``, a login shell runs ``/etc/rc``, after ``/etc/profile``: Debian's sets
    PATH anew. Therefore our ``/etc/rc.local`` has, which enroot's has not, lines that give the image's PATH back.
``conf/hooks/98-nvidia.sh``
    GPUs are in a container only where ``NVIDIA_VISIBLE_DEVICES`` is among its variables; the driver's libraries for
    CUDA with ``compute`` in ``NVIDIA_DRIVER_CAPABILITIES`` (``utility`` alone by default).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vep_dagger.errors import BuildError

PROVENANCE = "# enroot-provenance: "
"""Begins the first line of ``/etc/rc``: where the image came from."""
SCHEME = "vep://"
"""Of an image whose file was not made by enroot itself."""
ID_LABEL = "dev.vep.id"
"""The digest of the image's configuration, which is its id in a Docker daemon."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBSTITUTED = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_QUOTED = re.compile(r"""["'].*["']\s*""")
_UNPRINTABLE = {"\a": r"\a", "\b": r"\b", "\t": r"\t", "\n": r"\n", "\v": r"\v", "\f": r"\f", "\r": r"\r"}
_RC = """\
mkdir -p "{directory}" 2> /dev/null
cd "{directory}" && unset OLDPWD || exit 1

if [ -s /etc/rc.local ]; then
    . /etc/rc.local
fi

if [ $# -gt 0 ]; then
    exec {entry} "$@"
else
    exec {entry} {command}
fi
"""
_RC_LOCAL = """\
# This file is sourced by /etc/rc when the container starts.
# It can be used to manipulate the entrypoint or the command of the container.
"""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image's configuration (``config`` of the OCI image specification) says of how it is run."""

    env: tuple[str, ...] = ()
    """``NAME=value``."""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = "/"
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> ImageConfig:
        """From the whole configuration document of an image."""
        config = document.get("config") or {}
        return cls(
            env=tuple(config.get("Env") or ()),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            cmd=tuple(config.get("Cmd") or ()),
            workdir=config.get("WorkingDir") or "/",
            volumes=tuple(sorted(config.get("Volumes") or ())),
            labels=dict(sorted((config.get("Labels") or {}).items())),
        )

    def labelled(self, name: str, value: str) -> ImageConfig:
        """With one label more."""
        return replace(self, labels=dict(sorted({**self.labels, name: value}.items())))

    @property
    def variables(self) -> dict[str, str]:
        """The environment by name."""
        return {name: value for name, _, value in (pair.partition("=") for pair in self.env)}


def refuse_lines(config: ImageConfig) -> None:
    """Raise BuildError for a variable of several lines, of which enroot would make several variables."""
    for name, value in config.variables.items():
        if "\n" in value:
            raise BuildError(
                f"the variable {name} has several lines, and enroot would take each for a variable",
                hint="write the text to a file of the image, and export its path",
            )


def files_of(config: ImageConfig, provenance: str) -> dict[str, str]:
    """The files that enroot reads, by their paths without a leading slash. Raises as :func:`refuse_lines`."""
    refuse_lines(config)
    return {
        "etc/environment": "".join(f"{line}\n" for line in _environment(config)),
        "etc/fstab": "".join(
            f"${{ENROOT_ROOTFS}}{path} {path} none x-create=dir,bind,rw,nosuid,nodev\n" for path in config.volumes
        ),
        "etc/rc": _rc(config, provenance),
        "etc/rc.local": _RC_LOCAL + _path_again(config.variables.get("PATH", "")),
    }


def warnings_of(config: ImageConfig, *, gpu: bool, imported: bool = False) -> tuple[str, ...]:
    """What a container of enroot has otherwise than one of Docker, and what to do. ``gpu``: the image needs GPUs.
    ``imported``: the file is enroot's own, which does not put around a value the quotes that it takes away.
    """
    found = []
    for name, value in config.variables.items():
        if name.startswith("ENROOT_") or not _NAME.fullmatch(name):
            found.append(f"enroot leaves the variable {name} out")
        elif _SUBSTITUTED.search(value):
            found.append(f"enroot replaces ${{…}} in the variable {name} by variables of the host")
        elif imported and _QUOTED.fullmatch(value):
            found.append(f"enroot takes the quotes around the variable {name} away")
    for needed, value in (("NVIDIA_VISIBLE_DEVICES", "all"), ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")):
        if gpu and needed not in config.variables:
            found.append(f"the image does not set {needed}: start it with {needed}={value}, or enroot gives it no GPU")
    return tuple(found)


def provenance_in(rc: str) -> str | None:
    """Where an image came from, by its ``/etc/rc``; None where that does not say."""
    first = rc.partition("\n")[0]
    return first.removeprefix(PROVENANCE) if first.startswith(PROVENANCE) else None


def label_in(rc: str, name: str) -> str | None:
    """The value of a label that ``/etc/rc`` has as a comment."""
    found = re.search(rf"^# {re.escape(name)} (.*)$", rc, re.MULTILINE)
    return found.group(1) if found else None


def _environment(config: ImageConfig) -> Iterator[str]:
    for pair in config.env:
        name, _, value = pair.partition("=")
        # Enroot takes one pair of quotes away: with another one around them, those of the value stay.
        yield f'{name}="{value}"' if _QUOTED.fullmatch(value) else pair


def _rc(config: ImageConfig, provenance: str) -> str:
    entry, command = config.entrypoint, config.cmd
    if not entry and not command:
        command = ("/bin/sh",)
    labels = "".join(f"# {_one_line(f'{name} {value}')}\n" for name, value in config.labels.items())
    script = _RC.format(directory=config.workdir, entry=_words(entry), command=_words(command))
    return f"{PROVENANCE}{provenance}\n{labels}\n{script}"


def _path_again(path: str) -> str:
    """Lines that give the image's PATH back where a profile has taken it away, and not where a person chose one."""
    first = path.partition(":")[0]
    if not first:
        return ""
    return f'case ":$PATH:" in\n*:{quoted(first)}:*) ;;\n*) export PATH={quoted(path)} ;;\nesac\n'


def _one_line(text: str) -> str:
    return text.replace("\n", " ")


def _words(words: Sequence[str]) -> str:
    return " ".join(quoted(word) for word in words)


def quoted(word: str) -> str:
    """A word as bash's ``${word@Q}`` gives it: in single quotes, or in ``$'…'`` where it has control characters."""
    if all(character >= " " and character != "\x7f" for character in word):
        return "'" + word.replace("'", "'\\''") + "'"
    inner = "".join(_escaped(character) for character in word)
    return f"$'{inner}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character >= " " and character != "\x7f":
        return character
    return _UNPRINTABLE.get(character) or ("\\E" if character == "\x1b" else f"\\{ord(character):03o}")
