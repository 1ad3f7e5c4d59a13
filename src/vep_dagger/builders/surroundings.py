"""What a build may see of the user's surroundings: where packages come from and how they are reached, and nothing that
decides content.

uv reads its own configuration (``uv.toml`` of the user and of the system, ``UV_*``), but not pip's. People and images
often have told pip alone where this machine's packages are, so that pip's words are given to uv where uv's own do not
say otherwise.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vep_dagger.builders.mirrors import VARIABLE as MIRRORS_VARIABLE
from vep_dagger.builders.stages import CERTIFICATES, JOBS_VARIABLE
from vep_dagger.builders.uv_words import with_links
from vep_dagger.errors import UsageError

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
    """Whether one of uv's files names an index."""
    named = {name for settings in _uv_settings(environ) for name in _indexes_of(settings)}
    return not named.isdisjoint({"UV_DEFAULT_INDEX", "UV_INDEX"})


def _uv_settings(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """uv's configuration files, the strongest first ("Configuration files" of uv's documentation)."""
    if environ.get("UV_NO_CONFIG"):
        return []
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    chosen = environ.get("UV_CONFIG_FILE")
    files = [Path(chosen)] if chosen else [config / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]
    found = []
    for file in files:
        with contextlib.suppress(OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            found.append(tomllib.loads(file.read_text(encoding="utf-8")))
    return found


def _indexes_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """What a configuration of uv says of indexes, as variables."""
    words: dict[str, list[str]] = {"UV_DEFAULT_INDEX": [], "UV_INDEX": [], "UV_FIND_LINKS": []}
    for entry in settings.get("index", []):
        if not entry.get("explicit"):
            name = f"{entry['name']}=" if entry.get("name") else ""
            words["UV_DEFAULT_INDEX" if entry.get("default") else "UV_INDEX"].append(f"{name}{entry.get('url', '')}")
    for part in (settings, settings.get("pip", {})):
        words["UV_DEFAULT_INDEX"] += [part["index-url"]] if "index-url" in part else []
        words["UV_INDEX"] += part.get("extra-index-url", [])
        words["UV_FIND_LINKS"] += part.get("find-links", [])
    joined = {"UV_DEFAULT_INDEX": words["UV_DEFAULT_INDEX"][:1], "UV_INDEX": words["UV_INDEX"]}
    made = {name: " ".join(places) for name, places in joined.items()}
    made["UV_FIND_LINKS"] = ",".join(words["UV_FIND_LINKS"])
    return {name: value for name, value in made.items() if value}


_PROXIES = frozenset(name for name in _ALWAYS if name.upper().endswith("_PROXY"))
_OF_PIP = frozenset(["PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"])
_OF_THIS_MACHINE = frozenset(
    """
    UV_CACHE_DIR UV_NO_CACHE UV_LINK_MODE UV_CONFIG_FILE UV_NO_CONFIG UV_PYTHON_INSTALL_DIR UV_CREDENTIALS_DIR
    UV_KEYRING_PROVIDER
    """.split()  # noqa: SIM905 - as above
)
_INDEXES = frozenset(
    """
    UV_DEFAULT_INDEX UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS
    PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS
    """.split()  # noqa: SIM905 - as above
)
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_CERTIFICATE_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions have the bundle (the list of Go's crypto/x509, root_linux.go)."""


def container_surroundings(environ: Mapping[str, str], mirrors: Mapping[str, str] | None = None) -> str:
    """The text of :data:`.stages.SURROUNDINGS`: what the commands of a container's build may know of this machine.

    Proxies, package indexes (without those that are directories of this machine), the ``mirrors`` of further places
    (without those too), where the certificates are, and the number of jobs if ``VEP_JOBS`` says it. A variable that the
    recipe sets itself is left alone. Raises UsageError.
    """
    words = {name: environ[name] for name in sorted(_PROXIES | _OF_PIP) if environ.get(name)}
    for settings in reversed(_uv_settings(environ)):
        words |= _indexes_of(settings)
    words |= {name: value for name, value in for_uv(environ).items() if name.startswith("UV_")}
    words |= {f"PIP_{name.upper().replace('-', '_')}": value for name, value in pip_settings(environ).items()}
    words |= _mirrors(mirrors or {}) | _jobs(environ)
    lines = []
    for name, value in sorted(words.items()):
        if name in _OF_THIS_MACHINE or name in _CERTIFICATE_VARIABLES:
            continue
        kept = _reachable(name, value) if name in _INDEXES else value
        if kept:
            lines.append(f'[ -n "${{{name}+set}}" ] || export {name}={shlex.quote(kept)}\n')
    if certificates(environ):
        # Over what the base says: its own bundle knows nothing of a company's proxy.
        lines += [f"export {name}={CERTIFICATES}\n" for name in _CERTIFICATE_VARIABLES]
    return "".join(lines)


def certificates(environ: Mapping[str, str]) -> Path | None:
    """The bundle of certificates that this machine trusts: ``SSL_CERT_FILE``, else the distribution's; None if neither
    is there.
    """
    named = environ.get("SSL_CERT_FILE")
    files = [Path(named).expanduser()] if named else []
    return next((file for file in (*files, *map(Path, _CERTIFICATE_FILES)) if file.is_file()), None)


def _mirrors(mirrors: Mapping[str, str]) -> dict[str, str]:
    told = {prefix: place for prefix, place in mirrors.items() if _is_elsewhere(place)}
    return {MIRRORS_VARIABLE: json.dumps(told, sort_keys=True)} if told else {}


def _jobs(environ: Mapping[str, str]) -> dict[str, str]:
    jobs = environ.get(JOBS_VARIABLE)
    if not jobs:
        return {}
    if not (jobs.isdecimal() and int(jobs) > 0):
        raise UsageError(f"{jobs!r} is no number of jobs", where=JOBS_VARIABLE, hint="give a whole number from 1 on")
    return {JOBS_VARIABLE: jobs}


def _reachable(name: str, value: str) -> str:
    """A list of indexes without those that only this machine has."""
    separator = "," if name == "UV_FIND_LINKS" else " "
    places = value.replace(",", " ").split() if separator == "," else value.split()
    return separator.join(place for place in places if _is_elsewhere(place))


def _is_elsewhere(place: str) -> bool:
    return "://" in place and "file://" not in place
