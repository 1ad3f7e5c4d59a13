"""How figures and foreign text are written for people, the same in every format of the report."""

from __future__ import annotations

import math
import re
from urllib.parse import quote

ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""ECMA-48 control sequences (colours, cursor), operating system commands (titles, links), and two-character escapes."""

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""What XML cannot hold, what a terminal or a browser would act on, and what turns the direction of reading."""


def clean(text: str) -> str:
    """``text`` without colours, with line ends as ``\\n``, and U+FFFD for each other character that cannot be shown."""
    return UNPRINTABLE.sub("\ufffd", ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """``text``, cleaned, with every run of white space as one space."""
    return " ".join(clean(text).split())


def figure(value: float | None) -> str:
    """A measured number with as many digits as can be read at a glance: ``19,636``, ``153.4``, ``29.65``, ``0.042``."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.001 or value == 0 else f"{value:.1e}"


def limit(value: float) -> str:
    """A number that a person wrote, as it was written: no digit is added or rounded away."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def seconds(value: float | None) -> str:
    """A duration: ``0.42 s``, ``31.4 s``, ``4 min 05 s``, ``2 h 07 min``."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def start(warm: bool | None) -> str:
    """What a server's start found; empty where nothing is kept between starts."""
    if warm is None:
        return ""
    return "warm: compiled code of an earlier start was there" if warm else "cold: it compiled its code itself"


def size(value: int | None) -> str:
    """Bytes in decimal units: ``2.5 GB``."""
    if value is None:
        return "–"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def href(path: str) -> str:
    """The address of a file of the run directory, as seen from the report's folder in it.

    Every path starts with ``../``, so that no name of a file can become another kind of address.
    """
    return "../" + quote(path)
