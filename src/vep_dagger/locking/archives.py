"""Files from web servers whose hash nobody has written down: downloaded once, and kept for the build."""

from __future__ import annotations

from vep_dagger.builders.base import Say
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import learn
from vep_dagger.errors import BuildError, MachineError


async def resolve_archive(url: str, settings: BuildSettings, say: Say) -> str:
    """The sha256 of what is at an address now. Raises MachineError where it cannot be had: a site's mirror may lack
    what the address has.
    """
    try:
        return await learn(url, settings, say)
    except BuildError as error:
        raise MachineError(error.what, where=error.where, hint=error.hint) from None
