"""One entry of a lock, asked for where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from vep_dagger.builders.base import Say
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.errors import LockError, MachineError, VepError
from vep_dagger.locking.archives import resolve_archive
from vep_dagger.locking.git import resolve_ref
from vep_dagger.locking.registry import resolve_image
from vep_dagger.matrix.lock import AnyEntry, ArchiveEntry, GitEntry, ImageEntry
from vep_dagger.plan.locking import PythonRequest


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry as it is now, where it comes from."""

    entry: AnyEntry
    others: frozenset[str] = field(default=frozenset())
    """Further contents that are the same thing: of an image, those of its platforms."""

    def agrees(self, content: str) -> bool:
        """Whether that content is still the entry's."""
        return content == self.entry.content or content in self.others

    @property
    def moves(self) -> bool:
        """Whether it is of a branch, which is expected to change."""
        return isinstance(self.entry, GitEntry) and self.entry.branch


def can_be_verified(entry: AnyEntry) -> bool:
    """Whether somebody can be asked whether it still is what it was, without all the work of finding out: tags, names
    of images and addresses have somebody; a commit alone and packages have nobody.
    """
    return isinstance(entry, (ImageEntry, ArchiveEntry)) or (isinstance(entry, GitEntry) and entry.ref is not None)


async def resolve(entry: AnyEntry, request: PythonRequest | None, settings: BuildSettings, say: Say) -> Seen:
    """What an entry is now; ``request`` is that of a Python environment. An archive whose content the entry has already
    is downloaded only where its server does not tell the same of it as the entry.

    Raises MachineError where nobody answers, and LockError for what is not there.
    """
    others: frozenset[str] = frozenset()
    try:
        match entry:
            case GitEntry(url=url, ref=ref, commit=commit):
                found = await resolve_ref(url, ref or commit or "", settings)
                held: dict[str, object] = {"commit": found.commit, "branch": found.branch}
            case ArchiveEntry():
                return Seen((await resolve_archive(entry, settings, say)).model_copy(update={"unseen": None}))
            case ImageEntry(ref=ref):
                tag = await resolve_image(ref, settings)
                held, others = {"digest": tag.digest}, tag.platforms
            case _:
                from vep_dagger.locking.python import resolve_python

                assert request is not None, "an environment is wanted by a step"
                resolved = await resolve_python(request, settings, say)
                held = {"packages": resolved.packages, "build": resolved.build or None}
    except (LockError, MachineError):
        raise
    except VepError as error:
        raise LockError(error.what, where=error.where, hint=error.hint) from error
    return Seen(entry.model_copy(update={**held, "unseen": None}), others)
