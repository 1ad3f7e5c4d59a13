"""Files from web servers: the sha256 of those whose hash nobody has written down, and whether the others still are what
they were.

A file is not downloaded to be compared where its server tells the same of it as it did when it was hashed: its size,
and its ETag or its date (RFC 9110, sections 8.6 and 8.8).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.mirrors import rewrite, shown
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import learn
from vep_dagger.builders.sources.http import trust
from vep_dagger.errors import BuildError, MachineError
from vep_dagger.matrix.lock import ArchiveEntry

if TYPE_CHECKING:
    import httpx

QUESTION_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 20.0
_SETTLED = timedelta(seconds=60)
"""A date tells two files apart only where it is older than this when it is told: it counts seconds, and clocks differ
(RFC 9110, section 8.8.2.2)."""
_LONGEST = 300
"""Characters of a validator that is worth keeping."""
_FILE = "file://"


@dataclass(frozen=True, slots=True)
class Told:
    """What a server tells of a file: each None where it tells nothing that can be relied on."""

    size: int | None = None
    etag: str | None = None
    modified: str | None = None

    def doubt(self, held: ArchiveEntry) -> str | None:
        """Why the file may be another than the one of which the lock has this entry; None where it is the same."""
        if None not in (self.size, held.size) and self.size != held.size:
            return f"it has {self.size} bytes now, and had {held.size}"
        if self.etag and held.etag:
            return None if self.etag == held.etag else "its server has another ETag for it"
        if self.modified and held.modified:
            return None if self.modified == held.modified else f"its server dates it {self.modified} now"
        if self.etag or self.modified:
            return "the lock has not yet what its server tells of it"
        return "its server tells nothing that would show a change"


async def resolve_archive(entry: ArchiveEntry, settings: BuildSettings, say: Say) -> ArchiveEntry:
    """The entry with the sha256 of what is at its address now, and what the server tells of it. What it has already is
    believed where the server tells the same as it did; anything else is downloaded, which ``say`` hears.

    Raises MachineError where it cannot be had: a site's mirror may lack what the address has.
    """
    place = rewrite(entry.url, settings.mirrors)
    if entry.sha256 is not None and place.startswith(_FILE):
        return entry.model_copy(update={"sha256": await _hashed(place)})
    try:
        told = await _asked(entry.url, place, settings)
    except MachineError:
        if entry.sha256 is not None:
            raise
        told = Told()  # the download tries more than once, and says what is wrong
    if entry.sha256 is not None:
        doubt = told.doubt(entry)
        if doubt is None:
            return entry
        say(f"{shown(entry.url)}: {doubt}: downloading it again, to compare")
    try:
        sha256 = await learn(entry.url, settings, say)
    except BuildError as error:
        raise MachineError(error.what, where=error.where, hint=error.hint) from None
    found = {"sha256": sha256, "size": told.size, "etag": told.etag, "modified": told.modified}
    return entry.model_copy(update=found)


async def _asked(url: str, place: str, settings: BuildSettings) -> Told:
    """What the server tells of the file, without its content."""
    import httpx

    if place.startswith(_FILE):
        return Told()
    timeout = httpx.Timeout(QUESTION_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    try:
        with anyio.fail_after(QUESTION_TIMEOUT_S):
            async with httpx.AsyncClient(verify=trust(settings), timeout=timeout, follow_redirects=True) as client:
                answer = await client.head(place)
                if answer.status_code != 200:
                    # Some servers, and addresses that are signed for one method, answer nothing else. The content is
                    # not read.
                    async with client.stream("GET", place) as answer:
                        pass
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise MachineError(f"{shown(url)} cannot be asked for: {str(error) or type(error).__name__}") from None
    if answer.status_code != 200:
        said = f"{answer.status_code} {answer.reason_phrase}".strip()
        raise MachineError(f"{shown(url)} cannot be asked for: the server says {said}", where=shown(place))
    return _told(answer.headers)


def _told(headers: httpx.Headers) -> Told:
    length, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
    # To HEAD, some say that nothing has 0 bytes; and a weak ETag promises nothing of the bytes.
    size = int(length) if length.isdecimal() and int(length) else None
    strong = etag if etag.startswith('"') and len(etag) <= _LONGEST and etag.isprintable() else None
    return Told(size, strong, _date(headers.get("Last-Modified", ""), headers.get("Date", "")))


def _date(modified: str, now: str) -> str | None:
    made, told = _instant(modified), _instant(now)
    try:
        return modified.strip() if made and told and told - made >= _SETTLED else None
    except TypeError:  # one has a zone and the other none: no dates of HTTP
        return None


def _instant(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


async def _hashed(place: str) -> str:
    """The sha256 of a file of this machine."""
    file = Path(unquote(urlsplit(place).path))

    def read() -> str:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    try:
        return await anyio.to_thread.run_sync(read)
    except OSError as error:
        raise MachineError(f"{place} cannot be read: {error.strerror or error}") from None
