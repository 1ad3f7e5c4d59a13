"""What a build may see of the user's surroundings: where packages come from and how they are reached, and nothing that
decides content.

uv reads its own configuration (``uv.toml`` of the user and of the system, ``UV_*``), but not pip's. People and images
often have told pip alone where this machine's packages are, so that pip's words are given to uv where uv's own do not
say otherwise.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_ALWAYS = frozenset(
    """
    HOME USER LOGNAME SHELL LANG LANGUAGE LC_ALL LC_CTYPE TZ TMPDIR TEMP TMP PATH TERM LD_LIBRARY_PATH NETRC
    XDG_CACHE_HOME XDG_CONFIG_HOME XDG_CONFIG_DIRS XDG_DATA_HOME
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NIX_SSL_CERT_FILE
    HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy
    """.split()  # noqa: SIM905 - a list literal of these is a page long
)
_UV = frozenset(
    f"UV_{name}"
    for name in """
    CACHE_DIR NO_CACHE LINK_MODE CONFIG_FILE NO_CONFIG PYTHON_INSTALL_DIR
    DEFAULT_INDEX INDEX INDEX_URL EXTRA_INDEX_URL FIND_LINKS NO_INDEX INDEX_STRATEGY KEYRING_PROVIDER CREDENTIALS_DIR
    OFFLINE HTTP_TIMEOUT HTTP_CONNECT_TIMEOUT HTTP_RETRIES REQUEST_TIMEOUT NATIVE_TLS SYSTEM_CERTS INSECURE_HOST
    CONCURRENT_DOWNLOADS CONCURRENT_BUILDS CONCURRENT_INSTALLS
    """.split()  # noqa: SIM905 - as above
)
_UV_PREFIXES = ("UV_INDEX_",)
"""Credentials of named indexes: ``UV_INDEX_<NAME>_USERNAME`` and ``…_PASSWORD``."""


def for_commands(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that a command of a build sees: of its place, and nothing of the user's Python, uv or pip."""
    return {name: value for name, value in environ.items() if name in _ALWAYS}


def for_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that uv sees: those of a command, the user's indexes, credentials, cache and network, and pip's
    indexes.
    """
    kept = {name: value for name, value in environ.items() if name in _UV or name.startswith(_UV_PREFIXES)}
    return for_commands(environ) | kept | _pips_words(environ)


def _pips_words(environ: Mapping[str, str]) -> dict[str, str]:
    settings = pip_settings(environ)
    words = {}
    # uv.toml may name indexes as well, and is asked before uv's defaults; a variable would overrule it.
    own = not {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"}.isdisjoint(environ) or _has_uv_toml(environ)
    if (index := settings.get("index-url")) and not own:
        words["UV_DEFAULT_INDEX"] = index
    extra = settings.get("extra-index-url")
    if extra and not own and {"UV_INDEX", "UV_EXTRA_INDEX_URL"}.isdisjoint(environ):
        words["UV_INDEX"] = extra
        # What pip does with several indexes, and what whoever wrote them down for pip expects.
        words["UV_INDEX_STRATEGY"] = environ.get("UV_INDEX_STRATEGY", "unsafe-best-match")
    if (certificates := settings.get("cert")) and "SSL_CERT_FILE" not in environ:
        words["SSL_CERT_FILE"] = certificates
    links = with_links(environ.get("UV_FIND_LINKS", ""), settings.get("find-links", "").split())
    return words | ({"UV_FIND_LINKS": links} if links else {})


def with_links(present: str, more: Iterable[str]) -> str:
    """A value of ``UV_FIND_LINKS`` (a list with commas) with more places, without directories that do not exist.

    uv fails on such a directory, where pip only warns.
    """
    links = dict.fromkeys([*filter(None, present.split(",")), *more])
    return ",".join(link for link in links if "://" in link or Path(link).expanduser().is_dir())


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip is told of indexes on this machine: its files in pip's order, then its variables. Lists are kept as
    pip has them.
    """
    settings: dict[str, str] = {}
    names = ("index-url", "extra-index-url", "find-links", "cert")
    for file in _pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {name: value for name in names if (value := parser[section].get(name))}
    for name in names:
        if value := environ.get("PIP_" + name.upper().replace("-", "_")):
            settings[name] = value
    return {name: " ".join(value.split()) for name, value in settings.items()}


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files on Linux and macOS, weakest first ("Configuration" of pip's documentation)."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    shared = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    files = [Path(directory) / "pip" / "pip.conf" for directory in shared.split(os.pathsep)]
    files += [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        config / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    return [*files, Path(chosen)] if chosen else files


def _has_uv_toml(environ: Mapping[str, str]) -> bool:
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    for file in (config / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        try:
            text = file.read_text(encoding="utf-8")
        except OSError:
            continue
        if "index" in text:
            return True
    return False
