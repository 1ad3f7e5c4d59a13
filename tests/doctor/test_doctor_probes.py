from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.doctor.lab import Lab
from vep_dagger.doctor import Disk, Finding, Probe, machine
from vep_dagger.doctor.probes import cluster, engines, fabric, gpu, python, resources, tokens

GIB = 2**30
UNREADABLE = pytest.mark.skipif(os.geteuid() == 0, reason="needs a user who is not root: run the tests as one")


def is_limited(finding: Finding, *, what: str, hint: str) -> bool:
    assert finding.state == "limited"
    assert what in finding.what
    assert hint in (finding.hint or "")
    return True


@pytest.mark.parametrize(
    ("probe", "what"),
    [
        (engines.probe_podman, "5.4.0"),
        (cluster.probe_slurm, "partitions: gpu (4 nodes, gpu:8)"),
        (cluster.probe_enroot, "3.5.0"),
        (cluster.probe_squashfs_tools, "mksquashfs version 4.5.1 (2022/03/17)"),
        (gpu.probe_gpu, "2 × NVIDIA H100 80GB HBM3 (80 GiB), driver 570.133.20"),
        (gpu.probe_container_toolkit, "NVIDIA Container Toolkit CLI version 1.17.0"),
        (fabric.probe_efa, "1 (rdmap0), seen by libfabric"),
        (fabric.probe_rdma, "1 (mlx5_0)"),
        (fabric.probe_gdrcopy, "/dev/gdrdrv"),
        (python.probe_uv, "uv 0.9.1"),
        (python.probe_python, "3.11.7 (vep's own), 3.9.2, 3.12.1"),
        (resources.probe_cores, "4"),
        (resources.probe_memory, "48 GiB of 62 GiB available"),
        (resources.probe_shm, "1024 GiB"),
        (tokens.probe_hub_token, "HF_TOKEN is set"),
        (tokens.probe_registry, "1"),
    ],
)
def test_what_is_there_is_described(whole: Lab, probe: Probe, what: str) -> None:
    finding = whole.find(probe)
    assert (finding.state, finding.what) == ("ok", what)


