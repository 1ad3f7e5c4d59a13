"""What a source distribution says that it is built with: its file, fetched from where the index has it, and the
``pyproject.toml`` in it. None of its code is run.
"""

from __future__ import annotations

import re
import shlex
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from vep_dagger.builders.base import Say
from vep_dagger.builders.mirrors import rewrite
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import fetch
from vep_dagger.builders.sources.http import unpack
from vep_dagger.builders.surroundings import container_surroundings
from vep_dagger.dsl import HttpSource
from vep_dagger.errors import BuildError, LockError

_SPACE = re.compile(r"[\s,]+")
"""Between the places of a list."""
_OUTERMOST = re.compile(r"(\./)?[^/]+/pyproject\.toml")
"""A source distribution has everything in one directory (PEP 625)."""


@dataclass(frozen=True, slots=True)
class BuildSystem:
    """The table ``build-system`` of a ``pyproject.toml`` (PEP 518). What stands here is for a distribution without it
    (PEP 517, "Source trees"; uv takes the same).
    """

    requires: tuple[str, ...] = ("setuptools>=40.8.0",)
    backend: str = "setuptools.build_meta:__legacy__"
    path: tuple[str, ...] = ()
    """Where the backend is in the distribution itself, if it is."""


async def fetched(sdist: Mapping[str, Any], settings: BuildSettings, say: Say) -> Path:
    """The file of a source distribution, which is a table of ``pylock.toml`` (PEP 751) with its address and sha256.

    It is fetched through the mirrors of ``settings``, with the credentials that these or its indexes have for the same
    host; it is the cache's. Raises LockError (it is not there, or not what the index says) and MachineError
    (unreachable).
    """
    url = rewrite(sdist["url"], settings.mirrors)
    source = HttpSource(_with_credentials(url, settings), sdist["hashes"]["sha256"])
    try:
        return await fetch(source, settings, say)
    except BuildError as error:
        raise LockError(error.what, where=error.where, hint=_ANOTHER) from None


def build_system(file: Path, url: str) -> BuildSystem:
    """What a source distribution is built with, as it says itself. Raises LockError where it cannot be read."""
    try:
        text = _pyproject(file)
        system = tomllib.loads(text.decode()).get("build-system") if text is not None else None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise LockError(f"the source distribution cannot be read: {error}", where=url, hint=_ANOTHER) from None
    if system is None:
        return BuildSystem()
    requires = system.get("requires") if isinstance(system, dict) else None
    if not isinstance(requires, list) or not all(isinstance(each, str) for each in requires):
        raise LockError(
            "its pyproject.toml has a table build-system without a list of requirements (PEP 518)",
            where=url,
            hint=_ANOTHER,
        )
    return BuildSystem(
        tuple(requires), system.get("build-backend", BuildSystem().backend), tuple(system.get("backend-path", ()))
    )


async def unpacked(file: Path, place: Path) -> None:
    """The content of a source distribution in the new directory ``place``. Raises LockError."""
    try:
        await unpack(file, place, HttpSource(file.as_uri(), None))
    except BuildError as error:
        raise LockError(error.what, hint=_ANOTHER) from None


_ANOTHER = "pin another release of it, or exclude it"


def _pyproject(file: Path) -> bytes | None:
    """The content of its ``pyproject.toml``, if it has one."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            names = [name for name in packed.namelist() if _OUTERMOST.fullmatch(name)]
            return packed.read(names[0]) if names else None
    with tarfile.open(file, "r:*") as archive:
        for member in archive:
            if _OUTERMOST.fullmatch(member.name):
                opened = archive.extractfile(member)
                return opened.read() if opened else None
    return None


def _with_credentials(url: str, settings: BuildSettings) -> str:
    """The address with the name and password of an index of the same host: uv leaves them out of what it writes."""
    asked = urlsplit(url)
    if asked.scheme not in ("http", "https") or "@" in asked.netloc:
        return url
    for host, known in _credentials(settings):
        if host == (asked.scheme, asked.netloc):
            return urlunsplit(asked._replace(netloc=f"{known}@{asked.netloc}"))
    return url


def _credentials(settings: BuildSettings) -> Iterator[tuple[tuple[str, str], str]]:
    """Scheme and host of each index that has credentials in its address or in ``UV_INDEX_<NAME>_…``, with these."""
    words = (word.partition("=") for word in shlex.split(container_surroundings(settings.environ)))
    variables = {name: value for name, _, value in words if name.startswith(("UV_", "PIP_"))}
    for place in (place for text in (*variables.values(), *settings.mirrors.values()) for place in _SPACE.split(text)):
        name, url = re.fullmatch(r"(?:([\w.-]+)=)?(.*)", place, re.DOTALL).groups()  # type: ignore[union-attr]
        index = urlsplit(url)
        known, _, host = index.netloc.rpartition("@")
        if not known and name:
            prefix = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_"
            user, password = (quote(variables.get(prefix + each, ""), safe="") for each in ("USERNAME", "PASSWORD"))
            known = f"{user}:{password}" if user or password else ""
        if known:
            yield (index.scheme, host), known
