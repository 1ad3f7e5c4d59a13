from __future__ import annotations

import pytest
from packaging.version import Version

from vep_dagger.compat import Compat, Tooling
from vep_dagger.errors import CompatError

MINORS = [f"0.{minor}.0" for minor in (12, 13, *range(16, 34))]
RELEASES = {
    "0.9.0", "0.9.1", "0.9.2", "0.10.0", "0.10.1", "0.10.1.1", "0.10.2", "0.11.0", "0.11.1", "0.11.2", "0.14.0",
    "0.14.1", "0.15.1", "0.18.1", "0.20.2", *MINORS,
}  # fmt: skip


def span(first: str, last: str, compat: Compat) -> list[str]:
    """The known releases from the first to the last."""
    every = list(compat.releases)
    return every[every.index(first) : every.index(last) + 1]


def test_the_releases_are_those_that_were_read_in_version_order(compat: Compat) -> None:
    assert set(compat.releases) == RELEASES
    assert list(compat.releases) == sorted(RELEASES, key=lambda text: [int(part) for part in text.split(".")])


STACKS = [
    ("0.9.0", "0.9.2", "2.7.0", "12.8", ">=3.9,<3.13", None),
    ("0.10.0", "0.10.1.1", "2.7.1", "12.8", ">=3.9,<3.13", None),
    ("0.10.2", "0.11.0", "2.8.0", "12.8", ">=3.9,<3.14", None),
    ("0.11.1", "0.11.2", "2.9.0", "12.8", ">=3.10,<3.14", "==0.5.2"),
    ("0.12.0", "0.13.0", "2.9.0", "12.9", ">=3.10,<3.14", "==0.5.3"),
    ("0.14.0", "0.14.1", "2.9.1", "12.9", ">=3.10,<3.14", "==0.5.3"),
    ("0.15.1", "0.15.1", "2.9.1", "12.9", ">=3.10,<3.14", "==0.6.1"),
    ("0.16.0", "0.16.0", "2.9.1", "12.9", ">=3.10,<3.14", "==0.6.3"),
    ("0.17.0", "0.17.0", "2.10.0", "12.9", ">=3.10,<3.14", "==0.6.4"),
    ("0.18.0", "0.19.0", "2.10.0", "12.9", ">=3.10,<3.14", "==0.6.6"),
    ("0.20.0", "0.26.0", "2.11.0", "13.0", ">=3.10,<3.15", ">=0.6.8.post1,<=0.6.14"),
    ("0.27.0", "0.31.0", "2.13.0", "13.0", ">=3.10,<3.15", ">=0.6.16.post3,<=0.7.0.post1"),
    ("0.32.0", "0.32.0", "2.13.0", "13.0", ">=3.11,<3.15", "==0.7.0.post1"),
    ("0.33.0", "0.33.0", "2.14.0", "13.0", ">=3.11,<3.15", "==0.7.2.post1"),
]


@pytest.mark.parametrize(("first", "last", "torch", "cuda", "python", "flashinfer"), STACKS)
def test_torch_cuda_python_and_flashinfer_are_those_of_the_release(
    compat: Compat, first: str, last: str, torch: str, cuda: str, python: str, flashinfer: str | None
) -> None:
    for version in span(first, last, compat):
        release = compat.release(version)
        assert (release.torch, release.cuda, release.python, release.flashinfer) == (torch, cuda, python, flashinfer)
        assert (release.version, release.known_as) == (version, None)


def test_the_stack_table_covers_every_release(compat: Compat) -> None:
    assert sum(len(span(first, last, compat)) for first, last, *_ in STACKS) == len(compat.releases)


