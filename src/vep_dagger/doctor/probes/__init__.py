"""The probes, one family a file, in the order in which they are shown."""

from vep_dagger.doctor.probe import Probe, later
from vep_dagger.doctor.probes.cluster import probe_enroot, probe_slurm, probe_squashfs_tools
from vep_dagger.doctor.probes.dagger import probe_dagger
from vep_dagger.doctor.probes.engines import probe_docker, probe_podman
from vep_dagger.doctor.probes.fabric import probe_efa, probe_gdrcopy, probe_rdma
from vep_dagger.doctor.probes.gpu import probe_container_toolkit, probe_gpu
from vep_dagger.doctor.probes.network import probe_model_hub, probe_package_index
from vep_dagger.doctor.probes.python import probe_libnuma, probe_python, probe_uv
from vep_dagger.doctor.probes.resources import probe_cores, probe_disks, probe_memory, probe_shm
from vep_dagger.doctor.probes.tokens import probe_hub_token, probe_registry

LOCAL: tuple[Probe, ...] = (
    probe_uv,
    probe_python,
    probe_libnuma,
    probe_cores,
    probe_memory,
    probe_shm,
    probe_disks,
    probe_docker,
    probe_dagger,
    probe_gpu,
    probe_container_toolkit,
    probe_hub_token,
    probe_registry,
    probe_squashfs_tools,
    later(probe_podman),
    later(probe_slurm),
    later(probe_enroot),
    later(probe_efa),
    later(probe_rdma),
    later(probe_gdrcopy),
)
NETWORK: tuple[Probe, ...] = (probe_package_index, probe_model_hub)
