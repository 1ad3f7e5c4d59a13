"""What the base's preparation removes, and what of rdma-core an image needs: with a real dpkg, apt and libibverbs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vep_dagger.dsl import Image
from vep_dagger.layers import cuda, efa

if TYPE_CHECKING:
    from vep_dagger.engines.docker import Docker

LIMIT_S = 420

INSTALLED = """\
installed libc6
installed libnccl2
installed libnccl2-tools
installed cuda-compat-12-8
config-files libibverbs1
not-installed libmlx5-1
"""


def prepare(tmp_path: Path, before: str, after: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The preparation with programs that only write down how they were called; what dpkg says before and after."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log, answers = tmp_path / "log", tmp_path / "answers"
    (tmp_path / "before").write_text(before)
    (tmp_path / "after").write_text(after)
    scripts = {name: f'echo {name} "$@" >>{log}' for name in ("apt-get", "rm", "mkdir", "ldconfig")}
    # As dpkg-query does it, but for the rows: the format is the test's business too.
    scripts["dpkg-query"] = (
        f'test "$*" = "-W -f \\${{db:Status-Status}} \\${{Package}}\\\\n" || exit 2\n'
        f"if [ -e {answers} ]; then cat {tmp_path}/after; else cat {tmp_path}/before; fi; : >{answers}"
    )
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", cuda.preparation(), "prepare", "wanted"],
        env={"PATH": f"{programs}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, log.read_text().splitlines() if log.exists() else []


def test_what_is_in_the_way_is_removed_and_nothing_else(tmp_path: Path) -> None:
    done, calls = prepare(tmp_path, INSTALLED, "installed libc6\ninstalled libnccl2-tools\n")

    assert done.returncode == 0, done.stderr
    assert calls[:3] == [
        "apt-get update",
        "apt-get purge -y --allow-change-held-packages libnccl2 cuda-compat-12-8",
        "apt-get install -y --no-install-recommends --no-upgrade wanted",
    ]


def test_a_base_with_nothing_in_the_way_loses_nothing(tmp_path: Path) -> None:
    done, calls = prepare(tmp_path, "installed libc6\n", "installed libc6\n")

    assert done.returncode == 0, done.stderr
    assert not [call for call in calls if "purge" in call]


def test_what_is_still_in_the_way_afterwards_ends_the_build(tmp_path: Path) -> None:
    done, _ = prepare(tmp_path, INSTALLED, "installed libc6\ninstalled libibverbs1\n")

    assert done.returncode == 1
    assert done.stderr == "still in the way: libibverbs1\n"


def in_container(docker: Docker, base: str, script: str, **files: str) -> tuple[int, str]:
    """A script's exit code and output in a container of ``base`` that reaches Debian's archive, or a loud skip."""
    ready = "apt-get update -q >/dev/null 2>&1 || exit 77; set -e; export DEBIAN_FRONTEND=noninteractive\n"
    words = [docker.program, "run", "--rm", "--network=host"]
    for name, text in files.items():
        words += ["--env", f"{name}={text}"]
    done = subprocess.run(
        [*words, base, "bash", "-c", ready + script],
        env=dict(docker.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=LIMIT_S,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("needs Debian's archive from a container: let Docker's containers reach deb.debian.org")
    return done.returncode, done.stdout


# Empty packages of these names, since NVIDIA's own are not in Debian's archive. One is held, as in NVIDIA's images.
DUMMIES = """
for name in libnccl2 cuda-compat-12-8; do
  mkdir -p /tmp/$name/DEBIAN
  printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: a\\nDescription: a\\n' $name \\
    >/tmp/$name/DEBIAN/control
  dpkg-deb --build /tmp/$name /tmp/$name.deb
