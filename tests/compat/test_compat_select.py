from __future__ import annotations

import re

import pytest

from vep_dagger.compat import Compat, LineRule, Selection
from vep_dagger.errors import CompatError

PPLX, NAIVE, AG_RS = "pplx", "naive", "allgather_reducescatter"
HIGH, LOW = "deepep_high_throughput", "deepep_low_latency"
ONE_SIDED, TWO_SIDED = "flashinfer_nvlink_one_sided", "flashinfer_nvlink_two_sided"

# Each backend with the first and the last release in which it really runs.
REAL = {
    NAIVE: ("0.9.0", "0.18.1"),
    PPLX: ("0.9.0", "0.16.0"),
    HIGH: ("0.9.1", "0.33.0"),
    LOW: ("0.9.1", "0.33.0"),
    AG_RS: ("0.11.0", "0.33.0"),
    "flashinfer_all2allv": ("0.11.0", "0.33.0"),
    "mori": ("0.15.1", "0.22.0"),
    ONE_SIDED: ("0.18.0", "0.33.0"),
    TWO_SIDED: ("0.18.0", "0.33.0"),
    "nixl_ep": ("0.18.0", "0.33.0"),
    "mori_high_throughput": ("0.23.0", "0.33.0"),
    "mori_low_latency": ("0.23.0", "0.33.0"),
    "deepep_v2": ("0.24.0", "0.33.0"),
    "moonep": ("0.31.0", "0.33.0"),
}


def ask(
    compat: Compat,
    version: str,
    all2all: str | None = None,
    *,
    data_parallel: int = 8,
    device: str = "cuda",
    **more: object,
) -> Selection:
    return compat.select(version, all2all=all2all, data_parallel=data_parallel, device=device, **more)  # type: ignore[arg-type]


def wanted(selection: Selection, line: str) -> list[LineRule]:
    return [rule for rule in selection.demanded if re.search(rule.pattern, line)]


def refused(selection: Selection, line: str) -> list[LineRule]:
    return [rule for rule in selection.forbidden if re.search(rule.pattern, line)]


def test_the_choosable_backends_are_all_known(compat: Compat) -> None:
    assert set(compat.backends) == set(REAL)


@pytest.mark.parametrize("backend", REAL)
def test_a_backend_is_possible_exactly_where_it_really_runs(compat: Compat, backend: str) -> None:
    every = list(compat.releases)
    first, last = REAL[backend]
    possible = [version for version in every if ask(compat, version, backend).impossible is None]
    assert possible == every[every.index(first) : every.index(last) + 1]


@pytest.mark.parametrize(
    ("version", "backend", "reason"),
    [
        ("0.17.0", PPLX, ("0.16.0 was the last release", AG_RS)),
        ("0.33.0", PPLX, ("0.16.0 was the last release", AG_RS)),
        ("0.19.0", NAIVE, ("0.18.1 was the last release", AG_RS)),
        ("0.9.0", HIGH, ("0.9.1 is the first release",)),
        ("0.10.1.1", AG_RS, ("0.11.0 is the first release",)),
        ("0.16.0", "moonep", ("0.31.0 is the first release",)),
        ("0.23.0", "mori", ("mori_high_throughput", "mori_low_latency")),
    ],
)
def test_an_impossible_backend_says_which_release_had_it_and_what_there_is_now(
    compat: Compat, version: str, backend: str, reason: tuple[str, ...]
) -> None:
    selection = ask(compat, version, backend, deep_gemm=True, expert_parallel=True)
    assert selection.impossible is not None
    assert version in selection.impossible
    for word in reason:
        assert word in selection.impossible
    assert selection == Selection(impossible=selection.impossible)


def test_a_backend_that_no_release_has_is_an_error_with_the_nearest_name(compat: Compat) -> None:
    with pytest.raises(CompatError, match="no vLLM release has an all2all backend 'deepep_low_latancy'") as caught:
        ask(compat, "0.26.0", "deepep_low_latancy")
    assert caught.value.hint == "did you mean 'deepep_low_latency'?"


@pytest.mark.parametrize("version", ["0.10.0", "0.32.0", "0.33.0"])
def test_passthrough_is_vllm_s_own_and_refused(compat: Compat, version: str) -> None:
    with pytest.raises(CompatError, match="nobody can choose it"):
        ask(compat, version, "passthrough")


