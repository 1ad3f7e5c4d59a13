"""What people call the entries of a lock: ``--upgrade NAME``."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vep_dagger.errors import UsageError, did_you_mean
from vep_dagger.matrix.lock import AnyEntry, ArchiveEntry, GitEntry, ImageEntry


def names_of(entry: AnyEntry) -> frozenset[str]:
    """The layers that use it, and its own names: of a repository or image the last part of its address, of an archive
    its file's name, and the address itself.

    >>> sorted(names_of(GitEntry(url="https://github.com/NVIDIA/nccl.git", ref="v2", used_by=["nccl"])))
    ['https://github.com/NVIDIA/nccl.git', 'nccl']
    """
    names = set(entry.used_by)
    match entry:
        case GitEntry(url=url):
            names |= {url, _last(url).removesuffix(".git")}
        case ArchiveEntry(url=url):
            names |= {url, _last(url)}
        case ImageEntry(ref=ref):
            names |= {ref, _last(ref.partition("@")[0]).partition(":")[0]}
    return frozenset(names)


def short_name(entry: AnyEntry) -> str:
    """The name to type for an entry."""
    return entry.used_by[0] if entry.used_by else min(names_of(entry), key=len)


def meant(names: Collection[str], entries: Iterable[AnyEntry]) -> frozenset[tuple[str, ...]]:
    """The identities of the entries that people named. Raises UsageError for a name that none has."""
    known = {entry.identity: names_of(entry) for entry in entries}
    every = {name for each in known.values() for name in each}
    for name in names:
        if name not in every:
            short = {each for each in every if "://" not in each}
            raise UsageError(f"the lock has nothing called {name!r}", where="--upgrade", hint=did_you_mean(name, short))
    return frozenset(identity for identity, each in known.items() if not each.isdisjoint(names))


def _last(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2]
