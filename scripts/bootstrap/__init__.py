"""The set-up behind ``make run`` and ``make test``.

Only the standard library, and no syntax newer than Python 3.8: an old Python must be able to read these files, to say
politely that it is too old.
"""

from __future__ import annotations


class SetupError(Exception):
    """Set-up cannot go on: what is wrong and what to do."""


def say(text: str, end: str = "\n") -> None:
    """One line of progress, visible at once in a pipe too."""
    print(f"make: {text}", end=end, flush=True)