def test_an_unknown_device_and_a_size_below_one_are_errors(compat: Compat) -> None:
    with pytest.raises(CompatError, match="unknown device 'cudo'") as caught:
        ask(compat, "0.26.0", device="cudo")
    assert caught.value.hint == "did you mean 'cuda'?"
    with pytest.raises(CompatError, match="1 or more"):
        ask(compat, "0.26.0", data_parallel=0)


@pytest.mark.parametrize("version", ["0.9.0", "0.9.2", "0.10.1.1", "0.10.2", "0.11.0"])
def test_up_to_0_11_0_the_variable_chooses(compat: Compat, version: str) -> None:
    selection = ask(compat, version, NAIVE)
    assert selection.env == (("VLLM_ALL2ALL_BACKEND", NAIVE),)
    assert (selection.args, selection.unset) == ((), ())


@pytest.mark.parametrize("version", ["0.11.1", "0.13.0", "0.14.0", "0.15.1", "0.16.0"])
def test_from_0_11_1_the_flag_chooses_and_the_variable_must_not_reach_the_server(compat: Compat, version: str) -> None:
    selection = ask(compat, version, NAIVE)
    assert selection.args == ("--all2all-backend", NAIVE)
    assert selection.unset == ("VLLM_ALL2ALL_BACKEND",)
    assert selection.env == ()


@pytest.mark.parametrize("version", ["0.9.0", "0.14.0", "0.26.0"])
def test_a_variable_left_in_the_surroundings_never_decides(compat: Compat, version: str) -> None:
    assert ask(compat, version).unset == ("VLLM_ALL2ALL_BACKEND",)


def test_a_variable_beside_the_flag_is_seen_in_the_log(compat: Compat) -> None:
    old = "VLLM_ALL2ALL_BACKEND environment variable is deprecated and will be removed in v0.15.0."
    new = "Unknown vLLM environment variable detected: VLLM_ALL2ALL_BACKEND"
    assert [
        bool(refused(ask(compat, version, AG_RS), old)) for version in ("0.11.0", "0.11.1", "0.15.1", "0.16.0")
    ] == [False, True, True, False]
    assert [bool(refused(ask(compat, version), new)) for version in ("0.16.0", "0.17.0", "0.33.0")] == [
        False,
        True,
        True,
    ]


MANAGERS = [
    (NAIVE, "0.9.0", "Using naive all2all manager."),
    (NAIVE, "0.11.0", "Using naive all2all manager."),
    (NAIVE, "0.11.1", "Using NaiveAll2AllManager all2all manager."),
    (NAIVE, "0.18.1", "Using NaiveAll2AllManager all2all manager."),
    (PPLX, "0.9.0", "Using PPLX all2all manager."),
    (PPLX, "0.11.0", "Using PPLX all2all manager."),
    (PPLX, "0.11.1", "Using PPLXAll2AllManager all2all manager."),
    (PPLX, "0.16.0", "Using PPLXAll2AllManager all2all manager."),
    (AG_RS, "0.11.0", "Using AllGather-ReduceScatter all2all manager."),
    (AG_RS, "0.11.1", "Using AgRsAll2AllManager all2all manager."),
    (AG_RS, "0.33.0", "Using AgRsAll2AllManager all2all manager."),
    (HIGH, "0.9.1", "Using DeepEP High-Throughput all2all manager."),
    (HIGH, "0.11.1", "Using DeepEPHTAll2AllManager all2all manager."),
    (LOW, "0.11.0", "Using DeepEP Low-Latency all2all manager."),
    (LOW, "0.33.0", "Using DeepEPLLAll2AllManager all2all manager."),
    ("flashinfer_all2allv", "0.11.0", "Using Flashinfer all2allv manager."),
    ("flashinfer_all2allv", "0.11.1", "Using FlashInferAllToAllManager all2all manager."),
    ("flashinfer_all2allv", "0.17.0", "Using FlashInferAllToAllManager all2all manager."),
    ("flashinfer_all2allv", "0.18.0", "Using FlashInferNVLinkTwoSidedManager all2all manager."),
    (TWO_SIDED, "0.18.0", "Using FlashInferNVLinkTwoSidedManager all2all manager."),
    (ONE_SIDED, "0.33.0", "Using FlashInferNVLinkOneSidedManager all2all manager."),
    ("mori", "0.22.0", "Using MoriAll2AllManager all2all manager."),
    ("mori_low_latency", "0.23.0", "Using MoriAll2AllManager all2all manager."),
    ("nixl_ep", "0.18.0", "Using NixlEPAll2AllManager all2all manager."),
    ("deepep_v2", "0.24.0", "Using DeepEPV2All2AllManager all2all manager."),
    ("moonep", "0.31.0", "Using MoonEPAll2AllManager all2all manager."),
]
LINES = {line for _, _, line in MANAGERS} | {"Using PassThroughAll2AllManager all2all manager."}


