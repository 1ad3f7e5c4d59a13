"""Evidence: what a job leaves on disk, so that a verdict can be checked and a killed run can go on."""

from vep_dagger.evidence.record import BenchRecord, BuildRecord, Record, SmokeRecord, Verdict, Witness
from vep_dagger.evidence.rundir import RunDirectory, Standing
from vep_dagger.evidence.runfile import RunFile

__all__ = [
    "BenchRecord",
    "BuildRecord",
    "Record",
    "RunDirectory",
    "RunFile",
    "SmokeRecord",
    "Standing",
    "Verdict",
    "Witness",
]
