"""GDRCopy: its user library. The kernel module belongs to the host.

Source: https://github.com/NVIDIA/gdrcopy (README, Makefile).
"""

from __future__ import annotations

import re

from vep_dagger.dsl import Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda, provenance

PREFIX = "/opt/gdrcopy"

CHECK = f"""
import ctypes, re, sys
text = open("{PREFIX}/include/gdrapi.h").read()
header = tuple(int(re.search(rf"#define GDR_API_{{part}}_VERSION\\s+(\\d+)", text)[1]) for part in ("MAJOR", "MINOR"))
major, minor = ctypes.c_int(), ctypes.c_int()
ctypes.CDLL("{PREFIX}/lib/libgdrapi.so").gdr_runtime_get_version(ctypes.byref(major), ctypes.byref(minor))
library = (major.value, minor.value)
pinned = re.match(r"v?(\\d+)\\.(\\d+)", sys.argv[1])
print("library", library, "header", header)
raise SystemExit(library != header or (pinned is not None and library != tuple(map(int, pinned.groups()))))
"""

SAYS = r"CHANGELOG.md:^## \[(\d[^]]*)\]"
"""Where the tree says its release: the library knows the first two numbers alone."""


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit."""

    version: Version = "v2.5.1"
    commit: Commit | None = None

    @property
    def release(self) -> str:
        """``2.5.1`` of the tag ``v2.5.1``; empty for another name, which says no release."""
        return found[1] if (found := re.fullmatch(r"v(\d+(?:\.\d+)*)", self.version)) else ""


@layer(prefix=PREFIX, needs=[cuda.devel])
def gdrcopy(build: Build, pins: Pins) -> Build:
    """Library and headers. The test programs are left out: they link the driver's library, and need a device."""
    source = git("https://github.com/NVIDIA/gdrcopy.git", pins.commit, ref=pins.version)
    build = provenance.recorded(build.mount(source, "/src"), PREFIX, says=SAYS)
    built = (
        # The makefile says CUDA where others say CUDA_HOME.
        build.run("make", "-C", "/src", f"prefix={PREFIX}", f"CUDA={cuda.HOME}", "lib", "lib_install")
        .library(f"{PREFIX}/lib")
        .check("GDRCopy's library agrees with its header and its release", "python3", "-c", CHECK, pins.version)
    )
    return provenance.proven(built, "GDRCopy", PREFIX, pins.commit, version=pins.release, least=1)