@pytest.mark.parametrize(("backend", "version", "line"), MANAGERS)
def test_the_manager_s_line_is_demanded_and_any_other_manager_is_a_fallback(
    compat: Compat, backend: str, version: str, line: str
) -> None:
    selection = ask(compat, version, backend)
    (rule,) = wanted(selection, f"INFO 11-23 23:47:48 [cuda_communicator.py:201] {line}")
    assert rule.ranks == ("every" if version in ("0.9.0", "0.9.1", "0.11.0") else "zero")
    assert not refused(selection, line)
    for other in LINES - {line}:
        assert not wanted(selection, other)
        assert [found.violation for found in refused(selection, other)] == ["fell-back"]


def test_an_old_name_of_a_backend_is_replaced_by_the_new_one_and_noted(compat: Compat) -> None:
    selection = ask(compat, "0.18.0", "flashinfer_all2allv")
    assert selection.args == ("--all2all-backend", TWO_SIDED)
    assert "deprecated name" in selection.notes[0]
    assert ask(compat, "0.17.0", "flashinfer_all2allv").args == ("--all2all-backend", "flashinfer_all2allv")


@pytest.mark.parametrize("version", ["0.10.1.1", "0.26.0", "0.33.0"])
def test_without_data_parallel_no_manager_is_made_so_no_backend_can_be_asked_for(compat: Compat, version: str) -> None:
    backend = HIGH
    selection = ask(compat, version, backend, data_parallel=1)
    assert selection.impossible is not None
    assert "data_parallel of 2 or more" in selection.impossible
    assert ask(compat, version, data_parallel=1).demanded == ()


@pytest.mark.parametrize("version", ["0.17.0", "0.26.0", "0.33.0"])
def test_the_fallback_line_is_forbidden_whatever_was_asked_for(compat: Compat, version: str) -> None:
    line = "The 'pplx' all2all backend has been removed. Falling back to 'allgather_reducescatter'."
    for backend in (None, AG_RS, LOW):
        assert [rule.violation for rule in refused(ask(compat, version, backend), line)] == ["fell-back"]


@pytest.mark.parametrize(
    ("backend", "version", "line"),
    [
        (PPLX, "0.9.0", "AssertionError: pplx_kernels not found. Please follow https://github.com/vllm-project/vllm"),
        (PPLX, "0.16.0", "AssertionError: pplx_kernels not found. Please follow https://github.com/vllm-project/vllm"),
        (HIGH, "0.9.1", "AssertionError: DeepEP kernels not found. Please follow https://github.com/vllm-project/vllm"),
        (LOW, "0.33.0", "AssertionError: DeepEP kernels not found. Please follow https://github.com/vllm-project/vllm"),
    ],
)
def test_missing_kernels_are_a_failure(compat: Compat, backend: str, version: str, line: str) -> None:
    assert [rule.violation for rule in refused(ask(compat, version, backend), line)] == ["failed"]


def test_the_expert_parallel_line_is_demanded_from_0_10_2(compat: Compat) -> None:
    line = "[EP Rank 0/16] Expert parallelism is enabled. Local/global number of experts: 16/256."
    every = list(compat.releases)
    demanded = [version for version in every if wanted(ask(compat, version, expert_parallel=True), line)]
    assert demanded == every[every.index("0.10.2") :]
    assert not wanted(ask(compat, "0.26.0", expert_parallel=False), line)


def test_expert_parallelism_of_one_rank_is_impossible_where_the_sizes_are_known(compat: Compat) -> None:
    def of(data: int, tensor: int | None) -> str | None:
        return ask(compat, "0.26.0", data_parallel=data, tensor_parallel=tensor, expert_parallel=True).impossible

    assert "two ranks" in (of(1, 1) or "")
    assert of(1, 8) is None
    assert of(2, 1) is None
    assert of(1, None) is None


