"""Files from web servers, verified by their sha256, and archives taken apart."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.mirrors import rewrite, shown
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.surroundings import certificates
from vep_dagger.dsl import HttpSource
from vep_dagger.errors import BuildError, MachineError

ATTEMPTS = 3
CONNECT_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 60.0
UNPACK_TIMEOUT_S = 1800.0
_CHUNK = 1 << 20
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_SYMLINK = 0o120000
_KIND = 0o170000


async def download(source: HttpSource, place: Path, settings: BuildSettings, say: Say) -> None:
    """The file of ``source`` at ``place``. Raises BuildError (another content than the recipe says, not there) and
    MachineError (unreachable).
    """
    held = await download_any(source.url, place, settings, say)
    if held != source.sha256:
        raise BuildError(
            f"{shown(source.url)} is not what the recipe says: its sha256 is {held}, and {source.sha256} was expected",
            where=shown(rewrite(source.url, settings.mirrors)),
            hint="it was changed there, or something between gives another file: look at it before you believe it; "
            f"`vep lock --upgrade {source.url.rpartition('/')[2]}` takes it into the lock",
        )


async def download_any(asked: str, place: Path, settings: BuildSettings, say: Say) -> str:
    """Whatever is at the address ``asked`` now, at ``place``; its sha256. Proxies and netrc are taken from this
    process's surroundings. Raises BuildError (not there) and MachineError (unreachable).
    """
    url = rewrite(asked, settings.mirrors)
    say(f"fetching {shown(asked)}")
    for attempt in range(1, ATTEMPTS + 1):
        digest = hashlib.sha256()
        try:
            async with await anyio.open_file(place, "wb") as file:
                os.fchmod(file.wrapped.fileno(), 0o644)
                async for chunk in _chunks(url, settings):
                    digest.update(chunk)
                    await file.write(chunk)
            return digest.hexdigest()
        except _Again as trouble:
            if attempt == ATTEMPTS:
                raise MachineError(
                    f"{shown(asked)} cannot be fetched: {trouble}",
                    where=shown(url),
                    hint="check the network and HTTPS_PROXY; [mirrors] in the matrix file names another place",
                ) from None
            await anyio.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


class _Again(Exception):  # noqa: N818 - it is not an error until there were several
    """What may go well the next time."""


async def _chunks(url: str, settings: BuildSettings) -> AsyncIterator[bytes]:
    import httpx

    if url.startswith("file://"):
        async for chunk in _of_file(Path(unquote(urlsplit(url).path)), url):
            yield chunk
        return
    trusted = trust(settings)
    timeout = httpx.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        async with (
            httpx.AsyncClient(verify=trusted, timeout=timeout, follow_redirects=True) as client,
            client.stream("GET", url) as answer,
        ):
            _judge(answer.status_code, answer.reason_phrase, url)
            # As it is on the server: what it calls an encoding may be the archive's own compression.
            async for chunk in answer.aiter_raw(_CHUNK):
                yield chunk
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise BuildError(f"{shown(url)} is no address of a web server: {error}") from None
    except httpx.HTTPError as error:
        raise _Again(str(error) or type(error).__name__) from None


def trust(settings: BuildSettings) -> ssl.SSLContext:
    """Whose certificates are believed. Raises MachineError where they cannot be read."""
    bundle = certificates(settings.environ)
    try:
        return ssl.create_default_context(cafile=str(bundle) if bundle else None)
    except ssl.SSLError as error:
        raise MachineError(
            f"the certificates of this machine cannot be read: {error}",
            where=str(bundle),
            hint="name a bundle of certificates (PEM) in SSL_CERT_FILE",
        ) from None


def _judge(status: int, reason: str, url: str) -> None:
    said = f"{status} {reason}".strip()
    if status in {408, 425, 429} or status >= 500:
        raise _Again(f"the server says {said}")
    if status in {401, 403, 407}:
        raise MachineError(
            f"{shown(url)} may not be fetched: {said}", hint="give the credentials of this host in ~/.netrc"
        )
    if status != 200:
        raise BuildError(f"{shown(url)} is not there: {said}", hint="look whether the address is right")


async def _of_file(file: Path, url: str) -> AsyncIterator[bytes]:
    try:
        async with await anyio.open_file(file, "rb") as opened:
            while chunk := await opened.read(_CHUNK):
                yield chunk
    except FileNotFoundError:
        raise BuildError(f"{shown(url)} is not there", hint="look whether the address is right") from None


async def unpack(file: Path, place: Path, source: HttpSource) -> None:
    """The content of a tar (of any compression) or zip archive below ``place``, with its modes and symlinks. Nothing
    gets outside of it. Raises BuildError.
    """
    try:
        await anyio.to_thread.run_sync(_unpack, file, place)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise BuildError(
            f"{shown(source.url)} cannot be unpacked: {error}", hint="leave unpack=True out for what is no archive"
        ) from None


def _unpack(file: Path, place: Path) -> None:
    place.mkdir()
    with file.open("rb") as opened:
        magic = opened.read(4)
    if zipfile.is_zipfile(file) and magic.startswith(b"PK"):
        _unzip(file, place)
    elif magic == _ZSTANDARD:
        plain = place.with_name("plain.tar")
        _decompress(file, plain)
        _untar(plain, place)
    else:
        _untar(file, place)
    # What archives say of directories depends on who packed them, and of some they say nothing.
    for directory, _, _ in os.walk(place):
        Path(directory).chmod(0o755)


def _untar(file: Path, place: Path) -> None:
    with tarfile.open(file, "r:*") as archive:
        archive.extractall(place, filter="data")


def _decompress(file: Path, plain: Path) -> None:
    program = shutil.which("zstd")
    if program is None:
        raise MachineError(
            "an archive compressed with zstd cannot be unpacked: there is no program zstd on PATH",
            hint="apt-get install zstd",
        )
    command = [program, "--quiet", "--decompress", "--stdout", str(file)]
    with plain.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=UNPACK_TIMEOUT_S, check=False)
    if done.returncode:
        raise tarfile.ReadError(done.stderr.decode(errors="replace").strip())


def _unzip(file: Path, place: Path) -> None:
    links = []
    with zipfile.ZipFile(file) as archive:
        for each in archive.infolist():
            mode = each.external_attr >> 16
            if mode & _KIND == _SYMLINK:
                links.append((each.filename, archive.read(each).decode()))
                continue
            # zipfile itself takes drives, roots and ".." out of names.
            made = Path(archive.extract(each, place))
            if not each.is_dir():
                made.chmod(0o755 if mode & 0o100 else 0o644)
    # After all files: none is written through a link.
    for name, target in links:
        _link(place, name, target)


def _link(place: Path, name: str, target: str) -> None:
    link = place / name
    inside = Path(os.path.normpath(link.parent / target))
    if (
        Path(target).is_absolute()
        or not inside.is_relative_to(place)
        or not link.parent.resolve().is_relative_to(place.resolve())
    ):
        raise ValueError(f"its link {name} leads outside, to {target}")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
