"""Proof that libibverbs finds its providers, without a device. Its text runs in the finished image, as a check.

libibverbs is shown devices in a directory of its own (``SYSFS_PATH``), as the kernel would show them, and must know
them. A kernel with RDMA answers in the directory's stead; then providers are loaded as libibverbs loads them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

DEVICES = {"efa": "pci:v00001D0Fd0000EFA0sv0sd0bc02sc00i00", "mlx5": "pci:v000015B3d00001021sv0sd0bc02sc07i00"}
"""A device of each provider, named after it, by the kernel's word for what it is."""

NODES = Path("/dev/infiniband")
NETLINK_RDMA = 20


def kernel_answers() -> bool:
    """Whether the kernel tells of devices itself."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_RDMA).close()
    except OSError:
        return False
    return True


def show(sysfs: Path, nodes: dict[str, Path]) -> None:
    """Write down the devices, as a kernel does in /sys and /dev."""

    def write(path: str, text: str) -> None:
        (sysfs / path).parent.mkdir(parents=True, exist_ok=True)
        (sysfs / path).write_text(text + "\n", encoding="utf-8")

    write("class/infiniband_verbs/abi_version", "6")
    for number, (name, alias) in enumerate(DEVICES.items()):
        for file, text in (("ibdev", name), ("dev", f"231:{192 + number}"), ("abi_version", "1")):
            write(f"class/infiniband_verbs/{nodes[name].name}/{file}", text)
        for file, text in (("node_type", "1: CA"), ("device/modalias", alias)):
            write(f"class/infiniband/{name}/{file}", text)
        nodes[name].parent.mkdir(exist_ok=True)
        nodes[name].touch()


def listed(library: ctypes.CDLL) -> set[str]:
    """The devices that libibverbs has a provider for."""
    library.ibv_get_device_list.restype = ctypes.POINTER(ctypes.c_void_p)
    library.ibv_get_device_name.restype = ctypes.c_char_p
    library.ibv_get_device_name.argtypes = [ctypes.c_void_p]
    count = ctypes.c_int()
    found = library.ibv_get_device_list(ctypes.byref(count))
    return {library.ibv_get_device_name(found[each]).decode() for each in range(count.value)}


def known_of_shown(library: ctypes.CDLL) -> set[str]:
    """Those of :data:`DEVICES` that libibverbs knows when it is shown them."""
    before = NODES.exists()
    nodes = {name: NODES / f"vep-{name}" for name in DEVICES}
    with tempfile.TemporaryDirectory() as sysfs:
        os.environ["SYSFS_PATH"] = sysfs
        try:
            show(Path(sysfs), nodes)
            return listed(library)
        finally:
            for node in nodes.values():
                node.unlink(missing_ok=True)
            if not before:
                NODES.rmdir()


def known_of_named() -> set[str]:
    """Those whose providers the variable names and which can be loaded."""
    known = set()
    for driver in map(Path, os.environ.get("RDMAV_DRIVERS", "").split(":")):
        for file in driver.parent.glob(driver.name + "-rdmav*.so"):
            ctypes.CDLL(str(file), mode=os.RTLD_NOW)
            known.add(driver.name.removeprefix("lib"))
    return known


def loaded(name: str, process: str = "self") -> list[str]:
    """The files of a library that a process has loaded."""
    with Path(f"/proc/{process}/maps").open(encoding="utf-8") as maps:
        files = {line.split()[-1] for line in maps}
    return sorted(file for file in files if Path(file).name.startswith((f"lib{name}.so", f"lib{name}-rdmav")))


def by_name(name: str) -> list[str]:
    """The file that the loader takes for a library's name, as libfabric asks for it, in a process of its own: here it
    is loaded already.
    """
    load = f"import ctypes; ctypes.CDLL('lib{name}.so.1'); print(flush=True); input()"
    argv = [sys.executable, "-c", load]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        if other.stdout:
            other.stdout.readline()
        found = loaded(name, str(other.pid)) if other.poll() is None else []
        other.communicate("\n")
    return found


def main(prefix: str) -> str:
    """What is wrong; empty if nothing is."""
    library = ctypes.CDLL("libibverbs.so.1", mode=ctypes.RTLD_GLOBAL)
    known = known_of_named() if kernel_answers() else known_of_shown(library)
    wrong = [f"libibverbs does not know a device of {name}" for name in DEVICES if name not in known]
    for name in ("ibverbs", *DEVICES):
        files = loaded(name)
        print(f"lib{name} is", *files)
        if len(files) != 1 or files != by_name(name) or not files[0].startswith(f"{prefix}/"):
            wrong.append(f"lib{name} is not the one library of {prefix}")
    return "; ".join(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)
