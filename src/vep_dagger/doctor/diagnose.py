"""All probes at once, each bounded in time, none able to stop the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine
from vep_dagger.doctor.probe import Probe
from vep_dagger.doctor.probes import LOCAL, NETWORK

PROBE_TIMEOUT_S = 5.0


def diagnose(
    machine: Machine | None = None,
    probes: Sequence[Probe] | None = None,
    *,
    network: bool = False,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> list[Finding]:
    """What a machine (this one by default) has and has not, in the order of the probes.

    ``network`` adds the probes that ask others. Never raises: a probe that breaks, or is not done in ``timeout_s``, is
    a finding.
    """
    looked_at = machine or Machine.here()
    if probes is None:
        probes = (*LOCAL, *NETWORK) if network else LOCAL
    results: list[list[Finding] | None] = [None] * len(probes)

    def look(number: int, probe: Probe) -> None:
        try:
            results[number] = list(probe(looked_at))
        except Exception as error:
            results[number] = [_broken(probe, f"the probe broke: {type(error).__name__}: {error}")]

    # Daemons: a file system that hangs must not keep the process from its end.
    threads = [
        threading.Thread(target=look, args=each, daemon=True, name=each[1].__name__) for each in enumerate(probes)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {timeout_s:g} s"
    answers = zip(probes, results, strict=True)
    return [finding for probe, result in answers for finding in ([_broken(probe, late)] if result is None else result)]


def _broken(probe: Probe, what: str) -> Finding:
    name = probe.__name__.removeprefix("probe_").replace("_", "-")
    return Finding(
        name, "limited", what, "nothing can be said about it", "run vep doctor again; if it stays, report it"
    )
