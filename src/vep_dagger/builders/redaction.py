"""Secrets of a build: that they are there, and that nobody sees them in what it prints; nor how package indexes and
proxies let us in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from vep_dagger.errors import MachineError

_IN_ADDRESS = re.compile(r"://([^/@\s'\"]+)@")
_TELLING = re.compile(r"UV_INDEX_.*_(PASSWORD|USERNAME)|HF_TOKEN|HUGGING_FACE_HUB_TOKEN")
"""Variables that are secrets by their names. A user's name is one too: some indexes take a token in its place."""
_SHORTEST = 4
"""Shorter values are no secrets worth their name, and would tear holes into every output."""


def refuse_missing(names: Iterable[str], environ: Mapping[str, str]) -> None:
    """Raise MachineError for a secret of the recipe's that is not in the environment."""
    for name in names:
        if not environ.get(name):
            raise MachineError(
                f"the build needs the secret {name}, and the environment has no variable of that name",
                hint=f"export {name} before the build",
            )


def hidden_values(names: Iterable[str], environ: Mapping[str, str], surroundings: str) -> dict[str, str]:
    """What must not be seen, with what is printed for it, the longest first: the values of the recipe's secrets
    ``names``, and the credentials in the text of ``surroundings`` (of :func:`.surroundings.container_surroundings`).
    """
    hidden: dict[str, str] = {}
    for part in _IN_ADDRESS.findall(surroundings):
        user, _, password = part.partition(":")
        # Programs print addresses as they are, and passwords as they send them.
        hidden |= dict.fromkeys((part, password or user, unquote(password or user)), "credentials")
    for word in shlex.split(surroundings):
        name, _, value = word.partition("=")
        if _TELLING.fullmatch(name):
            hidden |= dict.fromkeys(value.splitlines(), name)
    hidden |= {line: name for name in names for line in environ[name].splitlines()}
    longest_first = sorted((value for value in hidden if len(value) >= _SHORTEST), key=len, reverse=True)
    return {value: hidden[value] for value in longest_first}


def redacted(text: str, hidden: Mapping[str, str]) -> str:
    """The text with names for the values of :func:`hidden_values`."""
    for value, name in hidden.items():
        text = text.replace(value, f"<{name}>")
    return text
