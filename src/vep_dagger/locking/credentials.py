"""How a registry lets this user in, as Docker's client and Dagger's engine find it: ``config.json`` of Docker.

The file's form is that of docker/cli (``cli/config/configfile/file.go``); the credential helpers speak the protocol of
docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

_HELPER_S = 30.0
_HUB = "https://index.docker.io/v1/"
"""What Docker calls its own registry in that file."""
_TOKEN_USER = "<token>"  # noqa: S105 - a helper's word for: what follows is a token for identification
_HUB_NAMES = frozenset(["docker.io", "index.docker.io", "registry-1.docker.io"])


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or a token that stands for both."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str | None = field(default=None, repr=False)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


async def credentials_of(registry: str, environ: Mapping[str, str]) -> Credentials | None:
    """The credentials that this user has for a registry, or None."""
    home = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home()) / ".docker"
    try:
        config = json.loads(await anyio.Path(home, "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    names = [_HUB, *sorted(_HUB_NAMES)] if registry in _HUB_NAMES else [registry, f"https://{registry}"]
    for name in names:
        helper = (config.get("credHelpers") or {}).get(name) or config.get("credsStore")
        if helper and (found := await _of_helper(str(helper), name, environ)):
            return found
        if entry := (config.get("auths") or {}).get(name):
            return _of_entry(entry)
    return None


def _of_entry(entry: Mapping[str, Any]) -> Credentials | None:
    token = entry.get("identitytoken")
    try:
        user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user = password = ""
    if not (user or token):
        return None
    return Credentials(user, password.strip("\0"), token)


async def _of_helper(helper: str, name: str, environ: Mapping[str, str]) -> Credentials | None:
    program = shutil.which(f"docker-credential-{helper}", path=environ.get("PATH", os.defpath))
    if program is None:
        return None
    try:
        with anyio.fail_after(_HELPER_S):
            done = await anyio.run_process(
                [program, "get"], input=name.encode(), env=dict(environ), check=False, stderr=subprocess.DEVNULL
            )
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except (TimeoutError, OSError, ValueError):
        return None
    if not isinstance(answer, dict) or not answer.get("Secret"):
        return None
    if answer.get("Username") == _TOKEN_USER:
        return Credentials(identity_token=str(answer["Secret"]))
    return Credentials(str(answer.get("Username", "")), str(answer["Secret"]))
