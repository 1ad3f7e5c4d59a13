"""What the layers of Python kernels have in common: which release uses them, and proofs about what was built.

A kernel package is unpacked in a prefix of its own and found through a ``.pth`` file, so that proofs look into the
prefix.
"""

from __future__ import annotations

from vep_dagger.compat import Compat
from vep_dagger.dsl import Build
from vep_dagger.layers import provenance

# libcuda.so.1 is the driver's. torch's libraries are found in a process that has loaded torch, as these modules'
# users do; the loader alone finds them by what is put on its path here.
LDD = """
set -eu
torch=$(/venv/bin/python -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')
libraries="$torch/lib"
for each in "$torch"/../nvidia/*/lib; do if [ -d "$each" ]; then libraries="$libraries:$each"; fi; done
found=$(find "$0" -name '*.so' -type f)
test -n "$found"
for library in $found; do
  needed=$(LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ldd "$library" 2>&1) || {
    echo "ldd $library: $needed"; exit 1
  }
  missing=$(echo "$needed" | grep 'not found' | grep -v 'libcuda\\.so\\.1 ' || true)
  if [ -n "$missing" ]; then echo "$library:"; echo "$missing"; exit 1; fi
  echo "$library finds its libraries"
done
"""


def proven(build: Build, name: str, prefix: str, commit: str, *, compiled: bool = True) -> Build:
    """The build with the proofs that every package of kernels has; ``compiled`` is whether it has libraries."""
    built = provenance.proven(build, name, prefix, commit, least=1)
    return built.check(f"{name}'s libraries find what they need", "sh", "-c", LDD, prefix) if compiled else built


def used_by(vllm: str) -> frozenset[str]:
    """The kernels that a vLLM release can use and does not hold itself: of ``pplx``, ``deepgemm`` and ``deepep``."""
    compat = Compat.shipped()
    backends = {"pplx": "pplx", "deepep": "deepep_low_latency"}
    used = {
        name
        for name, backend in backends.items()
        if compat.select(vllm, all2all=backend, data_parallel=2, expert_parallel=True).impossible is None
    }
    return frozenset(used if vendors_deepgemm(vllm) else used | {"deepgemm"})


def vendors_deepgemm(vllm: str) -> bool:
    """Whether the release's wheel holds DeepGEMM itself."""
    tooling = Compat.shipped().tooling(vllm)
    return tooling is not None and tooling.deepgemm_vendored
