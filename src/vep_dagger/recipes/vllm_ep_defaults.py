"""What the pins of ``vllm-ep`` are where a matrix file does not write them: what fits the vLLM release.

The versions are data (``compat/pins.toml``, which says where they come from). A pin that is written wins, key by key:
``nccl = { gencode = ["90"] }`` keeps the release's version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.version import Version as Parsed

from vep_dagger.errors import CompatError
from vep_dagger.layers import known, nvshmem

FIRST_KEYS: Mapping[str, str] = {
    "cuda": "version",
    "nccl": "version",
    "nvshmem": "version",
    "pplx": "commit",
    "deepgemm": "commit",
    "deepep": "commit",
}
"""The pins that follow the release, with the key that a text stands for."""

NVSHMEM_SOURCES = frozenset({"version", "wheel", "commit"})
"""Each says which NVSHMEM it is: where one is written, the release's own is out."""


def followed(written: Mapping[str, Any]) -> dict[str, Any]:
    """The pins as written, with what the release they name adds to them. Without a known release they stay as they
    are: whoever checks them says what is wrong.
    """
    release, platform = written.get("vllm"), written.get("platform", "linux/amd64")
    if not isinstance(release, str):
        return dict(written)
    try:
        defaults = known.pins_of(release.removeprefix("v"))
    except CompatError:
        return dict(written)
    complete = dict(written)
    for name, table in written_tables(written).items():
        default = getattr(defaults, name)
        if name == "nvshmem":
            complete[name] = _nvshmem(default, defaults.cuda, str(platform), table) | table
        elif default is not None:
            complete[name] = {FIRST_KEYS[name]: default} | table
    return complete


def written_tables(written: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is written of each pin that follows the release, as a table; without those that are no tables."""
    tables: dict[str, dict[str, Any]] = {}
    for name, key in FIRST_KEYS.items():
        value = written.get(name, {})
        if isinstance(value, (str, dict)):
            tables[name] = {key: value} if isinstance(value, str) else dict(value)
    return tables


def _nvshmem(release: str, cuda: str, platform: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """Where the release's NVSHMEM is to be had: NVIDIA's wheel, since torch brings its host library of the same wheel.
    With architectures it is to be built, since a wheel has its own.
    """
    if NVSHMEM_SOURCES & written.keys():
        return {}
    wheel = known.wheel_of(release, cuda, platform)
    if wheel is not None and "architectures" not in written:
        return {"version": release, "wheel": wheel.url, "sha256": wheel.sha256}
    return {"version": f"v{release}-0" if Parsed(release) >= Parsed(nvshmem.FIRST_TAG) else release}
