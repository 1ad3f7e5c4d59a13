"""What is out there: asked only when a person wants it, since it leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine

TIMEOUT_S = 4.0


def probe_package_index(machine: Machine) -> Iterator[Finding]:
    """The package index that uv would use."""
    named = next(filter(None, map(machine.environ.get, ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"))), None)
    address = (named or "https://pypi.org/simple").rstrip("/") + "/pip/"
    hint = "set UV_DEFAULT_INDEX to a mirror, UV_FIND_LINKS to a directory of wheels, or HTTPS_PROXY"
    yield _ask("package-index", address, "building environments that are not in the cache yet", hint)


def probe_model_hub(machine: Machine) -> Iterator[Finding]:
    """The model hub."""
    address = machine.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    hint = "set HF_ENDPOINT to a mirror, or HTTPS_PROXY, or name a directory as the model"
    yield _ask("model-hub", address, "models by name; a model in a directory needs none", hint)


def _ask(name: str, address: str, enables: str, hint: str) -> Finding:
    import httpx

    try:
        host = urlsplit(address).hostname or "an address without a host"  # alone: an address may hold a password
        status = httpx.get(address, timeout=TIMEOUT_S, follow_redirects=True).status_code
    except ValueError:
        return Finding(name, "missing", "its address is no URL", enables, hint)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(name, "missing", f"{host} does not answer ({type(error).__name__})", enables, hint)
    if status < 400:
        return Finding(name, "ok", f"{host} answers", enables)
    return Finding(name, "limited", f"{host} answers with status {status}", enables, hint)
