"""The line of a log that says why a server failed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vep_dagger.jobs.logwatch import Line

_LEVEL = re.compile(r"^(?:ERROR|CRITICAL|FATAL)\b")
_PREFIX = re.compile(r"^(?:ERROR|CRITICAL|WARNING|INFO) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure)\b(?::|$)")
_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')
_FATAL = re.compile(
    r"(?i)out of memory|\bkilled\b|segmentation fault|bus error|no space left on device|address already in use|"
    r"unrecognized arguments|invalid choice|the following arguments are required|error: argument"
)
_FOLLOW_UP = re.compile(
    r"EngineDeadError|EngineGenerateError|EngineCore encountered an issue|Engine core initialization failed|"
    r"See stack trace|See root cause above|WorkerProc initialization failed|CancelledError|ConnectionResetError|"
    r"BrokenPipeError|leaked shared_memory|Parent process exited"
)
"""What processes say when another one has failed: true, and not the reason."""


def find_cause(lines: Sequence[Line]) -> Line | None:
    """The line that names the reason: the first exception that is no follow-up of another, else a fatal message, else
    the first error line, else the last line. The text comes without level and time; an exception without a message gets
    the place that raised it."""
    bare = [Line(line.number, _PREFIX.sub("", line.text).strip()) for line in lines]
    exceptions = [index for index, line in enumerate(bare) if _EXCEPTION.search(line.text)]
    for index in exceptions:
        if not _FOLLOW_UP.search(bare[index].text):
            return _with_place(bare, index)
    fatal = [line for line in bare if _FATAL.search(line.text) and not _FOLLOW_UP.search(line.text)]
    followed = [bare[index] for index in exceptions]
    errors = [line for line, whole in zip(bare, lines, strict=True) if _LEVEL.search(whole.text)]
    told = [line for line in bare if line.text]
    for found in (fatal[:1], followed[:1], errors[:1], told[-1:]):
        if found:
            return found[0]
    return None


def _with_place(bare: Sequence[Line], index: int) -> Line:
    line = bare[index]
    if ":" in line.text:
        return line
    for before in reversed(bare[max(0, index - 10) : index]):
        if place := _PLACE.match(before.text):
            return Line(
                line.number, f"{line.text} ({place['file'].rsplit('/', 1)[-1]}:{place['line']}, in {place['name']})"
            )
    return line