OLD = "Using DeepGemm kernels for Fp8MoEMethod."
MIDDLE = "Using DeepGEMM backend for FP8 MoE"
NEW = "Using DEEPGEMM Fp8 MoE backend out of potential backends: ['FLASHINFER_CUTLASS', 'DEEPGEMM']."
BATCHED = NEW.replace("Using ", "Using BATCHED_")
DEEP_GEMM = [
    (("0.9.0", "0.10.2", "0.11.0"), OLD),
    (("0.11.1", "0.13.0", "0.14.0", "0.14.1"), MIDDLE),
    (("0.15.1", "0.16.0", "0.33.0"), NEW),
    (("0.15.1", "0.26.0", "0.33.0"), BATCHED),
]


@pytest.mark.parametrize(("versions", "line"), DEEP_GEMM)
def test_deep_gemm_on_demands_its_line_and_off_forbids_it(compat: Compat, versions: tuple[str, ...], line: str) -> None:
    for version in versions:
        assert len(wanted(ask(compat, version, deep_gemm=True), line)) == 1
        assert not refused(ask(compat, version, deep_gemm=True), line)
        assert [rule.violation for rule in refused(ask(compat, version, deep_gemm=False), line)] == ["fell-back"]
        assert not wanted(ask(compat, version), line)
        assert not refused(ask(compat, version), line)


@pytest.mark.parametrize(
    ("first", "last", "line"),
    [
        ("0.9.0", "0.11.0", "Failed to import DeepGemm kernels."),
        ("0.9.0", "0.11.0", "DeepGemm not supported on the current platform."),
        ("0.9.1", "0.11.0", "Model is not block quantized. Not using DeepGemm kernels"),
        ("0.9.1", "0.11.0", "Model is not block quantized. Not using  DeepGemm kernels"),
        ("0.11.1", "0.14.1", "DeepGEMM backend requested but not available."),
        ("0.11.1", "0.14.1", "Using Triton backend for FP8 MoE"),
        ("0.14.0", "0.14.1", "DeepGEMM is disabled because the platform does not support it."),
        ("0.15.1", "0.33.0", "Using TRITON Fp8 MoE backend out of potential backends: ['TRITON', 'DEEPGEMM']."),
        ("0.15.1", "0.33.0", "Using FLASHINFER_CUTLASS Fp8 MoE backend out of potential backends: ['DEEPGEMM']."),
        ("0.15.1", "0.33.0", "Using BATCHED_TRITON Fp8 MoE backend out of potential backends: ['BATCHED_DEEPGEMM']."),
    ],
)
def test_with_deep_gemm_on_other_kernels_are_a_fallback(compat: Compat, first: str, last: str, line: str) -> None:
    for version in (first, last):
        on = ask(compat, version, deep_gemm=True)
        assert [rule.violation for rule in refused(on, line)] == ["fell-back"]
        assert not wanted(on, line)
        assert not refused(ask(compat, version, deep_gemm=False), line)


def test_a_list_of_candidates_with_deep_gemm_in_it_proves_nothing(compat: Compat) -> None:
    line = "Using TRITON Fp8 MoE backend out of potential backends: ['DEEPGEMM', 'TRITON']. Using"
    assert not wanted(ask(compat, "0.26.0", deep_gemm=True), line)
    assert not refused(ask(compat, "0.26.0", deep_gemm=False), line)


def test_linear_layers_on_deep_gemm_are_forbidden_where_it_is_off(compat: Compat) -> None:
    line = "Selected DeepGemmFp8BlockScaledMMKernel for Fp8LinearMethod"
    assert refused(ask(compat, "0.26.0", deep_gemm=False), line)
    assert not refused(ask(compat, "0.26.0", deep_gemm=True), line)
    assert not wanted(ask(compat, "0.26.0", deep_gemm=True), line)


@pytest.mark.parametrize(
    ("version", "variables"),
    [
        ("0.9.0", ["VLLM_USE_DEEP_GEMM"]),
        ("0.11.0", ["VLLM_USE_DEEP_GEMM"]),
        ("0.11.1", ["VLLM_MOE_USE_DEEP_GEMM", "VLLM_USE_DEEP_GEMM"]),
        ("0.33.0", ["VLLM_MOE_USE_DEEP_GEMM", "VLLM_USE_DEEP_GEMM"]),
    ],
)
def test_deep_gemm_is_always_set_explicitly(compat: Compat, version: str, variables: list[str]) -> None:
    assert ask(compat, version, deep_gemm=True).env == tuple((name, "1") for name in variables)
    assert ask(compat, version, deep_gemm=False).env == tuple((name, "0") for name in variables)
    assert ask(compat, version).env == ()


