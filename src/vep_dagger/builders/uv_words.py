"""How uv is asked to install, and what its answers mean: on this machine and inside a container alike.

``install.py`` takes this file along into containers: only the standard library, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable, List, Optional, Sequence  # noqa: UP035 - for old Pythons in containers

QUESTION_TIMEOUT_S = 120
"""For a question to uv: an index that does not answer must not hold up the next way."""

QUICK = {"UV_HTTP_TIMEOUT": "15", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_RETRIES": "1"}
"""Variables for a question."""

PLAIN_OUTPUT = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
"""Variables for every command: an interpreter that uv downloads would be content that nobody has pinned."""

UNREACHABLE = re.compile(
    r"error sending request|Request failed after|Failed to fetch|Failed to read `--find-links` URL|dns error|timed out"
)
NO_SOLUTION = re.compile(r"No solution found")
_REASON_LENGTH = 200


def pip_install(
    python: str,
    requirements: Sequence[str],
    overrides: Sequence[str],
    excluded: Sequence[str],
    before: Optional[str],  # noqa: UP045 - as above
    work: Path,
    *options: str,
) -> List[str]:  # noqa: UP006 - as above
    """The words after ``uv`` that install ``requirements`` for the interpreter ``python``. Lists are put into files of
    ``work``.
    """
    command = ["pip", "install", "--python", python, *options]
    for option, lines in (("--overrides", overrides), ("--excludes", excluded)):
        if lines:
            file = work / f"{option[2:]}.txt"
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            command += [option, str(file)]
    if before:
        command += ["--exclude-newer", before]
    return [*command, "--", *requirements]


def with_links(present: str, more: Iterable[str]) -> str:
    """A value of ``UV_FIND_LINKS`` (a list with commas) with more places, without directories that do not exist.

    uv fails on such a directory, where pip only warns.
    """
    links = dict.fromkeys([*filter(None, present.split(",")), *more])
    return ",".join(link for link in links if "://" in link or Path(link).expanduser().is_dir())


def unavailable(lines: Sequence[str]) -> Optional[str]:  # noqa: UP045 - as above
    """Why uv could not resolve, in one line, if that is for want of packages or of an index that answers; else None."""
    text = "\n".join(lines)
    if not (NO_SOLUTION.search(text) or UNREACHABLE.search(text)):
        return None
    # The deepest cause names what is missing; the lines above it say in which undertaking.
    causes = [line for line in lines if re.match(r"\s*(error|cause):|\s*(×|├─▶|╰─▶)", line)]
    said = (causes or [line for line in lines if line.strip()])[-1].strip()
    said = re.sub(r"^(error:|cause:|×|├─▶|╰─▶) *|, we can conclude that .*", "", said)
    return said if len(said) <= _REASON_LENGTH else f"{said[: _REASON_LENGTH - 1]}…"
