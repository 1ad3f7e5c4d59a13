from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.doctor.lab import Lab

PYTHONS = json.dumps([{"version": version, "implementation": "cpython"} for version in ("3.12.1", "3.11.7", "3.9.2")])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A machine with nothing at all."""
    for name in ("bin", "root", "cache", "work"):
        (tmp_path / name).mkdir()
    return Lab(tmp_path)


@pytest.fixture
def whole(lab: Lab) -> Lab:
    """A machine with everything."""
    lab.program("uv", f"case $1 in --version) echo 'uv 0.9.1 (abc)';; *) echo '{PYTHONS}';; esac")
    lab.program("docker", "case $1 in info) echo /var/lib/docker;; *) echo 28.2.2;; esac")
    lab.folder("/var/lib/docker")
    lab.program("podman", "echo 5.4.0")
    lab.program("dagger", "echo 'dagger v0.21.8 (image://engine) linux/amd64'")
    lab.program("sinfo", "echo 'gpu* up 4 gpu:8'")
    lab.program("enroot", "echo 3.5.0")
    lab.program("mksquashfs", "echo 'mksquashfs version 4.5.1 (2022/03/17)'")
    lab.program("nvidia-smi", "for i in 1 2; do echo 'NVIDIA H100 80GB HBM3, 81559, 570.133.20'; done")
    lab.program("nvidia-ctk", "echo 'NVIDIA Container Toolkit CLI version 1.17.0'")
    lab.program("fi_info", "echo 'provider: efa'")
    lab.rdma("rdmap0", "0x1d0f")
    lab.rdma("mlx5_0", "0x15b3")
    for absolute in ("/dev/infiniband/uverbs0", "/dev/gdrdrv", "/usr/lib/x86_64-linux-gnu/libnuma.so.1"):
        lab.file(absolute)
    lab.file("/proc/meminfo", "MemTotal:       65536000 kB\nMemFree: 1 kB\nMemAvailable:   50331648 kB\n")
    lab.folder("/dev/shm")
    lab.environ["HF_TOKEN"] = "hf_secret"
    lab.file("/home/.docker/config.json", '{"auths": {"registry.example": {"auth": "c2VjcmV0"}}}')
    return lab
