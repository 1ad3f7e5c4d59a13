"""``junit.xml``: a suite for each cell and a case for each of its jobs, for CI systems that show test results."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from vep_dagger.evidence.record import Witness
from vep_dagger.report.images import told
from vep_dagger.report.model import CellSummary, JobSummary, Summary
from vep_dagger.report.text import clean


def junit_xml(summary: Summary) -> str:
    """The report in the schema that Jenkins, GitLab and GitHub's reporters share.

    ``failed`` and ``fell-back`` are failures (their type says which), ``impossible`` and ``not-run`` are skipped. A job
    that several cells share appears in each of them, and its seconds are counted in the first.
    """
    root = ET.Element("testsuites", {"name": clean(f"vep {summary.facts.matrix}")})
    counted: set[str] = set()
    suites = [_suite(cell, summary, counted) for cell in summary.cells]
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", _time(sum(float(suite.get("time", "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(cell: CellSummary, summary: Summary, counted: set[str]) -> ET.Element:
    suite = ET.Element("testsuite", {"name": clean(cell.slug)})
    group = clean(f"{summary.facts.matrix}.{cell.slug}")
    properties = ET.SubElement(suite, "properties")
    for axis, label in {**cell.choices, "verdict": cell.verdict}.items():
        ET.SubElement(properties, "property", {"name": clean(axis), "value": clean(label)})
    total = 0.0
    for job in cell.jobs:
        fresh = job.id not in counted
        counted.add(job.id)
        taken = (job.seconds or 0.0) if fresh else 0.0
        total += taken
        case = ET.SubElement(suite, "testcase", {"name": _name(job), "classname": group, "time": _time(taken)})
        _outcome(case, job)
    if not cell.jobs:
        case = ET.SubElement(suite, "testcase", {"name": "plan", "classname": group, "time": _time(0)})
        ET.SubElement(case, "skipped", {"message": clean(cell.reason or cell.verdict)})
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    suite.set("time", _time(total))
    return suite


def _outcome(case: ET.Element, job: JobSummary) -> None:
    reason = clean(job.reason or job.verdict)
    if job.verdict in ("failed", "fell-back"):
        failure = ET.SubElement(case, "failure", {"type": job.verdict, "message": reason})
        step = [clean(line) for line in told(job.step)] if job.step else []
        failure.text = "\n".join([reason, *_witness(job.witness), *step])
    elif job.verdict == "not-run":
        ET.SubElement(case, "skipped", {"message": reason})


def _witness(witness: Witness | None) -> list[str]:
    if witness is None:
        return []
    place = witness.file if witness.line is None else f"{witness.file}:{witness.line}"
    return [clean(place), clean(witness.text)]


def _name(job: JobSummary) -> str:
    return clean(f"bench {job.workload}") if job.kind == "bench" else job.kind


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
