"""What pip is configured to use, told to uv, which reads neither ``PIP_*`` nor ``pip.conf``."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Mapping

# The names that uv still takes for the variables of today.
OLDER = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def parse(listing: str) -> dict[str, str]:
    """pip's settings by option, from ``pip config list``; the environment overrules ``install``, that ``global``."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.partition(".")
        if section not in sections:
            continue
        try:
            sections[section][option] = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):  # not an assignment: a warning of pip's
            continue
    return {**sections["global"], **sections["install"], **sections[":env:"]}


def translate(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for pip's ``settings`` (``index-url``, …). What ``environ`` has for uv already is left as it is.

    A directory of ``find-links`` that is not there is left out: pip ignores it, uv stops. pip takes the best version
    of all indexes, uv by default what the first index with the package has: with several, uv is told to do as pip does.
    """
    links = settings.get("find-links", "").split()
    extra = " ".join(settings.get("extra-index-url", "").split())
    wanted = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": extra,
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_FIND_LINKS": ",".join(link for link in links if "://" in link or Path(link).expanduser().exists()),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": settings.get("timeout", ""),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "ALL_PROXY": settings.get("proxy", ""),
    }
    return {
        name: value
        for name, value in wanted.items()
        if value and name not in environ and OLDER.get(name) not in environ
    }