SOURCE: dict[str, str | bool] = {"nvshmem": "3.2.5", "nvshmem_source": True, "gdrcopy": "2.4.4"}
BINARY: dict[str, str | bool] = {"nvshmem": "3.3.24", "nvshmem_source": False}
VENDORED: dict[str, str | bool] = {**BINARY, "deepgemm_vendored": True}
TOOLING: list[tuple[str, str, dict[str, str | bool]]] = [
    ("0.9.1", "0.10.0", {**SOURCE, "pplx": "HEAD", "deepep": "HEAD"}),
    ("0.10.1", "0.10.1.1", {**SOURCE, "pplx": "HEAD", "deepep": "HEAD", "deepgemm": "7b6b556"}),
    ("0.10.2", "0.11.0", {**SOURCE, "pplx": "c336faf", "deepep": "e3908bf", "deepgemm": "ea9c5d9"}),
    ("0.11.1", "0.11.2", {**SOURCE, "pplx": "c336faf", "deepep": "73b6ea4", "deepgemm": "594953a"}),
    ("0.12.0", "0.12.0", {**BINARY, "nvshmem": "3.3.9", "pplx": "12cecfd", "deepep": "73b6ea4", "deepgemm": "594953a"}),
    ("0.13.0", "0.14.1", {**BINARY, "pplx": "12cecfd", "deepep": "73b6ea4", "deepgemm": "594953a"}),
    ("0.16.0", "0.16.0", {**BINARY, "pplx": "12cecfd", "deepep": "73b6ea4", "deepgemm": "477618c"}),
    ("0.17.0", "0.19.0", {**BINARY, "deepep": "73b6ea4", "deepgemm": "477618c"}),
    ("0.20.0", "0.23.0", {**VENDORED, "deepep": "73b6ea4", "deepgemm": "891d57b"}),
    ("0.24.0", "0.24.0", {**VENDORED, "deepep": "73b6ea4", "deepep_script": "d4f41e4", "deepgemm": "891d57b"}),
    ("0.25.0", "0.26.0", {**VENDORED, "deepep": "73b6ea4", "deepep_script": "d4f41e4", "deepgemm": "a6b593d"}),
    (
        "0.27.0",
        "0.27.0",
        {**VENDORED, "deepep": "d4f41e4", "nccl": "2.30.7", "deepgemm": "e21c821", "deepgemm_fork": True},
    ),
    ("0.28.0", "0.29.0", {**VENDORED, "deepep": "d4f41e4", "nccl": "2.30.7", "deepgemm": "8b1392b"}),
    (
        "0.30.0",
        "0.31.0",
        {**VENDORED, "deepep": "d4f41e4", "nccl": "2.30.7", "deepgemm": "e1f418c", "deepgemm_fork": True},
    ),
    (
        "0.32.0",
        "0.32.0",
        {**VENDORED, "deepep": "d4f41e4", "nccl": "2.30.7", "deepgemm": "1e1842a", "deepgemm_fork": True},
    ),
    (
        "0.33.0",
        "0.33.0",
        {**VENDORED, "deepep": "d4f41e4", "nccl": "2.31.2", "deepgemm": "0820030", "deepgemm_fork": True},
    ),
]


@pytest.mark.parametrize(("first", "last", "built"), TOOLING)
def test_the_tooling_is_what_the_release_s_own_scripts_build(
    compat: Compat, first: str, last: str, built: dict[str, str | bool]
) -> None:
    for version in span(first, last, compat):
        assert compat.tooling(version) == Tooling(**built)  # type: ignore[arg-type]


def test_an_image_of_a_release_is_made_of_what_its_scripts_build_where_they_say(compat: Compat) -> None:
    for version in compat.releases:
        pins, tooling = compat.pins(version), compat.tooling(version)
        if tooling is None:
            continue
        assert (pins.pplx is None) == (tooling.pplx is None)
        if tooling.pplx not in (None, "HEAD"):
            assert (pins.pplx or "").startswith(str(tooling.pplx))
        if tooling.deepep != "HEAD":
            assert (pins.deepep or "").startswith(tooling.deepep)
        if tooling.deepgemm_vendored:
            assert pins.deepgemm is None
        elif tooling.deepgemm:
            assert (pins.deepgemm or "").startswith(tooling.deepgemm)


def test_an_image_of_a_release_has_a_cuda_an_nccl_and_an_nvshmem_that_its_torch_can_use(compat: Compat) -> None:
    for version in compat.releases:
        pins, release = compat.pins(version), compat.release(version)
        assert pins.cuda.startswith(f"{release.cuda}.")
        assert release.nccl is not None
        assert Version(pins.nccl.removeprefix("v").removesuffix("-1")) >= Version(release.nccl)
        assert pins.nvshmem == (release.nvshmem or "3.3.9"), "torch loads its own, from 2.9 on"


def test_of_every_commit_that_an_image_is_made_of_it_is_known_what_it_needs(compat: Compat) -> None:
    for version in compat.releases:
        pins = compat.pins(version)
        assert pins.deepep is None if version == "0.9.0" else compat.commit("deepep", str(pins.deepep)) is not None
        if pins.deepgemm:
            known = compat.commit("deepgemm", pins.deepgemm)
            assert known is not None
            assert known.cutlass
        for platform in ("linux/amd64", "linux/arm64") if compat.release(version).nvshmem else ():
            wheel = compat.nvshmem_wheel(pins.nvshmem, pins.cuda[:2], platform)
            assert wheel is not None
            assert f"/nvidia_nvshmem_cu{pins.cuda[:2]}-{pins.nvshmem}-" in wheel.url
    assert compat.commit("deepep", "0" * 40) is None
    assert compat.nvshmem_wheel("1.0", "12", "linux/amd64") is None


@pytest.mark.parametrize(
    ("version", "nccl", "nvshmem"),
    [("0.10.1.1", "2.26.2", None), ("0.11.0", "2.27.3", None), ("0.11.1", "2.27.5", "3.3.20"),
     ("0.17.0", "2.27.5", "3.4.5"), ("0.20.0", "2.28.9", "3.4.5"), ("0.33.0", "2.30.7", "3.4.5")],
)  # fmt: skip
def test_what_torch_requires_of_nccl_and_nvshmem_is_that_of_its_wheel(
    compat: Compat, version: str, nccl: str, nvshmem: str | None
) -> None:
    release = compat.release(version)

    assert (release.nccl, release.nvshmem) == (nccl, nvshmem)


