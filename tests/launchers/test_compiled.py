"""Where what servers compile is kept: one place for each image and kind of GPU, in the user's cache for processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.cache import prune
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.compiled import MOUNT, gpu_kind, kind_of, variables, volume_name
from vep_dagger.launchers.process import ProcessLauncher

pytestmark = pytest.mark.anyio
MakeImage = Callable[..., BuiltImage]

LASTING = (sys.executable, "-c", "import time; time.sleep(60)")


def test_every_variable_points_below_the_one_place() -> None:
    assert variables()["VLLM_CACHE_ROOT"] == f"{MOUNT}/vllm"
    # The same kernels by the older and the newer name.
    assert variables("/x")["DG_CACHE_DIR"] == variables("/x")["DG_JIT_CACHE_DIR"] == "/x/deep_gemm"


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        ("NVIDIA H100 80GB HBM3\nNVIDIA H100 80GB HBM3\n", "nvidia-h100-80gb-hbm3"),
        ("NVIDIA H200\nNVIDIA A100-SXM4-80GB\n", "nvidia-a100-sxm4-80gb_nvidia-h200"),
        ("", "cpu"),
    ],
)
def test_a_kind_of_gpu_is_a_word_that_docker_takes(listed: str, kind: str) -> None:
    assert kind_of(listed) == kind


async def test_the_kind_is_asked_for_where_gpus_are_used(tmp_path: Path) -> None:
    program = tmp_path / "smi"
    program.write_text('#!/bin/sh\necho "NVIDIA H100 PCIe"\n')
    program.chmod(0o755)
    assert await gpu_kind(True, {}, [str(program)]) == "nvidia-h100-pcie"
    assert await gpu_kind(False, {}, [str(program)]) == "cpu"
    assert await gpu_kind(True, {}, [str(tmp_path / "gone")]) == "cpu"
    assert await gpu_kind(True, {}, ["/bin/false"]) == "cpu"


def test_images_and_kinds_of_gpu_have_places_of_their_own(make_image: MakeImage) -> None:
    image = make_image()
    pushed = replace(image, digest="sha256:" + "ab" * 32)
    assert volume_name(image) == f"vep-compiled-{'k' * 12}-cpu"
    assert volume_name(pushed, "nvidia-h200") == "vep-compiled-abababababab-nvidia-h200"


def there(path: Path) -> bool:
    return path.exists()


def environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.fixture
def kept(runtime: Path) -> Path:
    return runtime / "cache" / "compiled" / f"vep-compiled-{'k' * 12}-cpu"


async def test_pruning_spares_what_a_server_uses_and_removes_the_rest(
    spec: ServerSpec, make_image: MakeImage, kept: Path, runtime: Path
) -> None:
    async with ProcessLauncher(grace_s=0.5).start(make_image(), replace(spec, argv=LASTING)) as server:
        await server.settled()
        (kept / "vllm").mkdir()
        (kept / "vllm" / "kernel").write_bytes(b"x" * 8192)
        prune(runtime / "cache", everything=True)
        assert there(kept / "vllm" / "kernel")
    assert prune(runtime / "cache", everything=True) >= 8192
    assert not there(kept)


async def test_what_was_used_lately_outlasts_a_pruning_by_age(
    spec: ServerSpec, make_image: MakeImage, kept: Path, runtime: Path
) -> None:
    async with ProcessLauncher(grace_s=0.5).start(make_image(), replace(spec, argv=LASTING)):
        pass
    prune(runtime / "cache", keep_days=1)
    assert there(kept)
    prune(runtime / "cache", keep_days=1, now=datetime.now(UTC) + timedelta(days=2))
    assert not there(kept)


async def test_without_a_cache_to_write_a_server_runs_and_is_neither_warm_nor_cold(
    spec: ServerSpec, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("VEP_CACHE_DIR", str(blocked))
    async with ProcessLauncher(grace_s=0.5).start(make_image(), replace(spec, argv=LASTING)) as server:
        assert server.warm is None
        await server.settled()
        assert b"VLLM_CACHE_ROOT" not in environ(server.guarded.pid)
    assert blocked.read_bytes() == b""
