"""What is done last, when nothing of a command is left: for what is not a descendant of its guard, such as a container.

Only what starts quickly is imported here: every guard imports this file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TIMEOUT_S = 60.0
"""For a container with a GPU to be killed and removed."""


class Last(NamedTuple):
    """A command, and the file that says that it is still to be run."""

    argv: Sequence[str]
    env: Mapping[str, str]
    gone: str
    """Output that says that there was nothing to do."""
    mark: str
    """Deleted when it is done."""
    timeout_s: float = TIMEOUT_S

    def message(self) -> dict[str, Any]:
        """For the guard."""
        return {**self._asdict(), "argv": list(self.argv), "env": dict(self.env)}


def carry_out(last: Last) -> bool:
    """Run the command, and delete the mark if it did what it should. Blocks."""
    import subprocess

    try:
        done = subprocess.run(
            list(last.argv),
            env=dict(last.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=last.timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    if done.returncode != 0 and last.gone.encode() not in done.stdout:
        return False
    with contextlib.suppress(OSError):
        os.unlink(last.mark)  # noqa: PTH108 - pathlib would add milliseconds to every guard's start
    return True
