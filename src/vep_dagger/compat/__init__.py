"""What each vLLM release really does: selection, log lines, versions, flags. Data and look-ups; nothing is run."""

from vep_dagger.compat.logtext import clean
from vep_dagger.compat.lookup import Compat
from vep_dagger.compat.rules import (
    BenchFlags,
    CpuWheel,
    DefaultPins,
    Hazard,
    KnownCommit,
    LineRule,
    NvshmemWheel,
    PhaseRule,
    Ranks,
    Release,
    Selection,
    Switch,
    Tooling,
    Violation,
)

__all__ = [
    "BenchFlags",
    "Compat",
    "CpuWheel",
    "DefaultPins",
    "Hazard",
    "KnownCommit",
    "LineRule",
    "NvshmemWheel",
    "PhaseRule",
    "Ranks",
    "Release",
    "Selection",
    "Switch",
    "Tooling",
    "Violation",
    "clean",
]
