from __future__ import annotations

import pytest

from vep_dagger.compat import Compat
from vep_dagger.errors import CompatError

ALWAYS = ["--enable-expert-parallel", "--headless"] + [
    f"--data-parallel-{name}" for name in ("size-local", "address", "rpc-port", "start-rank")
]
OLD_EPLB = ["--num-redundant-experts", "--eplb-window-size", "--eplb-step-interval", "--eplb-log-balancedness"]


@pytest.mark.parametrize(
    ("flags", "first", "last"),
    [
        (ALWAYS, "0.9.0", "0.33.0"),
        (["--api-server-count"], "0.9.1", "0.33.0"),
        (["--data-parallel-rank"], "0.9.2", "0.33.0"),
        (["--data-parallel-hybrid-lb"], "0.10.0", "0.33.0"),
        (["--data-parallel-external-lb"], "0.11.1", "0.33.0"),
        (["--enable-eplb"], "0.9.2", "0.33.0"),
        (OLD_EPLB, "0.9.2", "0.11.2"),
        (["--eplb-config"], "0.10.2", "0.33.0"),
        (["--all2all-backend"], "0.11.1", "0.33.0"),
        (["--moe-backend"], "0.17.0", "0.33.0"),
        (["--linear-backend"], "0.22.0", "0.33.0"),
    ],
)
def test_a_flag_of_serve_is_in_its_releases_and_in_no_other(
    compat: Compat, flags: list[str], first: str, last: str
) -> None:
    every = list(compat.releases)
    inside = every[every.index(first) : every.index(last) + 1]
    for flag in flags:
        assert [version for version in every if compat.flag_known(flag, version)] == inside
        assert {compat.flag_known(flag, version) for version in every} <= {True, False}


def test_nothing_is_said_of_a_flag_that_the_data_does_not_have(compat: Compat) -> None:
    assert compat.flag_known("--enforce-eager", "0.26.0") is None
    assert compat.flag_known("--num-warmups", "0.26.0") is None
    with pytest.raises(CompatError):
        compat.flag_known("--headless", "latest")


def test_the_flag_that_names_the_api_changed_once(compat: Compat) -> None:
    named = {version: compat.bench(version).backend for version in compat.releases}
    every = list(compat.releases)
    split = every.index("0.11.1")
    assert {named[version] for version in every[:split]} == {"--endpoint-type"}
    assert {named[version] for version in every[split:]} == {"--backend"}
    for version in every:
        assert compat.flag_known(named[version], version, "bench serve") is True


@pytest.mark.parametrize(
    ("flag", "without", "first"),
    [
        ("--backend", "0.9.1", "0.9.2"),
        ("--ready-check-timeout-sec", "0.10.0", "0.10.1"),
        ("--num-warmups", "0.11.0", "0.11.1"),
        ("--temperature", "0.9.0", "0.9.1"),
    ],
)
def test_the_benchmark_s_flags_begin_with_their_release(compat: Compat, flag: str, without: str, first: str) -> None:
    assert compat.flag_known(flag, without, "bench serve") is False
    assert compat.flag_known(flag, first, "bench serve") is True


def test_what_the_benchmark_takes_and_reports_by_release(compat: Compat) -> None:
    for version in compat.releases:
        flags = compat.bench(version)
        assert flags.ready_check is compat.flag_known("--ready-check-timeout-sec", version, "bench serve")
        assert flags.num_warmups is compat.flag_known("--num-warmups", version, "bench serve")
        assert flags.temperature is compat.flag_known("--temperature", version, "bench serve")
    assert not compat.bench("0.11.0").reports_failed
    assert compat.bench("0.11.1").reports_failed
    assert compat.bench("0.9.0").goodput_key == "request_goodput:"
    assert compat.bench("0.10.0").goodput_key == "request_goodput"
    assert compat.bench("0.9.0").api == "openai-comp"
    assert {compat.bench(version).api for version in compat.releases[1:]} == {"vllm"}
    assert compat.bench("0.14.1").greedy_by_default
    assert not compat.bench("0.26.0").greedy_by_default


def test_the_result_s_keys_are_those_of_every_release(compat: Compat) -> None:
    keys = set(compat.bench("0.33.0").result_keys)
    latencies = {
        f"{figure}_{what}_ms" for figure in ("mean", "median", "std", "p99") for what in ("ttft", "tpot", "itl")
    }
    assert latencies < keys
    assert {
        "duration",
        "completed",
        "num_prompts",
        "output_throughput",
        "request_throughput",
        "total_token_throughput",
    } < keys
    assert "failed" not in keys


@pytest.mark.parametrize(
    ("variable", "defaults"),
    [
        ("VLLM_USE_DEEP_GEMM", {"0.9.0": "0", "0.10.2": "0", "0.11.0": "1", "0.33.0": "1"}),
        ("VLLM_MOE_USE_DEEP_GEMM", {"0.11.0": None, "0.11.1": "1", "0.33.0": "1"}),
        ("VLLM_USE_DEEP_GEMM_E8M0", {"0.10.0": None, "0.10.1": "1", "0.33.0": "1"}),
        ("VLLM_SKIP_DEEP_GEMM_WARMUP", {"0.10.0": None, "0.10.1": "0", "0.11.0": "0", "0.11.1": None}),
        ("VLLM_DEEP_GEMM_WARMUP", {"0.11.0": None, "0.11.1": "relax", "0.33.0": "relax"}),
        (
            "VLLM_USE_FLASHINFER_SAMPLER",
            {"0.9.0": "auto", "0.11.0": "auto", "0.11.1": "0", "0.20.2": "0", "0.21.0": "1"},
        ),
    ],
)
def test_the_switches_and_their_defaults_by_release(
    compat: Compat, variable: str, defaults: dict[str, str | None]
) -> None:
    for version, default in defaults.items():
        found = {switch.variable: switch.default for switch in compat.switches(version)}
        assert found.get(variable) == default, version


def test_the_moe_switch_is_off_by_itself_at_tensor_parallel_8_in_some_releases(compat: Compat) -> None:
    def note(version: str) -> str:
        return next(switch.note for switch in compat.switches(version) if switch.variable == "VLLM_MOE_USE_DEEP_GEMM")

    assert [version for version in ("0.11.2", "0.12.0", "0.14.1", "0.15.1") if "tensor parallel" in note(version)] == [
        "0.12.0",
        "0.14.1",
    ]
