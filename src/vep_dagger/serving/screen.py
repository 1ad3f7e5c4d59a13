"""What a person sees: a server's log as it comes, and between its lines what we have to say."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TextIO

CHUNK = 1 << 20
"""Bytes of a log that are shown at a time."""


class Screen:
    """Our own lines begin with ``vep:``; all others are the server's, as it wrote them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fresh = True
        """Whether the cursor is at the beginning of a line."""

    def say(self, text: str) -> None:
        """One line of ours."""
        self._out.write(f"{'' if self._fresh else chr(10)}vep: {text}\n")
        self._out.flush()
        self._fresh = True

    def show(self, data: bytes) -> None:
        """What a server wrote; a progress bar without its end too."""
        text = self._decoder.decode(data)
        if text:
            self._out.write(text)
            self._out.flush()
            self._fresh = text.endswith("\n")


class Shown:
    """A log that is shown on a screen as it grows."""

    def __init__(self, log: Path, screen: Screen) -> None:
        self._log = log
        self._screen = screen
        self._offset = 0

    def more(self) -> None:
        """Show what has been written since the last call."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._offset)
                while data := file.read(CHUNK):
                    self._offset += len(data)
                    self._screen.show(data)
        except FileNotFoundError:
            return
