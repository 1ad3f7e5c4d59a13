from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator

import pytest

from tests.doctor.lab import Lab
from vep_dagger.doctor import Finding, Machine, diagnose, document, exit_code, render, table
from vep_dagger.doctor.probes import LOCAL, NETWORK


def probe_well(machine: Machine) -> Iterator[Finding]:
    yield Finding("well", "ok", "here", "things")


def probe_that_breaks(machine: Machine) -> Iterator[Finding]:
    yield Finding("first", "ok", "here", "things")
    raise RuntimeError("boom")


def probe_that_hangs(machine: Machine) -> Iterator[Finding]:
    time.sleep(30)
    yield Finding("late", "ok", "here", "things")


def test_a_machine_with_everything_has_no_fault(whole: Lab) -> None:
    findings = diagnose(whole.machine)
    assert {finding.name: finding.state for finding in findings if finding.state != "ok"} == {}
    assert len(findings) == 22
    assert exit_code(findings) == 0


def test_a_machine_with_nothing_says_for_each_thing_what_it_would_enable_and_how_to_get_it(lab: Lab) -> None:
    faults = [finding for finding in diagnose(lab.machine) if finding.state != "ok"]
    assert {finding.name for finding in faults} >= {
        "uv",
        "libnuma",
        "docker",
        "gpu",
        "efa",
        "gdrcopy",
        "slurm",
        "hub-token",
    }
    assert all(finding.enables and finding.hint for finding in faults)


def test_without_a_way_to_run_the_exit_code_is_3_and_the_summary_says_what_is_lacking(lab: Lab) -> None:
    findings = diagnose(lab.machine)
    assert exit_code(findings) == 3
    told = render(findings)[-3:]
    assert [line.partition("cannot: it lacks ")[2] for line in told] == ["uv, libnuma", "dagger", "docker"]


@pytest.mark.parametrize("name", ["uv", "libnuma.so.1"])
def test_each_need_of_the_way_counts(whole: Lab, name: str) -> None:
    whole.program("docker", "exit 1")  # and with it the engine that it would start
    assert exit_code(diagnose(whole.machine)) == 0
    for path in whole.directory.rglob(name):
        path.unlink()
    assert exit_code(diagnose(whole.machine)) == 3


def test_a_probe_that_breaks_is_a_finding_and_the_others_are_heard(lab: Lab) -> None:
    broken, well = diagnose(lab.machine, [probe_that_breaks, probe_well])
    assert (broken.name, broken.state) == ("that-breaks", "limited")
    assert "RuntimeError: boom" in broken.what
    assert well.what == "here"


def test_a_probe_that_hangs_is_a_finding_in_time(lab: Lab) -> None:
    started = time.monotonic()
    hangs, well = diagnose(lab.machine, [probe_that_hangs, probe_well], timeout_s=0.2)
    assert time.monotonic() - started < 5
    assert hangs.what == "no answer within 0.2 s"
    assert well.state == "ok"


def test_probes_run_at_once(lab: Lab) -> None:
    def slow(machine: Machine) -> Iterator[Finding]:
        time.sleep(0.3)
        yield Finding("slow", "ok", "here", "things")

    started = time.monotonic()
    assert len(diagnose(lab.machine, [slow] * 10)) == 10
    assert time.monotonic() - started < 2


def test_the_network_is_asked_only_on_request(whole: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("vep_dagger.doctor.diagnose")
    monkeypatch.setattr(module, "LOCAL", ())
    monkeypatch.setattr(module, "NETWORK", (probe_well,))
    assert diagnose(whole.machine) == []
    assert [finding.name for finding in diagnose(whole.machine, network=True)] == ["well"]


def test_no_secret_reaches_any_form(whole: Lab) -> None:
    findings = diagnose(whole.machine)
    told = json.dumps(document(findings)) + "\n".join(render(findings))
    for secret in ("hf_secret", "c2VjcmV0", "registry.example"):
        assert secret not in told


def test_the_json_form_has_findings_and_ways(lab: Lab) -> None:
    told = document(diagnose(lab.machine))
    assert told["format"] == 1
    assert set(told["findings"][0]) == {"name", "state", "what", "enables", "hint", "used"}
    assert told["ways"][0]["builder"] == "venv"
    assert told["ways"][0]["lacks"] == ["uv", "libnuma"]


def test_what_only_later_versions_use_stands_apart(whole: Lab) -> None:
    lines = render(diagnose(whole.machine))
    later = lines.index("What later versions will use")
    place = {line.split()[1]: number for number, line in enumerate(lines) if line.startswith("ok ")}
    assert place["uv"] < place["docker"] < later < place["podman"]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_terminals_form_says_the_same(lab: Lab, width: int) -> None:
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(table(diagnose(lab.machine)))
    told = " ".join(console.export_text().split())
    assert "no docker on PATH" in told
    assert "libnuma" in told


def test_this_machine_can_be_looked_at() -> None:
    machine = Machine.here()
    findings = diagnose(machine)
    assert len(findings) >= len(LOCAL)
    assert next(finding for finding in findings if finding.name == "uv").state == "ok"
    assert NETWORK