def test_a_slurm_whose_controller_is_away_is_limited(lab: Lab) -> None:
    lab.program("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    assert is_limited(lab.find(cluster.probe_slurm), what="Unable to contact", hint="SLURM_CONF")
    lab.program("sinfo", "exit 0")
    assert is_limited(lab.find(cluster.probe_slurm), what="no partition", hint="access")


def test_a_driver_that_does_not_answer_is_limited(lab: Lab) -> None:
    lab.program("nvidia-smi", 'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the driver"; exit 9')
    assert is_limited(lab.find(gpu.probe_gpu), what="couldn't communicate", hint="nvidia-smi must list")


def test_different_gpus_are_counted_apart(lab: Lab) -> None:
    lab.program("nvidia-smi", "echo 'A, 1024, 1'; echo 'B, 2048, 1'; echo 'B, 2048, 1'")
    assert lab.find(gpu.probe_gpu).what == "1 × A (1 GiB), 2 × B (2 GiB), driver 1"


def test_an_efa_of_the_host_that_the_container_was_not_given_is_limited(lab: Lab) -> None:
    lab.rdma("rdmap0", "0x1d0f")
    assert is_limited(lab.find(fabric.probe_efa), what="no /dev/infiniband/uverbs", hint="--device /dev/infiniband")
    assert lab.find(fabric.probe_rdma).state == "missing"


def test_an_efa_that_libfabric_does_not_see_is_limited(lab: Lab) -> None:
    lab.rdma("rdmap0", "0x1d0f")
    lab.file("/dev/infiniband/uverbs0")
    lab.program("fi_info", "echo 'fi_getinfo: -61 (No data available)' >&2; exit 61")
    assert is_limited(lab.find(fabric.probe_efa), what="-61 (No data available)", hint="fi_info -p efa")


@UNREADABLE
def test_a_gdrcopy_device_of_root_alone_is_limited(lab: Lab) -> None:
    lab.file("/dev/gdrdrv").chmod(0)
    assert is_limited(lab.find(fabric.probe_gdrcopy), what="not this user's", hint="chmod")


def test_gdrcopys_module_without_its_device_is_limited(lab: Lab) -> None:
    lab.file("/proc/modules", "nvidia 1 0 - Live 0x0\ngdrdrv 24576 0 - Live 0x0\n")
    assert is_limited(lab.find(fabric.probe_gdrcopy), what="is loaded", hint="--device /dev/gdrdrv")


def test_a_uv_that_lists_no_pythons_leaves_veps_own(lab: Lab) -> None:
    lab.program("uv", "echo broken >&2; exit 2")
    assert is_limited(lab.find(python.probe_python), what="3.11.7 (vep's own); uv lists no others: broken", hint="uv")


def test_libnuma_is_found_on_the_library_path_too(lab: Lab) -> None:
    assert lab.find(python.probe_libnuma).state == "missing"
    lab.file("/opt/lib/libnuma.so.1")
    lab.environ["LD_LIBRARY_PATH"] = f":{lab.root}/opt/lib"
    assert lab.find(python.probe_libnuma).state == "ok"


def test_a_quota_counts_as_cores(lab: Lab) -> None:
    lab.file("/sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert is_limited(lab.find(resources.probe_cores), what="1.5", hint="quota")
    lab.file("/sys/fs/cgroup/cpu.max", "max 100000\n")
    assert lab.find(resources.probe_cores).what == "4"


def test_a_control_groups_limit_counts_as_memory(whole: Lab) -> None:
    whole.file("/sys/fs/cgroup/memory.max", f"{2 * GIB}\n")
    assert is_limited(whole.find(resources.probe_memory), what="limited to 2.0 GiB", hint="limit")


def test_the_shared_memory_of_a_container_is_limited(lab: Lab) -> None:
    lab.folder("/dev/shm")
    lab.disks["shm"] = Disk(64 * 2**20, 64 * 2**20)
    assert is_limited(lab.find(resources.probe_shm), what="64 MiB", hint="--ipc=host")


@pytest.mark.parametrize(("free", "state"), [(6 * GIB, "ok"), (3 * GIB, "limited"), (GIB, "missing")])
def test_a_cache_needs_space_for_an_environment(lab: Lab, free: int, state: str) -> None:
    lab.disks["cache"] = Disk(100 * GIB, free)
    assert lab.find(resources.probe_disks, "disk-cache").state == state


def test_a_cache_that_is_not_there_yet_is_measured_where_it_will_be(lab: Lab) -> None:
    (lab.directory / "cache").rmdir()
    assert lab.find(resources.probe_disks, "disk-cache").state == "ok"


@UNREADABLE
def test_a_place_that_cannot_be_written_is_missing(lab: Lab) -> None:
    (lab.directory / "work").chmod(0o500)
    finding = lab.find(resources.probe_disks, "disk-runs")
    assert (finding.state, "cannot be written" in finding.what) == ("missing", True)


def test_a_token_file_counts_and_an_empty_one_does_not(lab: Lab) -> None:
    file = lab.file("/hub/token", "")
    lab.environ["HF_HOME"] = str(file.parent)
    assert lab.find(tokens.probe_hub_token).state == "missing"
    file.write_text("hf_secret")
    finding = lab.find(tokens.probe_hub_token)
    assert (finding.state, finding.what) == ("ok", f"in {file}")


@pytest.mark.parametrize(
    ("config", "state"),
    [
        ('{"auths": {}}', "missing"),
        ("not JSON", "missing"),
        ("[]", "missing"),
        ('{"auths": null, "credHelpers": {"r.example": "x"}}', "ok"),
        ('{"credsStore": "desktop"}', "ok"),
    ],
)
def test_every_form_of_a_registry_login_counts(lab: Lab, config: str, state: str) -> None:
    lab.environ["DOCKER_CONFIG"] = str(lab.file("/docker/config.json", config).parent)
    assert lab.find(tokens.probe_registry).state == state


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in {"Z", "X"}
    except OSError:
        return False


def test_a_program_that_hangs_is_killed_with_its_children(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "COMMAND_TIMEOUT_S", 1.0)
    file = lab.directory / "pid"
    lab.program("podman", f"/bin/sleep 60 & echo $! > {file}; wait")
    started = time.monotonic()
    assert is_limited(lab.find(engines.probe_podman), what="does not answer within 1 s", hint="podman info")
    while alive(int(file.read_text())) and time.monotonic() - started < 20:
        time.sleep(0.02)
    assert time.monotonic() - started < 20


def test_a_program_that_cannot_be_run_is_limited(lab: Lab) -> None:
    path = lab.directory / "bin" / "enroot"
    path.write_bytes(b"\x7fELF not really")
    path.chmod(0o755)
    assert is_limited(lab.find(cluster.probe_enroot), what="Exec format error", hint="enroot version")


def test_a_mksquashfs_that_reads_no_tar_streams_is_limited(lab: Lab) -> None:
    lab.program("mksquashfs", "echo 'mksquashfs version 4.4 (2019/08/29)'")
    assert is_limited(lab.find(cluster.probe_squashfs_tools), what="version 4.4", hint="4.5 or newer")
