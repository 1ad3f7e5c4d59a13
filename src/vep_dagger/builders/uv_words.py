"""How uv is asked to install, and what its answers mean: on this machine and inside a container alike.

``install.py`` takes this file along into containers: only the standard library, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
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
    limits = _limits(overrides, excluded, before, work)
    return ["pip", "install", "--python", python, *options, *limits, "--", *requirements]


def pip_compile(
    python: str,
    requirements: Sequence[str],
    overrides: Sequence[str],
    excluded: Sequence[str],
    before: Optional[str],  # noqa: UP045 - as above
    work: Path,
    result: Path,
    *options: str,
) -> List[str]:  # noqa: UP006 - as above
    """The words after ``uv`` that resolve what :func:`pip_install` would install into an empty environment, and write
    it into the file ``result``. That must not be there: uv would prefer what it names.
    """
    asked = write_lines(work / "requirements.in", requirements)
    limits = _limits(overrides, excluded, before, work)
    plain = ["--no-header", "--no-annotate", "--output-file", str(result)]
    return ["pip", "compile", "--python", python, *options, *plain, *limits, "--", asked]


def install_exactly(python: str, requirements: Path, *options: str) -> List[str]:  # noqa: UP006 - as above
    """The words after ``uv`` that install the packages of a resolution, as a file lists them, and nothing besides."""
    return ["pip", "install", "--python", python, *options, "--no-deps", "--requirements", str(requirements)]


REQUIRE_HASHES = "--require-hashes"
"""For :func:`install_exactly`: what has no hash, or another one, is not installed."""


def built_exactly(tools: str) -> List[str]:  # noqa: UP006 - as above
    """Options for :func:`install_exactly` of a source distribution: it is built with packages of the file ``tools``. A
    package that the file does not have, or whose hash is another, makes uv refuse the build, whether pyproject.toml
    asks for it or the build as it runs (``--require-build-hashes``, experimental since uv 0.13, so by its name too).

    Without uv's cache, which may have the same distribution as other tools have built it; and isolated whatever
    ``uv.toml`` says, since uv checks nothing in an environment that is there already.
    """
    isolated = ["--no-cache", "--build-isolation", "--build-constraints", tools]
    return [*isolated, "--require-build-hashes", "--preview-features", "build-dependency-hashes"]


def write_lines(file: Path, lines: Iterable[str]) -> str:
    """Write a list into a file; its path."""
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(file)


def resolved_in(text: str) -> List[str]:  # noqa: UP006 - as above
    """The packages of a file that :func:`pip_compile` has written, a requirement each."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def of_part(
    lines: Iterable[str],
    names: Sequence[str],
    but: Sequence[str],
) -> List[str]:  # noqa: UP006 - as above
    """The requirements whose packages belong to a part, as :meth:`vep_dagger.dsl.step.Part.fits` says of a name."""

    def fits(line: str) -> bool:
        name = re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]).lower()
        return any(fnmatchcase(name, each) for each in names) and not any(fnmatchcase(name, each) for each in but)

    return [line for line in lines if fits(line)]


def _limits(
    overrides: Sequence[str],
    excluded: Sequence[str],
    before: Optional[str],  # noqa: UP045 - as above
    work: Path,
) -> List[str]:  # noqa: UP006 - as above
    words: List[str] = []  # noqa: UP006 - as above
    for option, lines in (("--overrides", overrides), ("--excludes", excluded)):
        if lines:
            words += [option, write_lines(work / f"{option[2:]}.txt", lines)]
    return [*words, "--exclude-newer", before] if before else words


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
