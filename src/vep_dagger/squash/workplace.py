"""Where a SquashFS is made: a directory beside the file, with a lock in it for as long as somebody works there.

What a ``vep`` that was killed leaves, the next one to the same directory removes. Names have the machine's, and others'
are left alone: on some network file systems a lock is seen by one machine alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vep_dagger.builders.locks import Lock
from vep_dagger.errors import VepError
from vep_dagger.processes.leftovers import reap

PREFIX = ".vep-squash-"
_LOCK = "lock"


@contextmanager
def workplace(directory: Path) -> Iterator[Path]:
    """A new directory in ``directory``, locked, and removed in the end with all that is in it."""
    aside, lock = _locked(directory)
    try:
        yield aside
    finally:
        _remove(aside)
        lock.release()


def sweep(directory: Path) -> list[str]:
    """Remove the directories of this user's in which nobody of this machine works any more, and end what still runs of
    them; their names. What cannot be removed stays. Blocks.
    """
    removed = []
    for aside in sorted(directory.glob(f"{_own_prefix()}*")):
        lock = Lock(aside / _LOCK)
        try:
            # A lock that is not there is made: whoever was about to take it finds it taken, and goes elsewhere.
            if aside.is_symlink() or aside.stat().st_uid != os.geteuid() or not lock.try_acquire("exclusive"):
                continue
            reap(aside)
            _remove(aside)
        except (OSError, VepError):
            continue
        finally:
            lock.release()
        if not aside.exists():
            removed.append(aside.name)
    return removed


def _own_prefix() -> str:
    return f"{PREFIX}{platform.node() or 'localhost'}-"


def _locked(directory: Path) -> tuple[Path, Lock]:
    while True:
        aside = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=directory))
        lock = Lock(aside / _LOCK)
        try:
            # One who sweeps may have come in between, and it is his.
            if lock.try_acquire("exclusive") and lock.path.exists():
                return aside, lock
            lock.release()
        except OSError:
            # A file system without locks: nobody else can take it for left behind either.
            return aside, lock


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if not directory.exists():
        return
    # Directories of an image that is not whole yet may refuse even their owner.
    for above, names, _ in os.walk(directory):
        for path in (Path(above, name) for name in names):
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
