from __future__ import annotations

from xml.etree import ElementTree as ET

from inline_snapshot import snapshot

from tests.report.example import FAILURE, NAIVE_10, NAIVE_11, NAIVE_12, PPLX_10, PPLX_11, PPLX_12, Run, hostile
from vep_dagger.report.junit import junit_xml
from vep_dagger.report.model import Summary

# What junit-10.xsd of jenkinsci/xunit-plugin allows, as far as it is used: attributes and children of each element.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time"}, {"properties", "testcase"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, {"skipped", "failure"}),
    "failure": ({"type", "message"}, set()),
    "skipped": ({"message"}, set()),
}


def parse(summary: Summary) -> dict[str, dict[str, ET.Element]]:
    root = ET.fromstring(junit_xml(summary))
    return {suite.get("name", ""): {case.get("name", ""): case for case in suite.findall("testcase")} for suite in root}


def outcome(case: ET.Element) -> tuple[str, ...]:
    (found,) = [*case] or [ET.Element("ok")]
    return tuple(text for text in (found.tag, found.get("type"), found.get("message")) if text)


def test_each_job_of_each_cell_is_a_case_with_its_verdict(summary: Summary) -> None:
    found = {
        suite: {name: outcome(case) for name, case in cases.items()}
        for suite, cases in parse(summary).items()
        if suite != NAIVE_10
    }
    assert list(found) == [PPLX_10, PPLX_11, NAIVE_11, PPLX_12, NAIVE_12]
    assert found == snapshot(
        {
            "vllm0.10.1.1-pplx": {"build": ("ok",), "smoke": ("ok",), "bench short": ("ok",), "bench long": ("ok",)},
            "vllm0.11.0-pplx": {
                "build": ("ok",),
                "smoke": ("failure", "fell-back", "pplx was asked for, and the server uses naive"),
                "bench short": ("skipped", "smoke fell back, so not measured"),
                "bench long": ("skipped", "smoke fell back, so not measured"),
            },
            "vllm0.11.0-naive": {
                "build": ("ok",),
                "smoke": ("ok",),
                "bench short": ("ok",),
                "bench long": ("failure", "failed", "repeat 2 completed 988 of 1000 requests"),
            },
            "vllm0.12.0-pplx": {"plan": ("skipped", "vLLM 0.12.0 has no pplx backend: its code was removed in 0.11.1")},
            "vllm0.12.0-naive": {
                "build": ("skipped", "not reached"),
                "smoke": ("skipped", "not reached"),
                "bench short": ("skipped", "not reached"),
                "bench long": ("skipped", "not reached"),
            },
        }
    )


def test_a_failure_shows_its_witness(summary: Summary) -> None:
    failure = parse(summary)[PPLX_11]["smoke"].find("failure")
    assert failure is not None
    assert failure.text == snapshot("""\
pplx was asked for, and the server uses naive
cells/vllm0.11.0-pplx/server-1.log:187
WARNING [config.py:412] pplx kernels not found | falling back to naive all2all\
""")


def test_a_failed_build_shows_its_layer_its_command_and_the_end_of_its_output(run: Run) -> None:
    run.change("build:img-0.10.1.1", **FAILURE)
    failure = parse(run.summary())[PPLX_10]["build"].find("failure")
    assert failure is not None
    assert (failure.text or "").splitlines() == [
        "layer nvshmem: make -j4 install: exited with 2",
        "layer nvshmem",
        "$ make -j4 install",
        "exit code 2",
        "src/init.cu:12: error: no such thing",
        "make: *** [install] Error 1",
    ]


def test_the_document_has_the_elements_and_attributes_that_readers_know(summary: Summary) -> None:
    for element in ET.fromstring(junit_xml(summary)).iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children


def test_totals_are_those_of_the_cases_and_shared_time_counts_once(summary: Summary) -> None:
    root = ET.fromstring(junit_xml(summary))
    assert root.get("tests") == str(len(root.findall(".//testcase")))
    assert root.get("failures") == str(len(root.findall(".//failure"))) == "2"
    builds = [float(case.get("time", "")) for case in root.iterfind(".//testcase[@name='build']")]
    assert builds == [1412.7, 0.0, 0.31, 0.0, 0.0]


def test_control_characters_and_markup_are_held() -> None:
    text = junit_xml(hostile().summary())
    failures = [failure.get("message", "") for failure in ET.fromstring(text).iter("failure")]
    assert any("<script>" in message and "\ufffd" in message and "\x1b" not in message for message in failures)