@pytest.mark.parametrize("version", ["0.9.0", "0.15.1"])
def test_scripts_that_nobody_has_read_are_not_guessed_at(compat: Compat, version: str) -> None:
    assert compat.tooling(version) is None


@pytest.mark.parametrize(
    ("version", "torch", "runs"),
    [
        ("0.11.0", "2.8.0+cpu", False),
        ("0.12.0", "2.9.1+cpu", False),
        ("0.16.0", "2.10.0+cpu", False),
        ("0.18.0", "2.10.0+cpu", False),
        ("0.20.0", "2.11.0+cpu", False),
        ("0.26.0", "2.11.0+cpu", False),
        *[(f"0.{minor}.0", "2.13.0+cpu", True) for minor in range(27, 33)],
    ],
)
def test_the_cpu_wheel_pins_its_own_torch(compat: Compat, version: str, torch: str, runs: bool) -> None:
    wheel = compat.cpu_wheel(version)
    assert wheel is not None
    assert (wheel.torch, wheel.runs) == (torch, runs)


@pytest.mark.parametrize("version", ["0.33.0", "0.34.0"])
def test_a_release_without_a_known_cpu_wheel_has_none(compat: Compat, version: str) -> None:
    assert compat.cpu_wheel(version) is None


def test_hazards_are_those_of_the_release(compat: Compat) -> None:
    def names(version: str) -> set[str]:
        return {hazard.component for hazard in compat.hazards(version)}

    assert {"pplx", "pplx-kernels"} <= names("0.16.0")
    assert not {"pplx", "pplx-kernels"} & names("0.17.0")
    assert "nvshmem-patch" in names("0.11.2")
    assert "nvshmem-patch" not in names("0.12.0")
    assert "deepep_v2" in names("0.24.0")
    assert "deepep_v2" not in names("0.23.0")
    assert "deepgemm-wheel" in names("0.20.2")
    assert "deepgemm-wheel" not in names("0.20.0")


@pytest.mark.parametrize(
    ("version", "known_as"),
    [
        ("0.9.0.1", "0.9.0"),
        ("0.15.0", "0.14.1"),
        ("0.20.1", "0.20.0"),
        ("0.27.1", "0.27.0"),
        ("0.33.1", "0.33.0"),
        ("0.34.0", "0.33.0"),
        ("0.34.0rc1", "0.33.0"),
        ("1.0.0", "0.33.0"),
    ],
)
def test_a_release_that_nobody_has_read_is_used_as_the_nearest_older_one_and_says_so(
    compat: Compat, version: str, known_as: str
) -> None:
    release, older = compat.release(version), compat.release(known_as)
    assert (release.version, release.known_as) == (version, known_as)
    assert (release.torch, release.cuda, release.python) == (older.torch, older.cuda, older.python)


@pytest.mark.parametrize("text", ["0.26.0", "0.26", "v0.26.0", " 0.26.0 "])
def test_one_release_may_be_written_in_several_ways(compat: Compat, text: str) -> None:
    assert compat.release(text).version == "0.26.0"


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("0.8.5", "too old", "0.9.0"),
        ("0", "too old", "0.9.0"),
        ("0.10.1.2", "not a release that is known to exist", "0.10.1.1 and 0.10.2"),
        ("0.10.3", "not a release that is known to exist", "0.10.2 and 0.11.0"),
        ("0.11.7", "not a release that is known to exist", "0.11.2 and 0.12.0"),
        ("0.15.2", "not a release that is known to exist", "0.15.1 and 0.16.0"),
        ("0.27.2", "not a release that is known to exist", "0.27.1 and 0.28.0"),
        ("1.x", "not a vLLM release", "0.33.0"),
        ("latest", "not a vLLM release", "0.33.0"),
        ("", "not a vLLM release", "0.33.0"),
        ("0.26.O", "not a vLLM release", "did you mean '0.26.0'?"),
        ("0.99.1.2.3-nonsense", "not a vLLM release", "0.33.0"),
        ("0.26.0rc1", "not a vLLM release", "0.26.0"),
        ("0.26.0.post1", "not a vLLM release", "0.26.0"),
        ("0.26.0+cu129", "not a vLLM release", "0.26.0"),
        ("1!0.26.0", "not a vLLM release", "0.26.0"),
        ("9" * 5000, "not a vLLM release", "0.33.0"),
    ],
)
def test_what_is_no_release_is_refused_with_the_nearest_right_one(
    compat: Compat, text: str, what: str, hint: str
) -> None:
    with pytest.raises(CompatError, match=what) as caught:
        compat.release(text)
    assert hint in (caught.value.hint or "")
    assert len(str(caught.value)) < 400
