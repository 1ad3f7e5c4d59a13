"""Evidence: what a job leaves on disk, so that a verdict can be checked and a killed run can go on."""

from vep_dagger.evidence.record import AnyRecord, BenchRecord, BuildRecord, SmokeRecord, Verdict, Witness
from vep_dagger.evidence.rundir import RunDirectory, Standing
from vep_dagger.evidence.runfile import RunFile

__all__ = [
    "AnyRecord",
    "BenchRecord",
    "BuildRecord",
    "RunDirectory",
    "RunFile",
    "SmokeRecord",
    "Standing",
    "Verdict",
    "Witness",
]
