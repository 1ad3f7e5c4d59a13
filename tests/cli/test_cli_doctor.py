"""`vep doctor`: its exit code says whether this machine can run anything."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import CommandLine
from vep_dagger.doctor import Finding

GOOD = [
    Finding("uv", "ok", "uv 0.13", "environments"),
    Finding("libnuma", "ok", "libnuma.so.1", "vLLM on CPUs"),
    Finding("disk-cache", "limited", "3 GB free", "environments", "free some space"),
]


def found(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr("vep_dagger.doctor.diagnose", lambda *, network: list(findings))


def test_a_machine_that_can_run_something_is_well(vep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, *GOOD)
    said = vep("doctor")
    assert said.code == 0
    assert "this machine can\n" in said.out
    assert "free some space" in said.out


def test_a_machine_that_can_run_nothing_is_told_by_the_exit_code(
    vep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, *GOOD[1:], Finding("uv", "missing", "no uv", "environments", "reinstall the package uv"))
    said = vep("doctor")
    assert said.code == 3
    assert "cannot: it lacks uv" in said.out
    assert "to get it: reinstall the package uv" in said.out


def test_programs_get_the_same(vep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, *GOOD[1:])
    said = vep("doctor", "--json")
    assert said.code == 0
    told = json.loads(said.out)
    assert [finding["name"] for finding in told["findings"]] == ["libnuma", "disk-cache"]
    assert told["ways"][0]["lacks"] == []


def test_the_network_is_asked_only_when_it_is_wanted(vep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def diagnose(*, network: bool) -> list[Finding]:
        asked.append(network)
        return GOOD

    monkeypatch.setattr("vep_dagger.doctor.diagnose", diagnose)
    vep("doctor")
    vep("doctor", "--network")
    assert asked == [False, True]
