"""Images and their digests, as a registry tells them, without an engine (OCI distribution specification, "Pull"; its
authorisation is that of https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vep_dagger.builders.base_archive import ARCHIVE, held_base, sha256
from vep_dagger.builders.failures import base_missing
from vep_dagger.builders.mirrors import full_name, rewrite_image
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.http import trust
from vep_dagger.errors import BuildError, MachineError
from vep_dagger.locking.credentials import Credentials, credentials_of

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPT = ", ".join(
    (*_INDEXES, "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
)
"""Indexes first: their digest is the same for every platform, and what engines call the image by."""
_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Tag:
    """What an image's name stands for now: its digest, and those of its platforms' images."""

    digest: str
    platforms: frozenset[str] = field(default=frozenset())

    def holds(self, digest: str) -> bool:
        """Whether the digest is the image's own, or that of one of its platforms."""
        return digest == self.digest or digest in self.platforms


async def resolve_image(ref: str, settings: BuildSettings) -> Tag:
    """What an image's name stands for, through ``[mirrors]``; for ``oci-archive:PATH``, the image in it. A name with a
    digest stands for that, and nobody is asked. Raises MachineError where it cannot be had.
    """
    if ref.startswith(ARCHIVE):
        try:
            return Tag((await held_base(ref, None, settings.directory))[1])
        except BuildError as error:
            raise MachineError(f"{ref}: {error.what}", where=error.where, hint=error.hint) from None
    name, _, digest = ref.partition("@")
    if digest:
        return Tag(sha256(digest))
    return await _Question(ref, rewrite_image(name, settings.mirrors), settings).answer()


class _Question:
    """One image of one registry that is asked for."""

    def __init__(self, ref: str, asked: str, settings: BuildSettings) -> None:
        registry, _, rest = full_name(asked).partition("/")
        repository, _, tag = rest.partition(":")
        self._ref, self._asked, self._settings = ref, asked, settings
        self._registry, self._repository = registry, repository
        host = _HUB_HOST if registry == _HUB else registry
        scheme = "http" if _is_loopback(host) else "https"
        self._url = f"{scheme}://{host}/v2/{repository}/manifests/{tag or 'latest'}"

    async def answer(self) -> Tag:
        import httpx

        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            async with httpx.AsyncClient(
                verify=trust(self._settings), timeout=timeout, follow_redirects=True
            ) as client:
                return await self._tag(client)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._missing(str(error) or type(error).__name__) from None

    async def _tag(self, client: httpx.AsyncClient) -> Tag:
        answer = await client.get(self._url, headers={"Accept": _ACCEPT})
        if answer.status_code == 401 and (allowed := await self._authorisation(client, answer)):
            answer = await client.get(self._url, headers={"Accept": _ACCEPT, "Authorization": allowed})
        if answer.status_code != 200:
            raise self._missing(f"{answer.status_code} {answer.reason_phrase}{_said(answer)}")
        # What was sent is what counts; a registry that says otherwise is not believed.
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        told = answer.headers.get("Docker-Content-Digest", digest)
        if told != digest:
            raise self._missing(f"the registry calls it {told}, and what it sends is {digest}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        entries = answer.json().get("manifests", []) if kind in _INDEXES else []
        return Tag(digest, frozenset(each["digest"] for each in entries if _DIGEST.fullmatch(each.get("digest", ""))))

    async def _authorisation(self, client: httpx.AsyncClient, refused: httpx.Response) -> str | None:
        """The header that lets this user in; anonymous users get a token too, where the registry gives such."""
        kind, _, rest = refused.headers.get("WWW-Authenticate", "").partition(" ")
        own = await credentials_of(self._registry, self._settings.environ)
        if kind.lower() == "basic":
            return own.basic if own and not own.identity_token else None
        words = dict(_PARAMETER.findall(rest))
        realm = words.get("realm", "")
        if kind.lower() != "bearer" or not realm:
            return None
        if own and not (realm.startswith("https://") or _is_loopback(urlsplit(realm).netloc)):
            own = None  # a password goes nowhere that others can listen to
        scope = words.get("scope") or f"repository:{self._repository}:pull"
        token = await _token(client, realm, {"service": words.get("service", ""), "scope": scope}, own)
        return f"Bearer {token}" if token else None

    def _missing(self, said: str) -> MachineError:
        return base_missing(self._ref, said, where=self._asked, tried=self._asked)


async def _token(
    client: httpx.AsyncClient, realm: str, words: Mapping[str, str], own: Credentials | None
) -> str | None:
    if own and own.identity_token:
        form = {**words, "grant_type": "refresh_token", "refresh_token": own.identity_token, "client_id": "vep"}
        answer = await client.post(realm, data=form)
    else:
        headers = {"Authorization": own.basic} if own else {}
        answer = await client.get(realm, params=words, headers=headers)
    if answer.status_code != 200:
        return None
    given = answer.json()
    token = given.get("token") or given.get("access_token")
    return str(token) if token else None


def _said(answer: httpx.Response) -> str:
    """What a registry says is wrong (OCI distribution specification, "Error Codes")."""
    try:
        errors = answer.json()["errors"]
        return ": " + "; ".join(f"{each['code']} {each.get('message', '')}".strip() for each in errors)
    except (ValueError, KeyError, TypeError):
        return ""


def _is_loopback(host: str) -> bool:
    """Whether a registry is on this machine: such may speak plain HTTP, to Docker and to Dagger too."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