done
apt-get install -y -q --no-install-recommends /tmp/libnccl2.deb /tmp/cuda-compat-12-8.deb libibverbs1 ibverbs-utils
apt-mark hold libnccl2
"""

PREPARED = f"""
{DUMMIES}
mkdir -p /opt/hpcx /usr/local/mpi
sh -c "$PREPARE" prepare libnl-route-3-200
left=$(dpkg-query -W -f '${{Status}} ${{Package}}\\n')
echo LEFT $(echo "$left" | grep -E ' (.*ibverbs.*|libnccl2|cuda-compat.*|libnl-route-3-200)$')
echo PLACES $(ls -d /opt/hpcx /usr/local/mpi /etc/libibverbs.d 2>/dev/null) $(ls /etc/libibverbs.d)
"""


def test_a_real_base_loses_its_nccl_its_rdma_core_and_its_driver(docker: Docker, plain_base: str) -> None:
    code, said = in_container(docker, plain_base, PREPARED, PREPARE=cuda.preparation())

    assert code == 0, said[-3000:]
    assert "LEFT install ok installed libnl-route-3-200\n" in said
    assert "PLACES /etc/libibverbs.d\n" in said


RDMA_CORE = f"""
apt-get install -y -q --no-install-recommends ibverbs-providers libibverbs-dev librdmacm-dev
sh -c "$KEEP"
apt-get purge -y -q ibverbs-providers libibverbs1
mkdir -p /etc/libibverbs.d
echo {efa.RDMA}/lib >/etc/ld.so.conf.d/00-vep.conf
ldconfig
set +e
(eval "$BREAK")
python3 -c "$CHECK" {efa.RDMA}/lib
"""
"""What an image has of rdma-core after the layer was merged into it, on a base that has none itself."""

COPIES = "cd {}/lib/libibverbs; for each in *.so; do cp -L $each copy; rm $each; mv copy $each; done"


@pytest.mark.parametrize(
    ("drivers", "broken", "wrong"),
    [
        (efa.DRIVERS, "", ""),
        ("", "", "libibverbs does not know a device of efa; libibverbs does not know a device of mlx5"),
        (efa.DRIVERS, COPIES.format(efa.RDMA), "libefa is not the one library of"),
    ],
    ids=["as the layer leaves it", "without the variable", "with copies instead of links"],
)
def test_libibverbs_knows_devices_by_what_the_layer_leaves_and_by_nothing_less(
    docker: Docker, plain_base: str, seed: Callable[..., Image], drivers: str, broken: str, wrong: str
) -> None:
    (layer,) = [each for each in seed().layers if each.name == "efa"]
    (check,) = [each for each in layer.build.checks if each.argv[0] == "python3"]
    variables = {"RDMAV_DRIVERS": drivers} if drivers else {}

    code, said = in_container(
        docker, plain_base, RDMA_CORE, KEEP=efa.KEEP_RDMA, CHECK=check.argv[2], BREAK=broken, **variables
    )

    assert (code == 0) is (wrong == ""), said[-3000:]
    assert wrong in said
    assert "couldn't open config directory" not in said


def test_an_image_has_the_variable_that_libibverbs_reads(seed: Callable[..., Image]) -> None:
    named = seed().env["RDMAV_DRIVERS"].split(":")

    assert named == [f"/opt/amazon/rdma-core/lib/libibverbs/lib{name}" for name in ("efa", "mlx5")]


@pytest.mark.parametrize(
    ("written", "passes"), [("1.43.2", True), ("1.43.20", False), ("1.44.0", False), (None, False)]
)
def test_the_installers_own_word_decides_which_release_it_was(
    tmp_path: Path, written: str | None, passes: bool
) -> None:
    (tmp_path / "efa/bin").mkdir(parents=True)
    (tmp_path / "efa/bin/fi_info").write_text("#!/bin/sh\necho 'fi_info: 2.1.0'; echo 'libfabric: 2.1.0amzn3.0'\n")
    (tmp_path / "efa/bin/fi_info").chmod(0o755)
    if written:
        (tmp_path / "efa_installed_packages").write_text(f"# EFA installer version: {written}\n# Debug packages: no\n")

    script = efa.VERSION.replace(efa.PREFIX, str(tmp_path))
    done = subprocess.run(["sh", "-c", script, "version", "1.43.2"], capture_output=True, text=True, check=False)

    assert (done.returncode == 0) is passes
    if passes:
        assert done.stdout == "EFA installer version: 1.43.2\nlibfabric: 2.1.0amzn3.0\n"
