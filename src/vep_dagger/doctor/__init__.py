"""What this machine can build and run, and what each missing thing would enable."""

from vep_dagger.doctor.diagnose import diagnose
from vep_dagger.doctor.finding import Finding, State
from vep_dagger.doctor.machine import Disk, Machine, Output
from vep_dagger.doctor.probe import Probe
from vep_dagger.doctor.render import document, render, summary, table
from vep_dagger.doctor.ways import WAYS, Way, blocked_by, exit_code

__all__ = [
    "WAYS",
    "Disk",
    "Finding",
    "Machine",
    "Output",
    "Probe",
    "State",
    "Way",
    "blocked_by",
    "diagnose",
    "document",
    "exit_code",
    "render",
    "summary",
    "table",
]
