"""What the commands of a build in Dagger may know and nobody else sees: the recipe's secrets, and the surroundings.

Each is a secret of Dagger's under a name that says nothing of its value (``setSecret`` makes the cache key of the name
alone; ``secret(uri, cacheKey)`` of that key: core/schema/secret.go of Dagger v0.21.8), so that another proxy or another
token builds nothing anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vep_dagger.builders.redaction import hidden_values, redacted, refuse_missing
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import CERTIFICATES, SURROUNDINGS, Exec, Lowered
from vep_dagger.builders.surroundings import certificates, container_surroundings
from vep_dagger.engines.dagger import DaggerSession

if TYPE_CHECKING:
    from dagger import Container, Secret

_SCRUBBED = "***"
"""What Dagger prints for a secret (engine/engineutil/secret_scrub.go)."""


@dataclass(frozen=True)
class Secrets:
    """The secrets of one build, and what must not be seen in any output."""

    named: dict[str, Secret]
    mounted: dict[str, Secret]
    """By the path where commands find them."""
    hidden: dict[str, str]

    def redact(self, line: str) -> str:
        """The line with the secrets' names for their values."""
        line = redacted(line, self.hidden)
        if len(self.named) == 1:
            # Dagger has hidden it already, and does not say which one it was.
            line = line.replace(_SCRUBBED, f"<{next(iter(self.named))}>")
        return line

    def mount(self, container: Container) -> Container:
        """Let commands find the surroundings."""
        for path, secret in self.mounted.items():
            container = container.with_mounted_secret(path, secret, mode=0o444)
        return container

    def unmount(self, container: Container) -> Container:
        """And take them away."""
        for path in self.mounted:
            container = container.without_mount(path)
        return container


async def secrets_of(lowered: Lowered, settings: BuildSettings, session: DaggerSession) -> Secrets:
    """The secrets that a build needs. Raises MachineError for one that the environment does not have."""
    operations = [each for stage in lowered.stages for each in stage.operations if isinstance(each, Exec)]
    names = tuple(dict.fromkeys(name for operation in operations for name in operation.secrets))
    refuse_missing(names, settings.environ)
    client = session.client
    text = container_surroundings(settings.environ, settings.mirrors)
    mounted = {SURROUNDINGS: client.set_secret("vep-surroundings", text)}
    if bundle := certificates(settings.environ):
        mounted[CERTIFICATES] = client.secret(f"file://{bundle.absolute()}", cache_key="vep-certificates")
    return Secrets(
        {name: client.set_secret(f"vep-{name}", settings.environ[name]) for name in names},
        mounted,
        hidden_values(names, settings.environ, text),
    )
