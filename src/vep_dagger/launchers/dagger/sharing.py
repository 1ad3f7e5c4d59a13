"""Files that both sides of a bridge (:mod:`.bridge`) see under the same paths: this machine's side."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vep_dagger.errors import LaunchError

FRAME = 256 * 1024
PART = ".vep-part-"
"""How the name of a file begins that is still coming."""


@dataclass
class Sharing:
    """Takes what the agent says of files, and knows which of this machine's it does not have.

    A file that is new there appears here whole, and grows as it grows. Nothing is ever written outside the shared
    directories, whatever the other side says.
    """

    roots: list[Path] = field(default_factory=list)
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Size and time of change of the files that are the same on both sides."""
    _coming: dict[str, Path] = field(default_factory=dict)
    _trouble: tuple[Path, OSError] | None = None

    def add(self, roots: Sequence[Path]) -> list[Path]:
        """Share these directories; those of them that were not shared already."""
        fresh: list[Path] = []
        for root in sorted({root.absolute() for root in roots}):
            if not any(root.is_relative_to(each) for each in (*self.roots, *fresh)):
                fresh.append(root)
        self.roots += fresh
        return fresh

    def unsent(self, root: Path) -> list[Path]:
        """The files at or below ``root`` that the other side does not have as they are now."""
        found = (
            [root] if root.is_file() else [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
        )
        unsent = []
        for file in sorted(found):
            with suppress(OSError):
                status = file.lstat()
                if not stat.S_ISREG(status.st_mode) or file.name.startswith(PART):
                    continue
                if self._known.get(str(file)) != (status.st_size, status.st_mtime_ns):
                    unsent.append(file)
        return unsent

    def frames(self, file: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The messages that bring a file to the other side; none for one that is gone. Raises LaunchError."""
        try:
            with file.open("rb") as source:
                status = os.fstat(source.fileno())
                offset = 0
                while True:
                    payload = source.read(min(FRAME, status.st_size - offset))
                    header: dict[str, Any] = {"do": "write", "path": str(file), "offset": offset}
                    offset += len(payload)
                    last = offset >= status.st_size or not payload
                    yield (header | {"mode": stat.S_IMODE(status.st_mode)} if last else header), payload
                    if last:
                        break
        except FileNotFoundError:
            return
        except OSError as error:
            raise LaunchError(
                f"a file cannot be sent to the server's place: {error.strerror}", where=str(file)
            ) from error
        self._known[str(file)] = (status.st_size, status.st_mtime_ns)

    def take(self, header: Mapping[str, Any], payload: bytes) -> None:
        """Write what the agent says of a file; :meth:`check` tells if that was not possible."""
        file = self._allowed(header["path"])
        if file is None or self._trouble is not None:
            return
        try:
            self._write(file, header, payload)
        except OSError as error:
            self._trouble = (file, error)
            self.close()

    def remove(self, path: str) -> None:
        """Take away what is gone there, and was made there."""
        file = self._allowed(path)
        if file is not None and self._known.pop(str(file), None) is not None:
            with suppress(OSError):
                file.unlink()

    def check(self) -> None:
        """Raise LaunchError if something could not be written here."""
        if self._trouble is not None:
            file, error = self._trouble
            raise LaunchError(
                f"a file of the server's cannot be written here: {error.strerror}",
                where=str(file),
                hint="free some space, or choose another directory with --out",
            ) from error

    def close(self) -> None:
        """Take away what has come in part."""
        for part in self._coming.values():
            with suppress(OSError):
                part.unlink()
        self._coming.clear()

    def _allowed(self, path: str) -> Path | None:
        """The file, if it is in a shared directory, also after all links."""
        file = Path(os.path.normpath(path))
        if not any(file.is_relative_to(root) for root in self.roots):
            return None
        parent = file.parent.resolve()
        return file if any(parent.is_relative_to(root.resolve()) for root in self.roots) else None

    def _write(self, file: Path, header: Mapping[str, Any], payload: bytes) -> None:
        path, offset = str(file), header["offset"]
        if header["fresh"]:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(prefix=PART, dir=file.parent)
            os.close(descriptor)
            self._coming[path] = Path(part)
        target = self._coming.get(path, file)
        with target.open("r+b") as out:
            out.seek(offset)
            out.write(payload)
        if "mode" not in header:
            return
        part_file = self._coming.pop(path, None)
        if part_file is not None:
            part_file.chmod(header["mode"])
            part_file.replace(file)
        status = file.stat()
        self._known[path] = (status.st_size, status.st_mtime_ns)