def test_moonep_runs_no_quantized_model_so_it_cannot_have_deep_gemm(compat: Compat) -> None:
    assert "unquantized" in (ask(compat, "0.33.0", "moonep", deep_gemm=True).impossible or "")
    assert ask(compat, "0.33.0", "moonep", deep_gemm=False).impossible is None


def test_on_a_cpu_deep_gemm_is_impossible(compat: Compat) -> None:
    assert "CPU" in (ask(compat, "0.32.0", deep_gemm=True, device="cpu").impossible or "")
    off = ask(compat, "0.32.0", deep_gemm=False, device="cpu")
    assert off.impossible is None
    assert ("VLLM_USE_DEEP_GEMM", "0") in off.env


@pytest.mark.parametrize("backend", sorted(set(REAL) - {AG_RS}))
def test_on_a_cpu_only_allgather_reducescatter_runs(compat: Compat, backend: str) -> None:
    assert f"no all2all backend {backend!r} on a CPU; there it has {AG_RS!r}" in (
        ask(compat, "0.32.0", backend, device="cpu").impossible or ""
    )


def test_on_a_cpu_the_manager_has_a_line_of_its_own_and_the_known_failure_is_noted(compat: Compat) -> None:
    selection = ask(compat, "0.32.0", AG_RS, data_parallel=2, expert_parallel=True, device="cpu")
    assert wanted(selection, "Using allgather_reducescatter all2all manager.")
    assert wanted(selection, "[EP Rank 0/2] Expert parallelism is enabled. Expert placement strategy: linear.")
    assert refused(
        selection, "`pplx` all2all manager is not supported on CPU. Falling back to `allgather_reducescatter` manager."
    )
    assert any("all_gatherv" in note for note in selection.notes)
    assert not any("CPU" in rule.name for rule in ask(compat, "0.32.0", AG_RS, device="cuda").forbidden)
    assert selection.args == ("--all2all-backend", AG_RS)
    assert ask(compat, "0.32.0", data_parallel=1, device="cpu").notes == ()


@pytest.mark.parametrize("version", ["0.16.0", "0.19.0"])
def test_on_the_cpu_of_older_releases_naive_ran_instead(compat: Compat, version: str) -> None:
    assert ask(compat, version, AG_RS, device="cpu").impossible is not None


USED = "Using FlashInfer for top-p & top-k sampling."


@pytest.mark.parametrize("version", ["0.9.0", "0.11.0", "0.11.1", "0.20.2", "0.21.0", "0.33.0"])
def test_the_sampler_is_always_set_explicitly_and_proved(compat: Compat, version: str) -> None:
    on, off = compat.sampler(version, on=True), compat.sampler(version, on=False)
    assert (on.env, off.env) == ((("VLLM_USE_FLASHINFER_SAMPLER", "1"),), (("VLLM_USE_FLASHINFER_SAMPLER", "0"),))
    assert wanted(on, USED)
    assert not refused(on, USED)
    assert [rule.violation for rule in refused(off, USED)] == ["fell-back"]


def test_a_sampler_that_is_off_says_so_from_0_21(compat: Compat) -> None:
    line = "FlashInfer top-p/top-k sampling disabled via VLLM_USE_FLASHINFER_SAMPLER=0."
    assert not compat.sampler("0.20.2", on=False).demanded
    assert wanted(compat.sampler("0.21.0", on=False), line)
    assert refused(compat.sampler("0.21.0", on=True), line)


def test_an_unread_newer_release_is_asked_like_the_newest_known_one(compat: Compat) -> None:
    newer, newest = ask(compat, "0.40.0", AG_RS, deep_gemm=True), ask(compat, "0.33.0", AG_RS, deep_gemm=True)
    assert newer == newest


def test_a_repeated_look_up_is_the_same_object_and_not_made_again(compat: Compat) -> None:
    once = ask(compat, "0.26.0", AG_RS, deep_gemm=False, expert_parallel=True)
    assert ask(compat, "0.26.0", AG_RS, deep_gemm=False, expert_parallel=True) is once
