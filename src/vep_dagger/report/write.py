"""Writing a report into a directory: every file whole or not at all, and none when nothing has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from vep_dagger import __version__
from vep_dagger.errors import EvidenceError
from vep_dagger.evidence.files import write_whole
from vep_dagger.report.model import Summary

NAMES = ("index.html", "report.md", "junit.xml", "results.csv", "pick.json")
STAMP = ".stamp"


def write_report(summary: Summary, directory: Path) -> tuple[Path, ...]:
    """Write ``index.html``, ``report.md``, ``junit.xml``, ``results.csv`` and ``pick.json``; give their paths.

    The same summary gives the same bytes, so nothing is written when the directory holds the report of an equal one,
    made by the same release. Raises EvidenceError when the directory cannot be written.
    """
    paths = tuple(directory / name for name in NAMES)
    stamp = _stamp(summary)
    stamped = directory / STAMP
    try:
        if (
            all(path.is_file() for path in paths)
            and stamped.is_file()
            and stamped.read_text("ascii", "replace") == stamp
        ):
            return paths
        directory.mkdir(parents=True, exist_ok=True)
        # The stamp goes first and comes last: a report that was cut off by a kill must not pass for a whole one.
        stamped.unlink(missing_ok=True)
        for path, text in zip(paths, _texts(summary), strict=True):
            # Surrogates stand for bytes of a log that are not UTF-8.
            write_whole(path, text.encode("utf-8", "replace").decode("utf-8"))
        write_whole(stamped, stamp)
    except OSError as error:
        raise EvidenceError(
            f"the report cannot be written: {error.strerror or error}",
            where=str(directory),
            hint="make room or give another folder",
        ) from error
    return paths


def _texts(summary: Summary) -> Iterator[str]:
    from vep_dagger.report.html import report_html
    from vep_dagger.report.junit import junit_xml
    from vep_dagger.report.markdown import report_markdown
    from vep_dagger.report.pick import pick_document
    from vep_dagger.report.results import results_csv

    yield report_html(summary)
    yield report_markdown(summary)
    yield junit_xml(summary)
    yield results_csv(summary)
    yield json.dumps(pick_document(summary), indent=2, ensure_ascii=False) + "\n"


def _stamp(summary: Summary) -> str:
    return hashlib.sha256(f"{__version__}\n{summary.canonical()}".encode()).hexdigest()
