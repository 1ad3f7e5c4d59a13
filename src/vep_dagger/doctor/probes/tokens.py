"""Credentials: whether they are there. Their values are never read further than that, and never shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine


def probe_hub_token(machine: Machine) -> Iterator[Finding]:
    """A token of the model hub, where huggingface_hub looks for one."""
    enables = "models that ask for a licence, and higher limits of the hub"
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if machine.environ.get(variable):
            yield Finding("hub-token", "ok", f"{variable} is set", enables)
            return
    home = machine.environ.get("HF_HOME")
    file = Path(
        machine.environ.get("HF_TOKEN_PATH")
        or (Path(home) if home else machine.home(".cache", "huggingface")) / "token"
    )
    if file.is_file() and file.stat().st_size:
        yield Finding("hub-token", "ok", f"in {file}", enables)
    else:
        hint = "https://huggingface.co/settings/tokens, then HF_TOKEN; public models need none"
        yield Finding("hub-token", "missing", "no HF_TOKEN, no token file", enables, hint)


def probe_registry(machine: Machine) -> Iterator[Finding]:
    """Logins of container registries, as Docker and Podman keep them; only how many."""
    enables = "publishing images, and pulling private ones"
    config = machine.environ.get("DOCKER_CONFIG")
    places = [(Path(config) if config else machine.home(".docker")) / "config.json"]
    if auth := machine.environ.get("REGISTRY_AUTH_FILE"):
        places.append(Path(auth))
    if runtime := machine.environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(runtime, "containers", "auth.json"))
    logins = {name for place in places for name in _logins(place)}
    if logins:
        yield Finding("registry-login", "ok", f"{len(logins)}", enables)
    else:
        yield Finding("registry-login", "missing", "none", enables, "docker login REGISTRY")


def _logins(file: Path) -> Iterator[str]:
    """The registries of a file for which there is a login; a store for all of them counts as one."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(held, dict):
        for table in ("auths", "credHelpers"):
            yield from held.get(table) or {}
        if store := held.get("credsStore"):
            yield f"credsStore {store}"
