"""The command line from a matrix to a report: real builds, processes, ports and requests around a stand-in vLLM."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable

from tests.e2e.site import Site

JOBS = {"smoke:small", "bench:small:short", "bench:small:long", "smoke:large", "bench:large:short", "bench:large:long"}


SLOW = "[serve.env]\nSTANDIN_START_S = '60'\n[smoke.deadlines]"


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_a_matrix_comes_to_a_report_and_nothing_stays_behind(site: Site) -> None:
    done = site.vep("run", "matrix.toml", "--out", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    records = site.records()
    assert set(records.values()) == {"passed"}
    assert records.keys() - JOBS == {job for job in records if job.startswith("build:")}
    assert "report: run/report/index.html" in done.stdout
    pick = json.loads((site.folder / "run" / "report" / "pick.json").read_text())
    assert pick["outcome"] in ("winner", "tie")
    smoke = json.loads((site.folder / "run" / "cells" / "small" / "smoke.json").read_text())
    assert smoke["server"]["stop"]["killed"] == 1, "the worker that the stand-in leaves behind"
    assert site.alive() == []


def test_a_server_that_dies_at_the_first_request_fails_the_command(site: Site) -> None:
    site.matrix.write_text(
        site.matrix.read_text().replace("[smoke.deadlines]", "[serve.env]\nSTANDIN_DIES = '1'\n[smoke.deadlines]")
    )
    done = site.vep("run", "matrix.toml", "--out", "run")
    assert done.returncode == 1
    assert "NotImplementedError: no gather on this device" in done.stdout
    assert "cells/small/servers/1/server.log:" in done.stdout
    assert site.alive() == []


def test_ctrl_c_stops_the_server_and_says_how_to_go_on(site: Site) -> None:
    site.matrix.write_text(site.matrix.read_text().replace("[smoke.deadlines]", SLOW))
    process = site.start("run", "matrix.toml", "--out", "run")
    wait_until(lambda: list(site.folder.glob("run/cells/small/servers/1/server.log")) and len(site.alive()) >= 3)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    said = (site.folder / "vep.log").read_text()
    assert "vep run matrix.toml --out run --resume" in said
    assert "Traceback" not in said
    assert site.alive() == []


def test_sigterm_stops_the_server_too(site: Site) -> None:
    site.matrix.write_text(site.matrix.read_text().replace("[smoke.deadlines]", SLOW))
    process = site.start("run", "matrix.toml", "--out", "run")
    wait_until(lambda: list(site.folder.glob("run/cells/small/servers/1/server.log")) and len(site.alive()) >= 3)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 130
    assert site.alive() == []


def test_sigterm_stops_the_server_of_a_background_job_too(site: Site) -> None:
    """A script's shell starts ``vep run &`` with SIGINT ignored."""
    site.matrix.write_text(site.matrix.read_text().replace("[smoke.deadlines]", SLOW))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = site.start("run", "matrix.toml", "--out", "run")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: list(site.folder.glob("run/cells/small/servers/1/server.log")) and len(site.alive()) >= 3)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 130
    assert site.alive() == []


def test_a_run_killed_at_ten_moments_ends_in_the_same_records(site: Site) -> None:
    """SIGKILL, ten times, at moments spread over the whole run; nothing survives, nothing is lost or done twice."""
    assert site.vep("run", "matrix.toml", "--out", "whole").returncode == 0
    moments = random.Random(10)
    for number in range(10):
        resume = ("--resume",) if (site.folder / "run" / "run.json").exists() else ()
        process = site.start("run", "matrix.toml", "--out", "run", *resume)
        time.sleep(0.5 + moments.random() * (1 + number * 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: site.alive() == [], 20)
        assert set(site.records().values()) <= {"passed"}
    done = site.vep("run", "matrix.toml", "--out", "run", "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.records() == site.records("whole")
    assert site.alive() == []


def test_a_finished_run_is_resumed_without_starting_anything(site: Site) -> None:
    assert site.vep("run", "matrix.toml", "--out", "run").returncode == 0
    done = site.vep("run", "matrix.toml", "--resume", "--out", "run")
    assert done.returncode == 0
    assert "starting" not in done.stdout
    assert len(list(site.folder.glob("run/cells/small/servers/*"))) == 1


def test_two_runs_at_once_build_the_environment_once_and_share_no_port(site: Site) -> None:
    one = site.start("run", "matrix.toml", "--out", "one")
    two = site.start("run", "matrix.toml", "--out", "two")
    assert (one.wait(120), two.wait(120)) == (0, 0), (site.folder / "vep.log").read_text()
    assert site.records("one") == site.records("two")


def test_a_directory_in_use_by_another_run_is_refused(site: Site) -> None:
    site.matrix.write_text(site.matrix.read_text().replace("[smoke.deadlines]", SLOW))
    first = site.start("run", "matrix.toml", "--out", "run")
    wait_until(lambda: (site.folder / "run" / "cells").exists())
    done = site.vep("run", "matrix.toml", "--out", "run", "--resume")
    assert done.returncode == 2
    assert f"in use by another run (process {first.pid})" in done.stderr
    os.kill(first.pid, signal.SIGINT)
    first.wait(30)


def test_events_are_lines_of_json(site: Site) -> None:
    done = site.vep("run", "matrix.toml", "--out", "run", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["kind"] == "run-started"
    assert events[-1]["kind"] == "run-finished"
    assert {event["verdict"] for event in events if event["kind"] == "job-finished"} == {"passed"}


def test_a_fixed_port_in_use_is_told(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        site.matrix.write_text(
            site.matrix.read_text().replace('model = "./model"', f'model = "./model"\nport = {number}')
        )
        done = site.vep("run", "matrix.toml", "--out", "run")
    assert done.returncode == 2
    assert str(number) in done.stderr
