"""A server's log as it can be searched: without colours, progress bars undone, one process' words at a time."""

from __future__ import annotations

import re

# Every repetition is possessive or bounded: text that no pattern fits costs no more than its length.
_MOVE = re.compile(r"\x1b\[[0-9;]*+[A-HJf]")
"""The cursor goes elsewhere: what follows is another line."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]{0,4096}+(?:\x07|\x1b\\)|[@-Z\\^_])")
"""Colours, erasures, window titles."""
_BREAK = re.compile(r"[\r\n]+")
_PROCESS = r"\([A-Za-z][\w.:-]{0,63}(?: [\w.:=-]{1,32}){0,2} pid=\d{1,10}(?:, ip=[\w.:]{1,45})?\)"
"""``(EngineCore_DP0 pid=1470)``, ``(VllmWorker rank=0 pid=7)``, ``(RayWorker pid=7, ip=10.0.0.1)``."""
_PREFIXES = re.compile(rf"(?:\s{{0,8}}{_PROCESS})+\s?")
_STAMP = r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d"
_STAMPED = re.compile(_STAMP)
_SEAM = re.compile(rf"{_PROCESS}|{_STAMP} \[")
"""Where the words of another process begin."""


def clean(text: str) -> list[str]:
    """The pieces of a log's line (or of several) that are each one message, in order, without the empty ones.

    Colours and process prefixes (also nested ones) are stripped, carriage returns and cursor movements separate
    pieces, and so does the beginning of another process' message in the middle of a progress bar. Takes time in
    proportion to the text's length.
    """
    pieces: list[str] = []
    for part in _BREAK.split(_ESCAPE.sub("", _MOVE.sub("\r", text))):
        pieces += _messages(part)
    return pieces


def _messages(part: str) -> list[str]:
    found: list[str] = []
    start = position = 0
    while (seam := _SEAM.search(part, position)) is not None:
        found.append(part[start : seam.start()])
        prefixes = _PREFIXES.match(part, seam.start())
        start = prefixes.end() if prefixes else seam.start()
        # The time stamp right after a prefix is of the same message.
        stamp = _STAMPED.match(part, start)
        position = stamp.end() if stamp else start
    found.append(part[start:])
    return [message.rstrip() for message in found if message.strip()]
